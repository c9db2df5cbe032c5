/** @module Retrieval among many demonstrations, beside a scan of them all as `rank_bm25` does it. */
import v8 from "node:v8";
import vm from "node:vm";
import {
  bm25Ranking,
  type Demonstration,
  type Embedder,
  type Engine,
  parseDemonstrations,
  type Token,
  twoStageRetriever,
} from "icdpo-gateway/laboratory";
import { type BenchCase, type Measurement, quantile } from "./figures.ts";

const window = 30;
const shortlist = 20;
const queries = 200;
/** Of them, so many through both stages: each needs a shortlist's embeddings once. */
const embedded = 10;
const scans = 3;
const wordsPerPrompt = 22;

/** Prompts of about thirty tokens, their words drawn from a text as often as they stand there. */
export function retrievalCase(engine: Engine, embedder: Embedder, text: string, sizes: readonly number[]): BenchCase {
  const vocabulary = text.split(/\s+/u);
  const random = mulberry(1);
  const prompt = (): string =>
    Array.from({ length: wordsPerPrompt }, () => vocabulary[Math.floor(random() * vocabulary.length)]).join(" ");
  const demonstration = (_: unknown, index: number): Demonstration => {
    return { id: String(index), messages: [{ role: "user", content: prompt() }], chosen: "a", rejected: "b" };
  };
  return {
    name: "retrieval",
    async run() {
      const measurements: Measurement[] = [];
      for (const size of sizes) measurements.push(...(await measureSize(size)));
      return measurements;
    },
  };

  async function measureSize(size: number): Promise<Measurement[]> {
    const text = Array.from({ length: size }, demonstration)
      .map((one) => JSON.stringify(one))
      .join("\n");
    const name = `${size.toLocaleString("en")} demonstrations`;
    const kept = new Map<string, Uint8Array>();
    const artifacts = {
      get: async (key: string) => kept.get(key),
      put: async (key: string, bytes: Uint8Array) => void kept.set(key, bytes),
    };
    const source = { engine, artifacts, source: "bench" };
    const load = async () => {
      const demonstrations = await parseDemonstrations("bench.jsonl", text);
      return { demonstrations, rank: await bm25Ranking(demonstrations, source, window) };
    };
    const built = await timed(load);
    const before = memoryInUse();
    const { value: loaded, seconds: reloading } = await timed(load);
    const bytes = memoryInUse() - before;
    const { demonstrations, rank } = loaded;
    const retriever = await twoStageRetriever(demonstrations, source, embedder, { window, shortlist });
    const tokens = await engine.tokenize(
      demonstrations.slice(0, 2000).map(({ messages }) => messages[0]?.content ?? ""),
    );
    const documents = demonstrations.map((_, i) => tokens[i % tokens.length] as Token[]);
    const asked = Array.from({ length: queries }, prompt);
    const ranked = await times(asked, (query) => rank([{ role: "user", content: query }], shortlist));
    const scanned = await times(asked.slice(0, scans), async (query) =>
      scan(documents, (await engine.tokenize([query]))[0] ?? []),
    );
    const retrieve = (query: string) => retriever.retrieve([{ role: "user", content: query }], { shots: 2, random });
    const fresh = asked.slice(0, embedded);
    const first = await times(fresh, retrieve);
    const again = await times(fresh, retrieve);
    const percentile = (values: readonly number[]): number => quantile(ascending(values), 0.95);
    return [
      {
        name: `BM25 among ${name}`,
        unit: "ms",
        value: middle(ranked),
        against: { name: "a scan", value: middle(scanned) },
      },
      { name: `BM25 among ${name}, 95th percentile`, unit: "ms", value: percentile(ranked) },
      {
        name: `two stages among ${name}, all embeddings at hand`,
        unit: "ms",
        value: middle(again),
        against: { name: "none at hand", value: middle(first) },
      },
      { name: `two stages among ${name}, 95th percentile`, unit: "ms", value: percentile(again) },
      {
        name: `loading ${name} with their prepared index`,
        unit: "s",
        value: reloading,
        against: { name: "building it", value: built.seconds },
      },
      { name: `memory of ${name} with their index`, unit: "MB", value: bytes / 1e6 },
    ];
  }
}

/** Bytes of objects and buffers that are still needed. */
function memoryInUse(): number {
  v8.setFlagsFromString("--expose-gc");
  const collect = vm.runInNewContext("gc") as () => void;
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

async function timed<Value>(work: () => Promise<Value>): Promise<{ readonly value: Value; readonly seconds: number }> {
  const start = performance.now();
  const value = await work();
  return { value, seconds: (performance.now() - start) / 1000 };
}

async function times(asked: readonly string[], work: (query: string) => Promise<unknown>): Promise<number[]> {
  const taken: number[] = [];
  for (const query of asked) {
    const start = performance.now();
    await work(query);
    taken.push(performance.now() - start);
  }
  return taken;
}

/** BM25 without an index: every document is looked at for every query. */
function scan(documents: readonly (readonly Token[])[], query: readonly Token[]): number[] {
  const mean = documents.reduce((sum, { length }) => sum + length, 0) / documents.length;
  const wanted = new Set(query);
  return documents.map((document) => {
    const frequencies = new Map<Token, number>();
    for (const token of document) if (wanted.has(token)) frequencies.set(token, (frequencies.get(token) ?? 0) + 1);
    let score = 0;
    for (const token of query) {
      const frequency = frequencies.get(token) ?? 0;
      score += (frequency * 2.5) / (frequency + 1.5 * (0.25 + (0.75 * document.length) / mean));
    }
    return score;
  });
}

function middle(values: readonly number[]): number {
  return quantile(ascending(values), 0.5);
}

function ascending(values: readonly number[]): number[] {
  return values.toSorted((a, b) => a - b);
}

/** Uniform in [0, 1), the same in each run. */
function mulberry(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
