/** A real model that was trained with more tokens than the usual sequences hold. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { SampleRequest, Token } from "../../src/engine/engine.ts";
import { LlamaEngine } from "../../src/engine/llama-cpp/index.ts";
import { randomFrom } from "../../src/icdpo/seed.ts";
import { childModule } from "./gateway.ts";
import { writeTinyRecurrentModel } from "./tiny-recurrent-model.ts";

const folder = mkdtempSync(path.join(tmpdir(), "icdpo-long-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const trained = 16_384;
const usual = 4096;
const greedy: SampleRequest = {
  temperature: 0,
  topP: 1,
  topK: 0,
  maxTokens: 12,
  stop: [],
  seeds: [1, 2],
  logprobs: true,
};
/** A step's shape moves sums of F32 weights by rounding only. */
const rounding = 0.01;

async function start(contextSize: number): Promise<LlamaEngine> {
  const modelPath = path.join(folder, `jamba-${contextSize}.gguf`);
  writeTinyRecurrentModel(modelPath, "jamba", trained);
  const options = {
    model: "jamba",
    modelPath,
    contextSize,
    sequences: 3,
    threads: 1,
    gpu: false,
    hangMs: 60_000,
  } as const;
  return LlamaEngine.start({ childModule, ...options, log: () => {} });
}

/** What comes of a request, and the log-probability of it all. */
async function ask(engine: LlamaEngine, prompt: readonly Token[], maxTokens: number) {
  const { end } = await engine.textPrompt("a");
  const request = { ...greedy, maxTokens, seeds: [1] };
  for await (const event of engine.sample({ tokens: prompt, end }, request))
    if (event.type === "done") {
      const { tokens, logprobs, finish } = event.sample;
      return { tokens, finish, sum: logprobs.reduce((a, b) => a + b, 0) };
    }
  throw new Error("There was no sample");
}

/** In nats. */
async function sumOf(engine: LlamaEngine, tokens: readonly Token[], completion: readonly Token[]): Promise<number> {
  const { end } = await engine.textPrompt("a");
  for await (const event of engine.score({ tokens, end }, [completion]))
    if (event.type === "scored") return event.logprobs.reduce((a, b) => a + b, 0);
  throw new Error("Nothing was scored");
}

const random = randomFrom(3);
/** Letters, none of which ends the text. */
const words = Array.from({ length: trained }, () => 260 + Math.floor(random() * 26));

describe("a request", () => {
  it("has all that the model was trained with, and the answers of sequences that are as long", {
    timeout: 180_000,
  }, async () => {
    const [engine, whole] = await Promise.all([start(0), start(trained)]);
    try {
      expect((await engine.info()).contextSize).toBe(trained);
      expect(engine.lifecycle.size).toMatchObject({ contextSize: trained, sequences: 3, sequenceTokens: usual });
      for (const [length, most] of [
        [100, 12],
        [usual + 500, 12],
        // Begins in a usual sequence, and outgrows it.
        [(usual * 3) / 4, usual / 4 + 40],
      ] as const) {
        const prompt = words.slice(0, length);
        const [one, other] = [await ask(engine, prompt, most), await ask(whole, prompt, most)];
        expect(one.tokens).toEqual(other.tokens);
        expect(one.finish).toBe(other.finish);
        expect(Math.abs(one.sum - other.sum)).toBeLessThan(rounding * Math.max(1, one.tokens.length / 10));
        const completion = words.slice(length, length + 700);
        const sums = [await sumOf(engine, prompt, completion), await sumOf(whole, prompt, completion)] as const;
        expect(Math.abs(sums[0] - sums[1])).toBeLessThan(rounding * 70);
      }
      expect(await engine.load()).toMatchObject({ active: 0, waiting: 0, freeSequences: 3 });
      await expect(ask(engine, words, 1)).rejects.toMatchObject({
        code: "context_length_exceeded",
        message: expect.stringContaining(`trained with ${trained} tokens`),
      });
    } finally {
      await Promise.all([engine.close(), whole.close()]);
    }
  });
});
