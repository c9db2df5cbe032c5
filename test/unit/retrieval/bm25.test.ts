import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Engine, Token } from "../../../src/engine/engine.ts";
import {
  bm25Best,
  bm25Ranking,
  bm25Retriever,
  bm25Scores,
  buildBm25Index,
  type Ranked,
} from "../../../src/retrieval/bm25.ts";
import { largest } from "../../../src/retrieval/retriever.ts";
import type { Conversation, Demonstration } from "../../../src/types/conversation.ts";
import { encode, ScriptedEngine } from "../scripted-engine.ts";

/**
 * One weight of BM25Okapi with k1 = 1.5 and b = 0.75: idf · tf · 2.5 / (tf + 1.5 · (0.25 + 0.75 · length / mean
 * length)).
 */
const weight = (idf: number, tf: number, length: number, meanLength: number): number =>
  (idf * tf * 2.5) / (tf + 1.5 * (0.25 + (0.75 * length) / meanLength));

function expectScores(scores: ArrayLike<number>, expected: readonly number[]): void {
  expect(scores.length).toBe(expected.length);
  expected.forEach((score, document) => {
    expect(scores[document]).toBeCloseTo(score, 12);
  });
}

const asks = (content: string): Conversation => [{ role: "user", content }];
const demonstration = (id: string, content: string): Demonstration => ({ id, messages: asks(content), chosen: "Yes." });
const options = (shots: number) => ({ shots, random: () => 0 });

describe("BM25 scores", () => {
  // Four documents of 3, 2, 4 and 3 tokens: 3 on average. Document frequencies: 10 → 1, 20 → 1, 30 → 1, 90 → 4, others
  // → 1.
  const documents = [
    [10, 10, 90],
    [20, 90],
    [30, 31, 32, 90],
    [40, 41, 90],
  ];
  const once = Math.log(3.5) - Math.log(1.5); // ln(4 − 1 + 0.5) − ln(1 + 0.5)

  it("weigh a token by its idf, its frequency and the document's length", () => {
    expectScores(bm25Scores(buildBm25Index(documents), [10]), [weight(once, 2, 3, 3), 0, 0, 0]);
    expectScores(bm25Scores(buildBm25Index(documents), [20]), [0, weight(once, 1, 2, 3), 0, 0]);
    expectScores(bm25Scores(buildBm25Index(documents), [30]), [0, 0, weight(once, 1, 4, 3), 0]);
  });

  it("come to these numbers, worked out by hand", () => {
    // idf = ln(7/3) = 0.8472978604; times 2 · 2.5 / (2 + 1.5) = 10/7, and 2.5 / (1 + 1.125) = 20/17 for the document of
    // two tokens
    const scores = bm25Scores(buildBm25Index(documents), [10, 20]);
    expect(scores[0]).toBeCloseTo(1.2104255148, 9);
    expect(scores[1]).toBeCloseTo(0.9968210122, 9);
    expect([scores[2], scores[3]]).toEqual([0, 0]);
  });

  it("add up over the query's tokens", () => {
    expectScores(bm25Scores(buildBm25Index(documents), [30, 31, 40]), [
      0,
      0,
      2 * weight(once, 1, 4, 3),
      weight(once, 1, 3, 3),
    ]);
  });

  it("count a repeated query token each time", () => {
    expectScores(bm25Scores(buildBm25Index(documents), [40, 40, 40]), [0, 0, 0, 3 * weight(once, 1, 3, 3)]);
  });

  it("replace a negative idf by a quarter of the mean idf, the negative one included in the mean", () => {
    const every = Math.log(0.5) - Math.log(4.5); // token 90 stands in all four documents
    const mean = (7 * once + every) / 8; // eight tokens: 10, 20, 30, 31, 32, 40, 41, 90
    expect(mean).toBeGreaterThan(0);
    expectScores(
      bm25Scores(buildBm25Index(documents), [90]),
      [3, 2, 4, 3].map((length) => weight(0.25 * mean, 1, length, 3)),
    );
  });

  it("keep a negative floor where the mean idf is negative", () => {
    // Both tokens stand in both documents: idf = ln 0.5 − ln 2.5 each, so is their mean.
    const floor = 0.25 * (Math.log(0.5) - Math.log(2.5));
    const index = buildBm25Index([
      [1, 2],
      [2, 1],
    ]);
    expectScores(bm25Scores(index, [1]), [weight(floor, 1, 2, 2), weight(floor, 1, 2, 2)]);
  });

  it("leave an idf of zero at zero", () => {
    // Token 1 stands in two of four documents: ln 2.5 − ln 2.5. The mean idf is above zero.
    expectScores(bm25Scores(buildBm25Index([[1], [1], [2], [3]]), [1]), [0, 0, 0, 0]);
  });

  it("ignore tokens that no document holds", () => {
    expectScores(bm25Scores(buildBm25Index(documents), [77, 10, -1]), [weight(once, 2, 3, 3), 0, 0, 0]);
  });

  it("are zero for an empty query", () => {
    expectScores(bm25Scores(buildBm25Index(documents), []), [0, 0, 0, 0]);
  });

  it("are zero for an empty document, which counts in the mean length and the idf", () => {
    // Mean length (2 + 0 + 1) / 3 = 1; N = 3.
    const idf = Math.log(2.5) - Math.log(1.5);
    expectScores(bm25Scores(buildBm25Index([[1, 1], [], [2]]), [1, 2]), [
      weight(idf, 2, 2, 1),
      0,
      weight(idf, 1, 1, 1),
    ]);
  });

  it("are zero, not NaN, where all documents are empty", () => {
    expectScores(bm25Scores(buildBm25Index([[], []]), [1]), [0, 0]);
  });

  it("are none where there are no documents", () => {
    expectScores(bm25Scores(buildBm25Index([]), [1]), []);
  });

  it("hold for token 0", () => {
    const idf = Math.log(2.5) - Math.log(1.5);
    expectScores(bm25Scores(buildBm25Index([[0], [5], [6]]), [0]), [weight(idf, 1, 1, 1), 0, 0]);
  });
});

const source = (engine: Engine = new ScriptedEngine()) => ({ engine, source: "test" });
const inOrder = (ranked: readonly Ranked[]): number[] =>
  ranked.toSorted((a, b) => a.index - b.index).map(({ score }) => score);

describe("the best of BM25", () => {
  it("are those of a full sort, ties to the lower index, for any documents and queries", () => {
    const tokens = fc.array(fc.integer({ min: 0, max: 12 }), { maxLength: 12 });
    fc.assert(
      fc.property(
        fc.array(tokens, { minLength: 1, maxLength: 40 }),
        tokens,
        fc.integer({ min: 1, max: 10 }),
        (documents, query, k) => {
          const index = buildBm25Index(documents);
          const scores = bm25Scores(index, query);
          expect(bm25Best(index, query, k)).toEqual(largest(scores, k).map((i) => ({ index: i, score: scores[i] })));
        },
      ),
    );
  });

  it("can be had from an index that was kept, and from no other's", async () => {
    const kept = new Map<string, Uint8Array>();
    const artifacts = {
      get: async (key: string) => kept.get(key),
      put: async (key: string, bytes: Uint8Array) => void kept.set(key, bytes),
    };
    let calls = 0;
    const engine = new ScriptedEngine();
    const tokenize = engine.tokenize.bind(engine);
    engine.tokenize = (texts) => {
      calls += texts.length;
      return tokenize(texts);
    };
    const demonstrations = ["a", "bb", "ccc"].map((text) => demonstration(text, text));
    const from = { engine, artifacts, source: "one" };
    const built = await (await bm25Ranking(demonstrations, from, 30))(asks("abc"), 3);
    expect(calls).toBe(4);
    expect(await (await bm25Ranking(demonstrations, from, 30))(asks("abc"), 3)).toEqual(built);
    expect(calls).toBe(5);
    // Another window, another set, turns seen otherwise, a damaged file: built anew.
    await bm25Ranking(demonstrations, from, 2);
    await bm25Ranking(demonstrations, { ...from, source: "two" }, 30);
    await bm25Ranking(demonstrations, { ...from, style: "marked" }, 30);
    for (const [key, bytes] of kept) kept.set(key, bytes.subarray(0, bytes.length - 1));
    expect(await (await bm25Ranking(demonstrations, from, 30))(asks("abc"), 3)).toEqual(built);
    expect(calls).toBe(5 + 4 * 3 + 1);
  });
});

describe("the BM25 retriever", () => {
  // A token is a character here, so a window of 4 sees the last four characters.
  const pool = [
    demonstration("rain", "....rain"),
    demonstration("snow", "....snow"),
    demonstration("wind", "....wind"),
  ];
  const ids = async (
    demonstrations: readonly Demonstration[],
    window: number,
    prompt: Conversation,
    shots: number,
  ): Promise<string[]> => {
    const retriever = await bm25Retriever(demonstrations, source(), window);
    return (await retriever.retrieve(prompt, options(shots))).map((found) => found.demonstration.id);
  };

  it("puts the most similar demonstration first", async () => {
    expect(await ids(pool, 30, asks("snow"), 1)).toEqual(["snow"]);
    expect(await ids(pool, 30, asks("wind"), 1)).toEqual(["wind"]);
  });

  it("reports BM25's score as the similarity", async () => {
    const retriever = await bm25Retriever(
      ["a", "b", "c"].map((letter) => demonstration(letter, letter)),
      source(),
      30,
    );
    const [first, second] = await retriever.retrieve(asks("b"), options(2));
    expect(first?.demonstration.id).toBe("b");
    expect(first?.similarity).toBeCloseTo(Math.log(2.5) - Math.log(1.5), 12); // tf 1, mean length: 2.5 / 2.5
    expect(second?.similarity).toBe(0);
  });

  it("gives ties to the lower index", async () => {
    const copies = ["first", "second", "third"].map((id) => demonstration(id, "the same"));
    expect(await ids(copies, 30, asks("same"), 2)).toEqual(["first", "second"]);
    expect(await ids(pool, 30, asks("xyz"), 3)).toEqual(["rain", "snow", "wind"]);
  });

  it("sees only the last L tokens of the tested prompt", async () => {
    expect(await ids(pool, 4, asks("rain rain rain wind"), 1)).toEqual(["wind"]);
  });

  it("sees only the last L tokens of each demonstration's prompt", async () => {
    const forgotten = [
      demonstration("forgotten", "zzzz...."),
      demonstration("other", "........"),
      demonstration("seen", "....z..."),
    ];
    const rank = await bm25Ranking(forgotten, source(), 4);
    // Windows "....", "....", "z...": z stands in one of three documents, all of four tokens.
    const idf = Math.log(2.5) - Math.log(1.5);
    expectScores(inOrder(await rank(asks("z"), 3)), [0, 0, weight(idf, 1, 4, 4)]);
  });

  it("takes the whole of prompts shorter than the window", async () => {
    const rank = await bm25Ranking(
      ["a", "bb", "ccc"].map((text) => demonstration(text, text)),
      source(),
      30,
    );
    const idf = Math.log(2.5) - Math.log(1.5);
    expectScores(inOrder(await rank(asks("abc"), 3)), [
      weight(idf, 1, 1, 2),
      weight(idf, 2, 2, 2),
      weight(idf, 3, 3, 2),
    ]);
  });

  it("joins turn contents by a line break, and leaves system text, tool results and responses out", async () => {
    const texts: string[] = [];
    const engine = new ScriptedEngine();
    engine.tokenize = async (given) => {
      texts.push(...given);
      return given.map(encode);
    };
    const turns: Conversation = [
      { role: "user", content: "one" },
      { role: "assistant", content: "two " },
      { role: "user", content: "three" },
    ];
    const rank = await bm25Ranking(
      [{ id: "d", messages: turns, chosen: "chosen", rejected: "rejected" }],
      source(engine),
      30,
    );
    await rank(
      [
        { role: "system", content: "system" },
        { role: "user", content: "four" },
        { role: "tool", content: "five" },
        ...asks(""),
      ],
      1,
    );
    expect(texts).toEqual(["one\ntwo \nthree", "four\n"]);
  });

  it("leaves out excepted demonstrations", async () => {
    const retriever = await bm25Retriever(pool, source(), 30);
    const found = await retriever.retrieve(asks("snow"), { ...options(2), except: new Set(["snow", "nobody"]) });
    expect(found.map((one) => one.demonstration.id).toSorted()).toEqual(["rain", "wind"]);
  });

  it("counts excepted demonstrations in the statistics, so that scores do not depend on who is left out", async () => {
    const letters = ["a", "b", "c"].map((letter) => demonstration(letter, letter));
    const retriever = await bm25Retriever(letters, source(), 30);
    const [found] = await retriever.retrieve(asks("b"), { ...options(1), except: new Set(["a"]) });
    expect(found?.similarity).toBeCloseTo(Math.log(2.5) - Math.log(1.5), 12);
  });

  it("returns all there are where there are fewer than shots", async () => {
    expect((await ids(pool, 30, asks("snow"), 10)).toSorted()).toEqual(["rain", "snow", "wind"]);
    expect(await ids([], 30, asks("snow"), 2)).toEqual([]);
  });

  it("retrieves demonstrations of an empty prompt too, scored zero", async () => {
    const retriever = await bm25Retriever(pool, source(), 30);
    expect((await retriever.retrieve(asks(""), options(2))).map((found) => found.similarity)).toEqual([0, 0]);
  });

  it("keeps the order of documents that are tokenised in several portions", async () => {
    const many = Array.from({ length: 4_500 }, (_, i) => demonstration(`d${i}`, String.fromCharCode(0x4e00 + i)));
    expect(await ids(many, 30, asks(String.fromCharCode(0x4e00 + 4_321)), 1)).toEqual(["d4321"]);
  });

  it("tokenises the demonstrations once, and each prompt as it comes", async () => {
    const batches: number[] = [];
    const engine: Pick<Engine, "tokenize"> = {
      tokenize: async (texts): Promise<Token[][]> => {
        batches.push(texts.length);
        return texts.map(encode);
      },
    };
    const retriever = await bm25Retriever(pool, source(Object.assign(new ScriptedEngine(), engine)), 30);
    await retriever.retrieve(asks("snow"), options(1));
    await retriever.retrieve(asks("rain"), options(1));
    expect(batches).toEqual([3, 1, 1]);
  });
});
