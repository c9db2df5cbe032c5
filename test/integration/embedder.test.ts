import { appendFile, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Engine } from "../../src/engine/engine.ts";
import { embeddingModel } from "../../src/models/catalog.ts";
import { embeddingFolder, type Pooling } from "../../src/models/embedding-folder.ts";
import { openModelStore } from "../../src/node/runtime.ts";
import { readSettings } from "../../src/node/settings.ts";
import { parseDemonstrations } from "../../src/policy/parse.ts";
import { rememberEmbeddings } from "../../src/retrieval/embedding-file.ts";
import { loadEmbedder } from "../../src/retrieval/local-embedder.ts";
import { embedQuestions, questionOf } from "../../src/retrieval/question.ts";
import type { EmbeddingModel } from "../../src/retrieval/retriever.ts";
import { twoStageRetriever } from "../../src/retrieval/two-stage.ts";
import { type Conversation, promptText } from "../../src/types/conversation.ts";
import { writeTinyEmbeddingModel } from "./tiny-embedding-model.ts";

const thread = new URL("../../dist/retrieval/embedding-thread.js", import.meta.url);
let load: () => Promise<EmbeddingModel>;
let embedder: EmbeddingModel;
beforeAll(async () => {
  const store = openModelStore(readSettings(process.env, process.cwd()), () => {});
  const { path: folder, id } = await store.ensure(embeddingModel);
  load = () => loadEmbedder({ folder, weights: embeddingModel.weights, pooling: "mean" }, id, thread);
  embedder = await load();
});

const dot = (a: Float32Array, b: Float32Array): number =>
  a.reduce((sum, value, index) => sum + value * (b[index] as number), 0);

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

  it.each([
    ["A man is eating food.", "A man is eating a piece of bread.", 0.755],
    ["My cat is ill.", "How do I file taxes?", 0.133],
    ["Où est la bibliothèque ?", "ou est la bibliotheque ?", 1],
    ["猫が病気です。", "私の猫は病気だ。", 0.704],
    ["[SEP] [CLS]", "brackets", 0.344],
    ["", "Nothing.", 0.286],
  ])("are as near as those of the weights in float32: %j and %j", async (a, b, cosine) => {
    const [one, other] = (await embed(a, b)) as [Float32Array, Float32Array];
    expect(Math.abs(dot(one, other) - cosine)).toBeLessThan(0.03);
  });

  it("do not depend on what is embedded beside them", async () => {
    const [beside] = await embed(
      "Rain again.",
      "A much longer text about something else entirely, with many words in it.",
    );
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

describe("an embedding model of one's own", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), "icdpo-tiny-embedder-"));
  });
  afterEach(() => rm(folder, { recursive: true }));
  const loadTiny = async (model?: Parameters<typeof writeTinyEmbeddingModel>[1], given?: Pooling, place = folder) => {
    writeTinyEmbeddingModel(folder, model);
    const { id, ...options } = await embeddingFolder(place, { directory: folder, report: () => {} }, given);
    return loadEmbedder(options, id, thread);
  };

  it("gives the mean of its tokens' states, of length one", async () => {
    const tiny = await loadTiny();
    const [counted] = await tiny.embedCounted(["A b."]);
    expect(counted?.tokens).toBe(5);
    expect([...(counted?.embedding ?? [])].map((one) => one.toFixed(6))).toEqual(["0.600000", "0.800000"]);
  });

  it("may be of float32, and gives the first token's state where its folder or its user says so", async () => {
    const cls = { word_embedding_dimension: 2, pooling_mode_cls_token: true, pooling_mode_mean_tokens: false };
    const weights = "onnx/model.onnx";
    // The first token is [CLS]: in a table where it points one way, its embedding does.
    const first = { states: { "[CLS]": [0, 2] }, weights } as const;
    const told = await loadTiny({ ...first, pooling: cls });
    expect(await told.embed(["a a a"])).toEqual([Float32Array.of(0, 1)]);
    const mean = await loadTiny({ ...first, pooling: cls }, "mean");
    expect((await mean.embed(["a a a"]))[0]?.[0]).toBeGreaterThan(0.9);
    expect(mean.model).not.toBe(told.model);
    const named = await loadTiny({ ...first }, "cls", path.join(folder, weights));
    expect(await named.embed(["a"])).toEqual([Float32Array.of(0, 1)]);
    expect(named.name).toBe(path.basename(folder));
  });

  it("reads as many tokens as it has positions, or as its tokenizer says, if those are fewer", async () => {
    for (const [tokenizerConfig, tokens] of [
      [{}, 6],
      [{ model_max_length: 1e30 }, 6],
      [{ model_max_length: 3 }, 3],
    ] as const) {
      const tiny = await loadTiny({ tokenizerConfig });
      // What is cut off would turn the embedding.
      const counted = await tiny.embedCounted([`${"a ".repeat(tokens - 1)}b b b`]);
      expect(counted).toEqual([{ tokens, embedding: Float32Array.of(1, 0) }]);
    }
  });

  it("need not take the mask, and is refused where it takes what there is not, or gives something else", async () => {
    const bare = await loadTiny({ inputs: ["input_ids"] });
    expect(await bare.embed(["a"])).toEqual([Float32Array.of(1, 0)]);
    await expect(loadTiny({ inputs: ["input_ids", "position_ids"] })).rejects.toThrow("takes position_ids");
    const other = await loadTiny({ output: "scores" });
    const refusal = { code: "engine_failure", message: expect.stringContaining("gives scores") };
    await expect(other.embed(["a"])).rejects.toMatchObject(refusal);
  });
});

describe("the two-stage retriever's second stage", () => {
  it("tells long dialogues apart by their last questions, which the model would not read of the whole", async () => {
    const answer = "It is best to begin early, and to write down what you have. ".repeat(60);
    const dialogue = (content: string): Conversation => [
      { role: "user", content: "How do I plan my week?" },
      { role: "assistant", content: answer },
      { role: "user", content },
    ];
    const questions = [
      "How do I get rust off an old iron pan without ruining it?",
      "Why do cats purr, even where they are ill?",
    ] as const;
    const cosine = ([one, other]: readonly Float32Array[]) => dot(one as Float32Array, other as Float32Array);
    const whole = questions.map((question) => promptText(dialogue(question)));
    expect(cosine(await embed(...whole))).toBeCloseTo(1, 5);
    const asked = questions.map((question) => questionOf(dialogue(question)));
    expect(cosine(await embedQuestions(asked, (texts) => embed(...texts)))).toBeLessThan(0.7);
  });

  it("is the cosine of the questions' embeddings", async () => {
    const file = await readFile(new URL("../../demos/everyday.jsonl", import.meta.url), "utf8");
    const demonstrations = (await parseDemonstrations("demos/everyday.jsonl", file)).slice(0, 40);
    const characters = {
      tokenize: async (texts: readonly string[]) =>
        texts.map((text) => [...text].map((one) => one.codePointAt(0) ?? 0)),
    };
    const source = { engine: characters as unknown as Engine, source: "test" };
    const retriever = await twoStageRetriever(demonstrations, source, embedder, { window: 30, shortlist: 20 });
    const embedded = (messages: Conversation) => embedQuestions([questionOf(messages)], (texts) => embed(...texts));
    for (const question of ["How do I save a soup that is too salty?", "My roommate never does the dishes."]) {
      const found = await retriever.retrieve([{ role: "user", content: question }], { shots: 20, random: () => 0 });
      expect(found).toHaveLength(20);
      const [query] = (await embed(question)) as [Float32Array];
      const direct = await Promise.all(
        found.map(async ({ demonstration }) => dot(query, (await embedded(demonstration.messages))[0] as Float32Array)),
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
