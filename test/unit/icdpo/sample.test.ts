/** Candidates of the paper's formats, as they are sampled. */
import { describe, expect, it } from "vitest";
import type { SampleEvent } from "../../../src/engine/engine.ts";
import { encode, ScriptedEngine } from "../scripted-engine.ts";
import { icdpo, policy, request, sampleCall, says, sHat, table } from "./scripted-policy.ts";

describe("hh-rlhf candidates", () => {
  const plain = policy({ score: { type: "none" }, candidates: 1, format: "hh-rlhf" });
  const answer = async (text: string, finish: "stop" | "length" = "stop") => {
    const streamed: string[] = [];
    const engine = new ScriptedEngine({ sample: () => ({ text, finish }) });
    const { ranked } = await icdpo(engine, plain, request({ onText: (_, piece) => void streamed.push(piece) }));
    expect(streamed.join("")).toBe(ranked[0]?.text);
    return ranked[0]?.text;
  };

  it("are sampled with the markers as stop strings, after the client's own", async () => {
    const engine = new ScriptedEngine();
    await icdpo(engine, plain, request({ sampling: { stop: ["END"] } }));
    expect(sampleCall(engine).request.stop).toEqual(["END", "##", "Human:", "human:", "Assistant:", "assistant:"]);
  });

  it("chat candidates have the client's stop strings only, and are not trimmed", async () => {
    const engine = new ScriptedEngine(says(" a ## Human: b\n"));
    const { ranked } = await icdpo(
      engine,
      policy({ score: { type: "none" }, candidates: 1 }),
      request({ sampling: { stop: ["END"] } }),
    );
    expect(sampleCall(engine).request.stop).toEqual(["END"]);
    expect(ranked[0]?.text).toBe(" a ## Human: b\n");
  });

  it.each([
    ["a block", " Sure.\n\n##\n\nHuman: more", "Sure."],
    ["the user's turn", " Sure.\n\nHuman: more", "Sure."],
    ["the assistant's turn", " Sure.\r\n\r\nAssistant: more", "Sure."],
    ["a marker in lower case inside a line", " Sure, human: more", "Sure,"],
  ])("are cut before %s and trimmed", async (_, text, expected) => {
    expect(await answer(text)).toBe(expected);
  });

  it.each(["##", "Human:", "\n\nAssistant:", " \n\t "])("are empty where nothing but %j was sampled", async (text) => {
    expect(await answer(text)).toBe("");
  });

  it.each([
    ["Sure.\n\n#", "Sure."],
    ["Sure.\n\nHuman", "Sure."],
    ["Sure.\n\nH", "Sure."],
    ["Sure.\n\nassist", "Sure."],
    ["Sure.\r\n\r\nAssistant", "Sure."],
  ])("that ran into max_tokens in the middle of a marker (%j) lose the half marker", async (text, expected) => {
    expect(await answer(text, "length")).toBe(expected);
  });

  it.each(["Sure.\n\nHuman", "Sure.\n\nH", "Sure.\n#"])(
    "that the model closed itself keep what only looks like half a marker: %j",
    async (text) => {
      expect(await answer(text)).toBe(text);
    },
  );

  it.each(["Sure.\n\nHere", "C#", "I am human", "Sure.\nAssistants"])(
    "that ran into max_tokens keep words that no marker begins with: %j",
    async (text) => {
      expect(await answer(text, "length")).toBe(text);
    },
  );

  it("of one letter survive max_tokens: an answer A or H is no marker", async () => {
    expect(await answer("A", "length")).toBe("A");
    expect(await answer(" H", "length")).toBe("H");
  });

  it("stream as they are sampled, in pieces that make up the final text", async () => {
    const pieces: string[] = [];
    class PieceEngine extends ScriptedEngine {
      override async *sample(): AsyncGenerator<SampleEvent> {
        for (const text of ["\n", " Su", "re", ".\n", "\n", "H", "u", "m", "ble", " pie  ", "\n#", "1 ", "\n\nAss"])
          yield { type: "text", index: 0, text, tokens: text.length };
        const text = "\n Sure.\n\nHumble pie  \n#1 \n\nAss";
        yield {
          type: "done",
          index: 0,
          sample: { text, finish: "length", tokens: encode(text), logprobs: [], endLogprobs: [] },
        };
      }
    }
    const { ranked } = await icdpo(
      new PieceEngine(),
      plain,
      request({ onText: (_, piece) => void pieces.push(piece) }),
    );
    expect(ranked[0]?.text).toBe("Sure.\n\nHumble pie  \n#1");
    expect(pieces.join("")).toBe("Sure.\n\nHumble pie  \n#1");
    expect(pieces.length).toBeGreaterThan(3);
    expect(pieces).not.toContain("");
  });

  it("stream every candidate under its own index", async () => {
    const streamed = new Map<number, string>();
    const engine = new ScriptedEngine(says(" one two", " three", " four five six"));
    const onText = (index: number, piece: string) => void streamed.set(index, (streamed.get(index) ?? "") + piece);
    await icdpo(engine, policy({ score: { type: "none" }, format: "hh-rlhf" }), request({ answers: 3, onText }));
    expect([...streamed]).toEqual([
      [0, "one two"],
      [1, "three"],
      [2, "four five six"],
    ]);
  });

  it("are closed by the end token when they ran into max_tokens, as any other", async () => {
    const engine = new ScriptedEngine({ sample: (index) => ({ text: ` ${index}x`, finish: "length" }) });
    const { ranked } = await icdpo(engine, policy({ score: sHat, format: "hh-rlhf", candidates: 2 }), request());
    expect(ranked[0]).toMatchObject({ text: "0x", finish: "length" });
    expect(ranked[0]?.idsWithEos).toEqual([32, 48, 120, 0]);
  });

  it("a client's stop string cuts before scoring, and the finish is stop", async () => {
    const engine = new ScriptedEngine({ ...says(" foxEND", " hen"), ...table({ fox: [-1, -9, 0], hen: [-1, -2, 0] }) });
    const options = request({ sampling: { stop: ["END"] } });
    const { ranked } = await icdpo(engine, policy({ score: sHat, format: "hh-rlhf", candidates: 2 }), options);
    expect(ranked[0]).toMatchObject({ text: "fox", finish: "stop", score: expect.closeTo(8) });
  });
});
