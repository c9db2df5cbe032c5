import { describe, expect, it } from "vitest";
import { CompletionText, type Detokenize } from "../../../../src/engine/llama-cpp/completion-text.ts";

/** A token's bytes, or its text. */
type Piece = string | readonly number[];

const bytesOf = (piece: Piece): number[] =>
  typeof piece === "string" ? [...new TextEncoder().encode(piece)] : [...piece];

/** As llama.cpp does: the bytes of the tokens together, what is no UTF-8 among them replaced. */
const detokenizerOf =
  (pieces: readonly Piece[]): Detokenize =>
  (tokens) =>
    new TextDecoder("utf-8", { ignoreBOM: true }).decode(
      Uint8Array.from(tokens.flatMap((token) => bytesOf(pieces[token] ?? []))),
    );

/** Pushes one token a piece until the stream stops. */
function run(pieces: readonly Piece[], stop: readonly string[] = []) {
  const stream = new CompletionText(detokenizerOf(pieces), stop);
  const emitted: string[] = [];
  for (const token of pieces.keys()) {
    if (stream.stopString !== undefined) break;
    emitted.push(stream.push(token));
  }
  const rest = stream.end();
  return { emitted, rest, text: stream.text, stopped: stream.stopString !== undefined };
}

/** "€" is e2 82 ac, "é" is c3 a9, "😀" is f0 9f 98 80. */
const euro = [0xe2, 0x82, 0xac] as const;
const smile = [0xf0, 0x9f, 0x98, 0x80] as const;

describe("text without stop strings", () => {
  it("is emitted token by token", () => {
    expect(run(["Hel", "lo", " world"])).toEqual({
      emitted: ["Hel", "lo", " world"],
      rest: "",
      text: "Hello world",
      stopped: false,
    });
  });

  it("is empty before the first token", () => {
    expect(run([])).toEqual({ emitted: [], rest: "", text: "", stopped: false });
  });

  it("survives tokens that have no text", () => {
    expect(run(["a", "", "b"]).text).toBe("ab");
  });

  it("is not emitted again at the end", () => {
    const stream = new CompletionText(detokenizerOf(["a"]), []);
    expect([stream.push(0), stream.end(), stream.end()]).toEqual(["a", "", ""]);
  });
});

describe("a stop string", () => {
  it("ends the text before it, within one token", () => {
    expect(run(["one END two"], ["END"])).toEqual({ emitted: ["one "], rest: "", text: "one ", stopped: true });
  });

  it("is recognised across tokens, and none of it is emitted", () => {
    expect(run(["one E", "N", "D two"], ["END"])).toEqual({
      emitted: ["one ", "", ""],
      rest: "",
      text: "one ",
      stopped: true,
    });
  });

  it("leaves an empty text where the text begins with it", () => {
    expect(run(["E", "ND"], ["END"])).toEqual({ emitted: ["", ""], rest: "", text: "", stopped: true });
  });

  it("may be one character", () => {
    expect(run(["line", "\nnext"], ["\n"])).toEqual({ emitted: ["line", ""], rest: "", text: "line", stopped: true });
  });

  it("may be longer than the text", () => {
    expect(run(["ab"], ["abcdefgh"])).toEqual({ emitted: [""], rest: "ab", text: "ab", stopped: false });
  });

  it("stops at its first occurrence", () => {
    expect(run(["aXbX"], ["X"]).text).toBe("a");
  });

  it("is found where its own beginning repeats", () => {
    expect(run(["a", "a", "a", "b", "c"], ["aab"])).toMatchObject({ text: "a", stopped: true });
  });

  it("is found after a long text", () => {
    const words = Array.from({ length: 500 }, (_, i) => `w${i} `);
    expect(run([...words, "E", "ND", "more"], ["END"])).toMatchObject({ text: words.join(""), stopped: true });
  });

  it("is not met while only its beginning stands there", () => {
    expect(run(["EN"], ["END"])).toMatchObject({ text: "EN", stopped: false });
  });

  it("is taken literally, not as a pattern", () => {
    expect(run(["a.b", "c"], [".*"])).toMatchObject({ text: "a.bc", stopped: false });
  });
});

describe("text that may be the beginning of a stop string", () => {
  it("is held back until it turns out to be none", () => {
    expect(run(["one E", "N", "T", "ER"], ["END"])).toEqual({
      emitted: ["one ", "", "ENT", "ER"],
      rest: "",
      text: "one ENTER",
      stopped: false,
    });
  });

  it("is held back only as far as needed", () => {
    expect(run(["aa", "a"], ["aab"]).emitted).toEqual(["", "a"]);
  });

  it("is emitted at the end", () => {
    expect(run(["one ", "EN"], ["END"])).toEqual({ emitted: ["one ", ""], rest: "EN", text: "one EN", stopped: false });
  });

  it("is held back for the longest of several stop strings", () => {
    expect(run(["x##", "#", "y"], ["#!", "###-"]).emitted).toEqual(["x", "", "###y"]);
  });
});

describe("several stop strings", () => {
  it("end the text at the one that stands first", () => {
    expect(run(["a STOP b END"], ["END", "STOP"])).toMatchObject({ text: "a ", stopped: true });
    expect(run(["a END b STOP"], ["END", "STOP"])).toMatchObject({ text: "a ", stopped: true });
  });

  it.each([
    ["a STOP b END", "STOP"],
    ["a END b STOP", "END"],
    ["a EN", undefined],
  ])("are told apart: %s", (text, met) => {
    const stream = new CompletionText(detokenizerOf([text]), ["END", "STOP"]);
    stream.push(0);
    expect(stream.stopString).toBe(met);
  });

  it("end the text at the one that comes first, across tokens", () => {
    expect(run(["a ST", "OP b", " END"], ["END", "STOP"])).toEqual({
      emitted: ["a ", ""],
      rest: "",
      text: "a ",
      stopped: true,
    });
  });

  it("may begin alike", () => {
    expect(run(["a", "\n", "\n", "b"], ["\n\nHuman:", "\n\nb"])).toMatchObject({ text: "a", stopped: true });
  });

  it("recognise a short one inside the beginning of a long one", () => {
    expect(run(["say \n#", "# x"], ["\n## Human", "##"])).toMatchObject({ text: "say \n", stopped: true });
  });
});

describe("a character split over tokens", () => {
  it.each([
    ["two", [[0xc3], [0xa9]], "é"],
    ["three", [[0xe2], [0x82], [0xac]], "€"],
    ["four", [[0xf0], [0x9f], [0x98], [0x80]], "😀"],
  ] satisfies [string, number[][], string][])(
    "of %s bytes is emitted whole, when it is complete",
    (_, pieces, character) => {
      const { emitted, rest, text } = run(["a", ...pieces, "b"]);
      expect(emitted).toEqual(["a", ...pieces.slice(1).map(() => ""), character, "b"]);
      expect([rest, text]).toEqual(["", `a${character}b`]);
    },
  );

  it("is put together where its first bytes share a token with other text", () => {
    const { emitted, text } = run([
      [0x61, 0xe2, 0x82],
      [0xac, 0x62],
    ]);
    expect(emitted.join("")).toBe("a€b");
    expect(text).toBe("a€b");
  });

  it("is put together where every token ends in the middle of a character, however many follow", () => {
    const pieces = [[0xe2, 0x82], [0xac, 0xe2], [0x82, 0xac, 0xe2], [0x82], [0xac, 0xe2], [0x82, 0xac]];
    expect(run(pieces).text).toBe("€€€€");
  });

  it("completes a stop string", () => {
    expect(run(["a", [0xe2, 0x82], [0xac], "b"], ["€"])).toEqual({
      emitted: ["a", "", ""],
      rest: "",
      text: "a",
      stopped: true,
    });
  });

  it("is held back with the beginning of a stop string", () => {
    expect(run(["5", [0xe2, 0x82], [0xac], "!"], ["€€"])).toEqual({
      emitted: ["5", "", "", "€!"],
      rest: "",
      text: "5€!",
      stopped: false,
    });
  });

  it("is never emitted as half a surrogate pair, where a stop string has the same first half", () => {
    const { emitted, text } = run([[...smile], "!"], ["😁"]);
    expect(emitted).toEqual(["😀", "!"]);
    expect(text).toBe("😀!");
  });
});

describe("half a character at the end", () => {
  it("is dropped", () => {
    expect(run(["a", [0xe2, 0x82]])).toEqual({ emitted: ["a", ""], rest: "", text: "a", stopped: false });
  });

  it("is dropped alone: whole characters in the same token stay", () => {
    const { emitted, rest, text } = run(["one", [...bytesOf(" two "), 0xf0, 0x9f]]);
    expect(text).toBe("one two ");
    expect(emitted.join("") + rest).toBe("one two ");
  });

  it("is dropped alone: whole characters put together before it stay", () => {
    expect(
      run([
        [0xe2, 0x82],
        [0xac, 0xe2],
      ]).text,
    ).toBe("€");
  });

  it("does not hide a stop string that stands before it in the same token", () => {
    expect(run([[...bytesOf("one END"), 0xe2]], ["END"]).text).toBe("one ");
  });
});

describe("bytes that are no character", () => {
  it("become a replacement character once text follows", () => {
    expect(run(["a", [0xff], "b"]).text).toBe("a\uFFFDb");
  });

  it("hold nothing up for ever", () => {
    const { emitted, text } = run([[0xff], [0xff], [0xff], [0xff], [0xff], [0xff], "ok"]);
    expect(text.endsWith("ok")).toBe(true);
    expect(emitted.join("")).toBe(text);
  });

  it("leave the model's own replacement characters in the text", () => {
    expect(run(["a\uFFFD", "b"]).text).toBe("a\uFFFDb");
  });
});

describe("what has been emitted", () => {
  const sentence = "héllo, €5 for 日本語 and 😀👍🏽!";

  it.each([1, 2, 3, 4, 5, 7])("is the text, in tokens of %i bytes", (size) => {
    const bytes = bytesOf(sentence);
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
      bytes.slice(i * size, (i + 1) * size),
    );
    const { emitted, rest, text } = run(pieces, ["never"]);
    expect(text).toBe(sentence);
    expect(emitted.join("") + rest).toBe(sentence);
  });

  it.each([1, 2, 3, 4, 5, 7])("is the text before the stop string, in tokens of %i bytes", (size) => {
    const bytes = bytesOf(`${sentence}語 END 😀`);
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
      bytes.slice(i * size, (i + 1) * size),
    );
    const { emitted, rest, text } = run(pieces, ["END", "日本人", "語 END"]);
    expect(text).toBe(sentence);
    expect(emitted.join("") + rest).toBe(sentence);
  });

  it("never changes later: it is always a beginning of the final text", () => {
    const pieces: Piece[] = ["#", "#", "a", [0xe2], [0x82, 0xac], "Hu", "man", "kind ", "Human", ":"];
    const { emitted, text } = run(pieces, ["##!", "Human:"]);
    let shown = "";
    for (const piece of emitted) {
      shown += piece;
      expect(text.startsWith(shown)).toBe(true);
    }
    expect(text).toBe("##a€Humankind ");
  });
});

describe("the tokens before", () => {
  it("are known to the detokeniser, which may write a first token otherwise than a later one", () => {
    const pieces = [" Hello", " dear", " world"];
    const trimming: Detokenize = (tokens, previous) => {
      const text = tokens.map((token) => pieces[token]).join("");
      return previous.length === 0 ? text.trimStart() : text;
    };
    const stream = new CompletionText(trimming, []);
    expect([0, 1, 2].map((token) => stream.push(token))).toEqual(["Hello", " dear", " world"]);
  });

  it("are those of the characters already complete, the latest last", () => {
    const seen: (readonly number[])[] = [];
    const pieces: Piece[] = ["a", "b", [euro[0]], [euro[1]], [euro[2]], "c"];
    const bytes = detokenizerOf(pieces);
    const stream = new CompletionText((tokens, previous) => {
      seen.push([...previous]);
      return bytes(tokens, previous);
    }, []);
    for (const token of pieces.keys()) stream.push(token);
    expect(seen).toEqual([[], [0], [0, 1], [0, 1], [0, 1], [0, 1, 2, 3, 4]]);
  });
});
