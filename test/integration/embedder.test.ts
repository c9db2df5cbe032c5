import { beforeAll, describe, expect, it } from "vitest";
import { loadEmbedder } from "../../src/node/embedder.ts";
import { embeddingModel } from "../../src/node/models/catalog.ts";
import { openModelStore } from "../../src/node/runtime.ts";
import { readSettings } from "../../src/node/settings.ts";
import type { EmbeddingModel } from "../../src/retrieval/retriever.ts";

let load: () => Promise<EmbeddingModel>;
let embedder: EmbeddingModel;
beforeAll(async () => {
  const { path, id } = await openModelStore(readSettings(process.env, process.cwd()), () => {}).ensure(embeddingModel);
  load = () => loadEmbedder(path, id);
  embedder = await load();
});

const dot = (a: Float32Array, b: Float32Array): number => a.reduce((sum, value, index) => sum + value * (b[index] as number), 0);

async function embed(...texts: string[]): Promise<Float32Array[]> {
  return embedder.embed(texts);
}

describe("sentence embeddings", () => {
  it("have length one, and are near where meanings are", async () => {
    const [cat, kitten, tax] = (await embed("My cat is ill.", "The kitten seems sick.", "How do I file taxes?")) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    for (const embedding of [cat, kitten, tax]) expect(dot(embedding, embedding)).toBeCloseTo(1, 5);
    expect(dot(cat, kitten)).toBeGreaterThan(dot(cat, tax) + 0.2);
  });

  it("do not depend on what is embedded beside them", async () => {
    const [beside] = await embed("Rain again.", "A much longer text about something else entirely, with many words in it.");
    const [alone] = await (await load()).embed(["Rain again."]);
    expect(alone).toEqual(beside);
  });

  it("count the tokens that the model reads, its marks included and cut at its length", () => {
    expect(embedder.countTokens("hello world")).toBe(4);
    expect(embedder.countTokens("word ".repeat(2_000))).toBe(512);
  });

  it("are kept for a text that comes again", async () => {
    const [first] = await embed("The same words.");
    const [again] = await embed("The same words.");
    expect(again).toBe(first);
  });

  it("stop when they are no longer wanted", async () => {
    await expect(embedder.embed(["Anything."], AbortSignal.abort())).rejects.toMatchObject({ code: "cancelled" });
  });
});
