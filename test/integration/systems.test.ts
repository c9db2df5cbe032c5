/** The paper's systems that take more than one model, on real ones: an F32 copy as teacher, real LoRA adapters. */
import { readFileSync } from "node:fs";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readExample } from "../../src/demonstrations/datasets.ts";
import { dataFolder, f32Model, needing } from "../needs.ts";
import { type Gateway, post, startGateway } from "./gateway.ts";
import { quantisedNoise } from "./noise.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const minutes = 60_000;

let folder: string;
let gateway: Gateway;
const messages = [{ role: "user" as const, content: "How do I keep basil alive indoors?" }];

interface Candidate {
  readonly content: string;
  readonly tokens: number;
  readonly positive: number;
  readonly negative: number | null;
  readonly score: number;
  readonly chosen: boolean;
}

async function explained(model: string): Promise<Candidate[]> {
  const { status, body } = await post(`${gateway.url}/v1/chat/completions`, {
    model,
    messages,
    seed: 1,
    max_tokens: 24,
    icdpo: { explain: true },
  });
  expect(status).toBe(200);
  return (body as never as { icdpo: { candidates: Candidate[] } }).icdpo.candidates;
}

interface Sums {
  readonly base: number;
  readonly reference?: number;
  readonly tokens: number;
}

async function measured(
  model: string,
  completions: readonly string[],
  of: unknown = messages,
): Promise<{ chosen: number; data: Sums[] }> {
  const { status, body } = await post(`${gateway.url}/v1/score`, { model, messages: of, completions });
  expect(status).toBe(200);
  return body as never as { chosen: number; data: Sums[] };
}

describe("the paper's systems with two models", needing("data", "f32-model"), () => {
  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), "icdpo-systems-"));
    await cp(path.join(root, "paper"), folder, { recursive: true });
    const routes = ["base", "rm-bon", "rm-aug", "sft", "dpo-s"]
      .map((name) => `  ${name}: { policy: ${name} }\n`)
      .join("");
    await writeFile(path.join(folder, "policies/routes.yaml"), `routes:\n${routes}`);
    gateway = await startGateway({
      ICDPO_POLICIES: path.join(folder, "policies"),
      ICDPO_ENGINES: path.join(folder, "engines.yaml"),
      ICDPO_TEACHER: f32Model ?? "",
      ICDPO_SFT_ADAPTER: path.join(dataFolder ?? "", "adapters/sft-lora-f16.gguf"),
      ICDPO_DPO_ADAPTER: path.join(dataFolder ?? "", "adapters/dpo-lora-f16.gguf"),
      ICDPO_CONTEXT_SIZE: "1024",
      ICDPO_SEQUENCES: "6",
      ICDPO_THREADS: "1", // engines that work side by side, and need not find out what is fastest
    });
  }, 5 * minutes);
  afterAll(async () => {
    await gateway?.stop();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });

  it("RM-BoN returns the sample that the teacher finds likeliest", async () => {
    const candidates = await explained("rm-bon");
    const best = candidates.toSorted((a, b) => b.positive - a.positive)[0];
    expect(best?.chosen).toBe(true);
    const { chosen, data: sums } = await measured(
      "rm-bon",
      candidates.map(({ content }) => content),
    );
    // The teacher's weights are in F32: its sums are exact.
    for (const [i, { positive }] of candidates.entries())
      expect(Math.abs(positive - (sums[i] as Sums).base)).toBeLessThan(0.1);
    expect(candidates[chosen]).toBe(best);
  });

  it("RM-Aug streams the blocks that the teacher keeps", async () => {
    const client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: "none" });
    const pieces: string[] = [];
    for await (const { choices } of await client.chat.completions.create({
      model: "rm-aug",
      seed: 1,
      max_tokens: 48,
      messages,
      stream: true,
    }))
      if (choices[0]?.delta.content) pieces.push(choices[0].delta.content);
    expect(pieces.length).toBeGreaterThan(1);
  });

  it("DPO+S chooses by what tuning has changed, per token", async () => {
    const candidates = await explained("dpo-s");
    const { data: sums } = await measured(
      "dpo-s",
      candidates.map(({ content }) => content),
    );
    for (const [i, { positive, negative, score, tokens }] of candidates.entries()) {
      const { base, reference = Number.NaN } = sums[i] as Sums;
      expect(Math.abs(positive - base)).toBeLessThan(quantisedNoise(tokens));
      expect(Math.abs((negative ?? Number.NaN) - reference)).toBeLessThan(quantisedNoise(tokens));
      expect(score).toBeCloseTo((positive - (negative ?? 0)) / tokens, 9);
    }
    expect(candidates.find(({ chosen }) => chosen)?.score).toBe(Math.max(...candidates.map(({ score }) => score)));
  });

  it("SFT finds the responses it was tuned towards likelier than the base model does", {
    timeout: 20 * minutes,
  }, async () => {
    const lines = gunzipSync(readFileSync(path.join(dataFolder ?? "", "hh-rlhf-harmless-base-dev.jsonl.gz")))
      .toString("utf8")
      .split("\n");
    let [tuned, base, tokens] = [0, 0, 0];
    for (const line of lines.slice(1000, 1003)) {
      const example = readExample("hh-rlhf", JSON.parse(line));
      if ("reason" in example) continue;
      const { data: before } = await measured("base", [example.chosen], example.messages);
      const { data: after } = await measured("sft", [example.chosen], example.messages);
      base += before[0]?.base ?? Number.NaN;
      tuned += after[0]?.base ?? Number.NaN;
      tokens += before[0]?.tokens ?? Number.NaN;
    }
    console.log(`NLL per token: base ${(-base / tokens).toFixed(2)}, SFT ${(-tuned / tokens).toFixed(2)}`);
    expect(tuned).toBeGreaterThan(base);
  });
});
