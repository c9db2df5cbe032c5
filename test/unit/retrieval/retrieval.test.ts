import { describe, expect, it } from "vitest";
import { embeddingRetriever } from "../../../src/retrieval/embedding.ts";
import { randomRetriever } from "../../../src/retrieval/random.ts";
import { type Embedder, largest, prefixed, type Retrieved } from "../../../src/retrieval/retriever.ts";
import { twoStageRetriever } from "../../../src/retrieval/two-stage.ts";
import type { Conversation, Demonstration } from "../../../src/types/conversation.ts";
import { ScriptedEngine } from "../scripted-engine.ts";

const asks = (content: string): Conversation => [{ role: "user", content }];
const demonstration = (id: string, content = id): Demonstration => ({ id, messages: asks(content), chosen: "Yes." });
const ids = (found: readonly Retrieved[]): string[] => found.map((one) => one.demonstration.id);
const options = (shots: number) => ({ shots, random: () => 0 });

/** Looks vectors up by text, and notes what it was asked. */
class ToyEmbedder implements Embedder {
  readonly model = "toy";
  readonly calls: string[][] = [];
  readonly #vectors: Readonly<Record<string, readonly number[]>>;

  constructor(vectors: Readonly<Record<string, readonly number[]>>) {
    this.#vectors = vectors;
  }

  async embed(texts: readonly string[], signal?: AbortSignal): Promise<Float32Array[]> {
    signal?.throwIfAborted();
    this.calls.push([...texts]);
    return texts.map((text) => Float32Array.from(this.#vectors[text] ?? [0, 0]));
  }

  /** Called before demonstrations are embedded. */
  onKept = (): void => {};

  async embedKept(texts: readonly string[], signal?: AbortSignal): Promise<Float32Array[]> {
    this.onKept();
    return this.embed(texts, signal);
  }
}

/** Cosines with "east": 1, 0.8, 0.6, 0 and −1, exact enough in 32 bits. */
const compass = {
  east: [1, 0],
  "nearly east": [0.8, 0.6],
  "north-east": [0.6, 0.8],
  north: [0, 1],
  west: [-1, 0],
} as const;

describe("largest", () => {
  it("returns indices of the largest values, largest first", () => {
    expect(largest([0.1, 0.7, -3, 0.9, 0.2], 3)).toEqual([3, 1, 4]);
  });

  it("gives ties to the lower index, at the cut as well", () => {
    expect(largest([1, 2, 1, 2, 1], 3)).toEqual([1, 3, 0]);
    expect(largest([5, 5, 5], 2)).toEqual([0, 1]);
  });

  it("returns all indices where there are fewer than k", () => {
    expect(largest([1, 3, 2], 10)).toEqual([1, 2, 0]);
    expect(largest([], 2)).toEqual([]);
  });

  it("returns none for k = 0", () => {
    expect(largest([1, 2], 0)).toEqual([]);
  });

  it("passes over indices that are not allowed, and fills up with the next", () => {
    expect(largest([9, 8, 7, 6], 2, (index) => index !== 0)).toEqual([1, 2]);
    expect(largest([1, 2], 2, () => false)).toEqual([]);
  });

  it("orders values below zero and infinities", () => {
    expect(largest([-2, Number.NEGATIVE_INFINITY, -1, Number.POSITIVE_INFINITY], 4)).toEqual([3, 2, 0, 1]);
  });

  it("reads typed arrays", () => {
    expect(largest(Float64Array.of(1, 3, 2), 2)).toEqual([1, 2]);
  });

  it("never prefers a value that is no number to one that is", () => {
    expect(largest([Number.NaN, 1, 2], 1)).toEqual([2]);
    expect(largest([1, Number.NaN, 2], 2)).toEqual([2, 0]);
    expect(largest([1, Number.NaN, 2], 3)).toEqual([2, 0, 1]);
  });
});

describe("the random retriever", () => {
  const pool = ["a", "b", "c", "d"].map((id) => demonstration(id));
  const draws = (...values: number[]) => {
    const queue = [...values];
    return () => queue.shift() ?? 0;
  };

  it("draws by the chance it is given, each draw among those that remain", async () => {
    const retriever = randomRetriever(pool);
    // Of a b c d the 3rd; of a b d the 3rd; of a b the 1st.
    expect(ids(await retriever.retrieve(asks("x"), { shots: 3, random: draws(0.5, 0.99, 0.49) }))).toEqual([
      "c",
      "d",
      "a",
    ]);
  });

  it("draws the same for the same chance, time and again", async () => {
    const retriever = randomRetriever(pool);
    const first = await retriever.retrieve(asks("x"), { shots: 2, random: draws(0.3, 0.9) });
    const second = await retriever.retrieve(asks("another"), { shots: 2, random: draws(0.3, 0.9) });
    expect(ids(first)).toEqual(["b", "d"]);
    expect(ids(second)).toEqual(["b", "d"]);
  });

  it("draws without replacement", async () => {
    const found = await randomRetriever(pool).retrieve(asks("x"), options(4));
    expect(ids(found).toSorted()).toEqual(["a", "b", "c", "d"]);
  });

  it("can draw each demonstration", async () => {
    const retriever = randomRetriever(pool);
    const drawn = await Promise.all(
      [0, 0.25, 0.5, 0.999_999].map((value) => retriever.retrieve(asks("x"), { shots: 1, random: () => value })),
    );
    expect(drawn.flatMap(ids)).toEqual(["a", "b", "c", "d"]);
  });

  it("measures no similarity", async () => {
    const found = await randomRetriever(pool).retrieve(asks("x"), options(2));
    expect(found.map((one) => one.similarity)).toEqual([null, null]);
  });

  it("leaves out excepted demonstrations", async () => {
    const found = await randomRetriever(pool).retrieve(asks("x"), { ...options(4), except: new Set(["a", "c"]) });
    expect(ids(found).toSorted()).toEqual(["b", "d"]);
  });

  it("leaves out every demonstration of an excepted id", async () => {
    const twins = [demonstration("twin"), demonstration("other"), demonstration("twin")];
    expect(ids(await randomRetriever(twins).retrieve(asks("x"), { ...options(3), except: new Set(["twin"]) }))).toEqual(
      ["other"],
    );
  });

  it("returns all there are where there are fewer than shots", async () => {
    expect(await randomRetriever(pool).retrieve(asks("x"), options(9))).toHaveLength(4);
    expect(await randomRetriever([]).retrieve(asks("x"), options(2))).toEqual([]);
  });

  it("leaves the set as it was", async () => {
    const own = [...pool];
    await randomRetriever(own).retrieve(asks("x"), options(4));
    expect(own.map(({ id }) => id)).toEqual(["a", "b", "c", "d"]);
  });
});

describe("the embedding retriever", () => {
  const pool = ["north", "nearly east", "west", "north-east"].map((id) => demonstration(id));

  it("orders demonstrations by cosine, most similar first", async () => {
    const found = await embeddingRetriever(pool, new ToyEmbedder(compass)).retrieve(asks("east"), options(4));
    expect(ids(found)).toEqual(["nearly east", "north-east", "north", "west"]);
  });

  it("reports the cosine", async () => {
    const found = await embeddingRetriever(pool, new ToyEmbedder(compass)).retrieve(asks("east"), options(4));
    [0.8, 0.6, 0, -1].forEach((cosine, place) => {
      expect(found[place]?.similarity).toBeCloseTo(cosine, 6);
    });
  });

  it("sums over all dimensions", async () => {
    const embedder = new ToyEmbedder({ prompt: [0.6, 0, 0.8], same: [0.6, 0, 0.8] });
    const [found] = await embeddingRetriever([demonstration("same")], embedder).retrieve(asks("prompt"), options(1));
    expect(found?.similarity).toBeCloseTo(1, 6);
  });

  it("gives ties to the lower index", async () => {
    const twins = [demonstration("far", "west"), demonstration("first", "north"), demonstration("second", "north")];
    const found = await embeddingRetriever(twins, new ToyEmbedder(compass)).retrieve(asks("east"), options(2));
    expect(ids(found)).toEqual(["first", "second"]);
  });

  it("looks at what is asked, of demonstrations as of prompts", async () => {
    const embedder = new ToyEmbedder({});
    const dialogue: Demonstration = {
      id: "dialogue",
      messages: [
        { role: "user", content: "one" },
        { role: "assistant", content: "two" },
        { role: "user", content: "three" },
      ],
      chosen: "chosen",
      rejected: "rejected",
    };
    await embeddingRetriever([dialogue], embedder).retrieve(
      [{ role: "system", content: "system" }, ...asks("four"), { role: "tool", content: "five" }],
      options(1),
    );
    expect(embedder.calls).toEqual([["four"], ["three", "one"]]);
  });

  it("tells long dialogues apart by their last questions, whatever an embedder reads of a text", async () => {
    const answer = "First you do this, and then you do that. ".repeat(100);
    const dialogue = (content: string): Conversation => [
      ...asks("How do I plan a garden?"),
      { role: "assistant", content: answer },
      ...asks("Can you say more?"),
      { role: "assistant", content: answer },
      ...asks(content),
    ];
    /** Reads 512 words, as models do, and counts letters. */
    const letters = async (texts: readonly string[]) =>
      texts.map((text) => {
        const read = text.split(/\s+/u).slice(0, 512).join(" ");
        const counts = [..."abcdefghijklmnopqrstuvwxyz"].map((letter) => read.split(letter).length - 1);
        return Float32Array.from(counts, (count) => count / Math.hypot(...counts));
      });
    const embedder = { model: "letters", embed: letters, embedKept: letters };
    const [tax, zoo] = ["What tax do I pay at Christmas?", "Does a zebra in a zoo doze?"];
    const demonstrations = [tax, zoo].map((question) => ({ ...demonstration(question), messages: dialogue(question) }));
    const found = await embeddingRetriever(demonstrations, embedder).retrieve(dialogue(zoo), options(2));
    expect(ids(found)).toEqual([zoo, tax]);
    expect(found[0]?.similarity).toBeCloseTo(1, 6);
    expect(found[1]?.similarity).toBeLessThan(0.99);
  });

  it("leaves out what is less similar than it must be", async () => {
    const nearest = (least: number) =>
      embeddingRetriever(pool, new ToyEmbedder(compass), { min_similarity: least }).retrieve(asks("east"), options(4));
    expect(ids(await nearest(0.7))).toEqual(["nearly east"]);
    expect(ids(await nearest(0))).toEqual(["nearly east", "north-east", "north"]);
    expect(await nearest(0.9)).toEqual([]);
    expect(ids(await nearest(-1))).toHaveLength(4);
  });

  it("embeds each demonstration once and keeps it", async () => {
    const embedder = new ToyEmbedder(compass);
    const retriever = embeddingRetriever(pool, embedder);
    await retriever.retrieve(asks("east"), options(1));
    const found = await retriever.retrieve(asks("west"), options(1));
    expect(embedder.calls.flat().toSorted()).toEqual(["east", "nearly east", "north", "north-east", "west", "west"]);
    expect(embedder.calls.at(-1)).toEqual(["west"]);
    expect(ids(found)).toEqual(["west"]);
  });

  it("embeds each demonstration once for requests that come together, whoever of them leaves", async () => {
    const embedder = new ToyEmbedder(compass);
    const retriever = embeddingRetriever(pool, embedder);
    const leaves = new AbortController();
    const left = retriever.retrieve(asks("east"), { ...options(1), signal: leaves.signal });
    const stayed = retriever.retrieve(asks("east"), options(1));
    embedder.onKept = () => leaves.abort();
    await expect(left).rejects.toMatchObject({ code: "cancelled" });
    expect(ids(await stayed)).toEqual(["nearly east"]);
    expect(embedder.calls.flat().filter((text) => text === "north")).toHaveLength(1);
  });

  it("embeds demonstrations again where that has failed", async () => {
    const embedder = new ToyEmbedder(compass);
    const retriever = embeddingRetriever(pool, embedder);
    embedder.onKept = () => {
      throw new Error("no room");
    };
    await expect(retriever.retrieve(asks("east"), options(1))).rejects.toThrow("no room");
    embedder.onKept = () => {};
    expect(ids(await retriever.retrieve(asks("east"), options(1)))).toEqual(["nearly east"]);
  });

  it("keeps embeddings by place, so that demonstrations of the same id stay apart", async () => {
    const twins = [demonstration("twin", "west"), demonstration("twin", "east")];
    const retriever = embeddingRetriever(twins, new ToyEmbedder(compass));
    for (let round = 0; round < 2; round++) {
      const [found] = await retriever.retrieve(asks("east"), options(1));
      expect(found?.demonstration).toBe(twins[1]);
    }
  });

  it("leaves out excepted demonstrations, this time only", async () => {
    const retriever = embeddingRetriever(pool, new ToyEmbedder(compass));
    expect(ids(await retriever.retrieve(asks("east"), { ...options(2), except: new Set(["nearly east"]) }))).toEqual([
      "north-east",
      "north",
    ]);
    expect(ids(await retriever.retrieve(asks("east"), options(2)))).toEqual(["nearly east", "north-east"]);
  });

  it("returns all there are where there are fewer than shots", async () => {
    const retriever = embeddingRetriever(pool.slice(0, 1), new ToyEmbedder(compass));
    expect(ids(await retriever.retrieve(asks("east"), options(5)))).toEqual(["north"]);
    expect(await embeddingRetriever([], new ToyEmbedder(compass)).retrieve(asks("east"), options(2))).toEqual([]);
  });

  it("hands the signal to the embedder", async () => {
    const retriever = embeddingRetriever(pool, new ToyEmbedder(compass));
    const gone = AbortSignal.abort(new Error("gone"));
    await expect(retriever.retrieve(asks("east"), { ...options(1), signal: gone })).rejects.toThrow("gone");
  });

  it("works again after an embedding that failed", async () => {
    const retriever = embeddingRetriever(pool, new ToyEmbedder(compass));
    await expect(retriever.retrieve(asks("east"), { ...options(1), signal: AbortSignal.abort() })).rejects.toThrow();
    expect(ids(await retriever.retrieve(asks("east"), options(1)))).toEqual(["nearly east"]);
  });
});

describe("the two-stage retriever", () => {
  // Characters are tokens. BM25 for "abc", best first: "abcd" (a, b, c), "abx" (a, b), "ayz" (a), then those that share
  // nothing.
  const vectors = { abc: [1, 0], abx: [0, 1], ayz: [0.6, 0.8], qqq: [1, 0], abcd: [-1, 0] } as const;
  const pool = ["ayz", "qqq", "abcd", "abx", "mmm", "nnn", "ooo", "ppp"].map((id) => demonstration(id));
  const twoStage = (embedder: Embedder, shortlist: number, window = 30) =>
    twoStageRetriever(pool, { engine: new ScriptedEngine(), source: "test" }, embedder, { window, shortlist });

  it("ranks by embeddings what BM25 has kept", async () => {
    const retriever = await twoStage(new ToyEmbedder(vectors), 3);
    expect(ids(await retriever.retrieve(asks("abc"), options(3)))).toEqual(["ayz", "abx", "abcd"]);
  });

  it("never returns what BM25 did not keep, however similar its embedding", async () => {
    const retriever = await twoStage(new ToyEmbedder(vectors), 2);
    expect(ids(await retriever.retrieve(asks("abc"), options(2)))).toEqual(["abx", "abcd"]);
  });

  it("finds the nearest embedding of all where the shortlist holds all", async () => {
    const retriever = await twoStage(new ToyEmbedder(vectors), 20);
    expect(ids(await retriever.retrieve(asks("abc"), options(2)))).toEqual(["qqq", "ayz"]);
  });

  it("reports the cosine as similarity", async () => {
    const retriever = await twoStage(new ToyEmbedder(vectors), 3);
    const found = await retriever.retrieve(asks("abc"), options(2));
    expect(found[0]?.similarity).toBeCloseTo(0.6, 6);
    expect(found[1]?.similarity).toBeCloseTo(0, 6);
  });

  it("embeds the shortlist only, and each of it once", async () => {
    const embedder = new ToyEmbedder(vectors);
    const retriever = await twoStage(embedder, 2);
    await retriever.retrieve(asks("abc"), options(1));
    await retriever.retrieve(asks("abc"), options(1));
    expect(embedder.calls.flat().toSorted()).toEqual(["abc", "abc", "abcd", "abx"]);
  });

  it("prefers what is unlike what it has, where the policy says so, most similar first all the same", async () => {
    const vectors = { abc: [1, 0], abcd: [0.96, 0.28], abx: [0.8, 0.6], ayz: [0.6, -0.8] } as const;
    const found = async (mmr: number | undefined, least?: number) => {
      const settings = { window: 30, shortlist: 3, mmr, min_similarity: least };
      const source = { engine: new ScriptedEngine(), source: "test" };
      const retriever = await twoStageRetriever(pool, source, new ToyEmbedder(vectors), settings);
      return ids(await retriever.retrieve(asks("abc"), options(2)));
    };
    expect(await found(undefined)).toEqual(["abcd", "abx"]);
    expect(await found(1)).toEqual(["abcd", "abx"]);
    // 0.5·0.6 − 0.5·(0.96·0.6 − 0.28·0.8) = 0.12 against 0.5·0.8 − 0.5·(0.96·0.8 + 0.28·0.6) = −0.07
    expect(await found(0.5)).toEqual(["abcd", "ayz"]);
    expect(await found(0.5, 0.7)).toEqual(["abcd", "abx"]);
  });

  it("leaves out what is less similar than it must be", async () => {
    const source = { engine: new ScriptedEngine(), source: "test" };
    const settings = { window: 30, shortlist: 3, min_similarity: 0.5 };
    const retriever = await twoStageRetriever(pool, source, new ToyEmbedder(vectors), settings);
    expect(ids(await retriever.retrieve(asks("abc"), options(3)))).toEqual(["ayz"]);
  });

  it("shows BM25 the last L tokens, embeddings the whole question", async () => {
    const embedder = new ToyEmbedder({});
    const retriever = await twoStage(embedder, 1, 3);
    expect(ids(await retriever.retrieve(asks("abcd abcd qqq"), options(1)))).toEqual(["qqq"]);
    expect(embedder.calls.flat()).toContain("abcd abcd qqq");
  });

  it("fills the shortlist from the others where demonstrations are excepted", async () => {
    const retriever = await twoStage(new ToyEmbedder(vectors), 2);
    expect(ids(await retriever.retrieve(asks("abc"), { ...options(2), except: new Set(["abx"]) }))).toEqual([
      "ayz",
      "abcd",
    ]);
  });

  it("gives equal cosines to BM25's better one", async () => {
    const same = { abc: [1, 0], ayz: [1, 0], abcd: [1, 0], abx: [1, 0] } as const;
    const retriever = await twoStage(new ToyEmbedder(same), 3);
    expect(ids(await retriever.retrieve(asks("abc"), options(1)))).toEqual(["abcd"]);
  });

  it("returns no more than the shortlist, and all there are where there are fewer than shots", async () => {
    expect(await (await twoStage(new ToyEmbedder(vectors), 2)).retrieve(asks("abc"), options(3))).toHaveLength(2);
    expect(await (await twoStage(new ToyEmbedder(vectors), 20)).retrieve(asks("abc"), options(9))).toHaveLength(8);
  });
});

describe("a model that is given texts after a prefix", () => {
  it("retrieves by them, is another model, and embeds what clients write as they write it", async () => {
    const seen: string[] = [];
    const embed = async (texts: readonly string[]) => {
      seen.push(...texts);
      return texts.map(() => Float32Array.of(1, 0));
    };
    const embedCounted = async (texts: readonly string[]) =>
      (await embed(texts)).map((embedding) => ({ embedding, tokens: 1 }));
    const bare = { model: "e5", name: "e5", embed, embedKept: embed, embedCounted };
    const model = prefixed(bare, "query: ");
    await embeddingRetriever([demonstration("a")], model).retrieve(asks("b"), options(1));
    await model.embedCounted(["c"]);
    expect(seen).toEqual(["query: b", "query: a", "c"]);
    expect(model.model).not.toBe(bare.model);
    expect(prefixed(bare, "")).toBe(bare);
  });
});
