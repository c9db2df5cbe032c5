import { appendFile, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { Engine } from "../../src/engine/engine.ts";
import { embeddingModel } from "../../src/models/catalog.ts";
import { openModelStore } from "../../src/node/runtime.ts";
import { readSettings } from "../../src/node/settings.ts";
import { parseDemonstrations } from "../../src/policy/parse.ts";
import { rememberEmbeddings } from "../../src/retrieval/embedding-file.ts";
import { loadEmbedder } from "../../src/retrieval/local-embedder.ts";
import type { EmbeddingModel } from "../../src/retrieval/retriever.ts";
import { twoStageRetriever } from "../../src/retrieval/two-stage.ts";
import { promptText } from "../../src/types/conversation.ts";

let load: () => Promise<EmbeddingModel>;
let embedder: EmbeddingModel;
beforeAll(async () => {
  const { path, id } = await openModelStore(readSettings(process.env, process.cwd()), () => {}).ensure(embeddingModel);
  load = () => loadEmbedder(path, id, new URL("../../dist/retrieval/embedding-thread.js", import.meta.url));
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

  it("count the tokens that the model reads, its marks included and cut at its length", async () => {
    const counted = await embedder.embedCounted(["hello world", "word ".repeat(2_000), "word ".repeat(2_000_000)]);
    expect(counted.map(({ tokens }) => tokens)).toEqual([4, 512, 512]);
  });

  it("are those of what the model reads, however long the text is", async () => {
    const read = ["A word. ", "mot très ", "猫", "🐈‍⬛ ", "    indented:\n", `${"x".repeat(99)} `];
    for (const words of read) {
      const [whole, longer] = await embed(words.repeat(700), words.repeat(100_000));
      expect(longer, words).toEqual(whole);
    }
  });

  it("are kept for a text that comes again, and for none but its tenant", async () => {
    const [first] = await embed("The same words.");
    const [again] = await embed("The same words.");
    expect(again).toBe(first);
    const [others] = await embedder.embed(["The same words."], undefined, "another");
    expect(others).not.toBe(first);
    expect(others).toEqual(first);
    expect((await embedder.embed(["The same words."], undefined, "another"))[0]).toBe(others);
  });

  it("stop when they are no longer wanted", async () => {
    await expect(embedder.embed(["Anything."], AbortSignal.abort())).rejects.toMatchObject({ code: "cancelled" });
  });
});

describe("the two-stage retriever's second stage", () => {
  it("is the cosine of the prompts' embeddings", async () => {
    const file = await readFile(new URL("../../demos/everyday.jsonl", import.meta.url), "utf8");
    const demonstrations = (await parseDemonstrations("demos/everyday.jsonl", file)).slice(0, 40);
    const characters = {
      tokenize: async (texts: readonly string[]) => texts.map((text) => [...text].map((one) => one.codePointAt(0) ?? 0)),
    };
    const source = { engine: characters as unknown as Engine, source: "test" };
    const retriever = await twoStageRetriever(demonstrations, source, embedder, { window: 30, shortlist: 20 });
    for (const question of ["How do I save a soup that is too salty?", "My roommate never does the dishes."]) {
      const found = await retriever.retrieve([{ role: "user", content: question }], { shots: 20, random: () => 0 });
      expect(found).toHaveLength(20);
      const [query] = (await embed(question)) as [Float32Array];
      const direct = await Promise.all(
        found.map(async ({ demonstration }) => dot(query, ((await embed(promptText(demonstration.messages))) as [Float32Array])[0])),
      );
      for (const [i, { similarity }] of found.entries()) expect(similarity).toBeCloseTo(direct[i] as number, 6);
      expect(direct).toEqual(direct.toSorted((a, b) => b - a));
    }
  });
});

describe("embeddings of demonstrations", () => {
  it("are kept in a file, computed once, and survive a crash in the middle of writing", async () => {
    const folder = await mkdtemp(path.join(tmpdir(), "icdpo-embeddings-"));
    try {
      let computed = 0;
      const counted = (texts: readonly string[]): Promise<Float32Array[]> => {
        computed += texts.length;
        return embedder.embed(texts);
      };
      const counting = { ...embedder, embed: counted };
      const said: string[] = [];
      const open = () => rememberEmbeddings(counting, folder, (line) => said.push(line));
      const first = await open();
      const [a, b] = await first.embedKept(["one", "two", "one"]);
      expect(computed).toBe(1 + 2);
      const [file = ""] = await readdir(folder);
      // Half a record, as a crash leaves it.
      await appendFile(path.join(folder, file), Buffer.alloc(100, 7));
      const second = await open();
      expect(await second.embedKept(["two", "one"])).toEqual([b, a]);
      await second.embedKept(["three"]);
      // The first process sees what the second has added.
      const before = computed;
      await first.embedKept(["three", "one"]);
      expect(computed).toBe(before);
      expect((await (await open()).embedKept(["one", "two", "three"])).slice(0, 2)).toEqual([a, b]);
      expect(said).toEqual([]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
