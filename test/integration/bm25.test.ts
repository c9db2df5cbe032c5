/** BM25's order beside `rank_bm25`'s, on HH-RLHF's prompts by the model's own tokens. */
import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { LlamaEngine } from "../../src/engine/llama-cpp/index.ts";
import { defaultModel } from "../../src/models/catalog.ts";
import { openModelStore } from "../../src/node/runtime.ts";
import { readSettings } from "../../src/node/settings.ts";
import { bm25Best, bm25Scores, buildBm25Index } from "../../src/retrieval/bm25.ts";
import { promptText } from "../../src/types/conversation.ts";
import { needing } from "../needs.ts";
import { childModule } from "./gateway.ts";
import { readPairs } from "./hh-rlhf.ts";

/** A Python with the package rank_bm25. */
const python = process.env["ICDPO_TEST_RANK_BM25_PYTHON"];
const queries = 500;
const window = 30;

const script = `
import json, sys
from rank_bm25 import BM25Okapi
given = json.load(open(sys.argv[1]))
index = BM25Okapi(given["documents"])
json.dump([index.get_scores(query).tolist() for query in given["queries"]], sys.stdout)
`;

describe("BM25", needing("data", "rank-bm25"), () => {
  it(`ranks as rank_bm25's BM25Okapi does, on ${queries} queries`, async () => {
    const { path: modelPath, id: model } = await openModelStore(
      readSettings(process.env, process.cwd()),
      () => {},
    ).ensure(defaultModel);
    const options = { contextSize: 512, sequences: 1, threads: 1, gpu: false, hangMs: 300_000, log: () => {} } as const;
    const engine = await LlamaEngine.start({ ...options, model, modelPath, childModule });
    const folder = await mkdtemp(path.join(tmpdir(), "icdpo-bm25-"));
    try {
      const prompts = readPairs().map(({ messages }) => promptText(messages));
      const documents = (await engine.tokenize(prompts)).map((tokens) => tokens.slice(-window));
      // Each query is a prompt with the end of another: like something, and equal to nothing.
      const asked = documents
        .slice(0, queries)
        .map((tokens, i) => [...tokens.slice(0, 20), ...(documents[i + 700] ?? []).slice(-10)]);
      const file = path.join(folder, "given.json");
      await writeFile(file, JSON.stringify({ documents, queries: asked }));
      const output = execFileSync(python as string, ["-c", script, file], { encoding: "utf8", maxBuffer: 2 ** 30 });
      const expected = JSON.parse(output) as number[][];
      const index = buildBm25Index(documents);
      for (const [i, query] of asked.entries()) {
        const theirs = expected[i] as number[];
        const order = theirs
          .map((_, document) => document)
          .toSorted((a, b) => (theirs[b] as number) - (theirs[a] as number) || a - b);
        const best = bm25Best(index, query, 20);
        expect(best.map((one) => one.index)).toEqual(order.slice(0, 20));
        const deviations = [...bm25Scores(index, query)].map((score, document) =>
          Math.abs(score - (theirs[document] as number)),
        );
        expect(deviations).toHaveLength(theirs.length);
        // Of all documents at once: an expectation for each takes longer than everything else.
        expect(Math.max(...deviations)).toBeLessThan(5e-9);
      }
    } finally {
      await engine.close();
      await rm(folder, { recursive: true });
    }
  });
});
