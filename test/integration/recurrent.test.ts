/** Real models whose memory cannot be cut: whatever is asked at once, each request gets what it gets alone. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Prompt, SampleRequest, Token } from "../../src/engine/engine.ts";
import { LlamaEngine } from "../../src/engine/llama-cpp/index.ts";
import { childModule } from "./gateway.ts";
import { type RecurrentArchitecture, writeTinyRecurrentModel } from "./tiny-recurrent-model.ts";

const folder = mkdtempSync(path.join(tmpdir(), "icdpo-recurrent-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const greedy: SampleRequest = { temperature: 0, topP: 1, topK: 0, maxTokens: 12, stop: [], seeds: [1], logprobs: true };
/** A step's shape moves sums of F32 weights by rounding only. */
const rounding = 1e-3;

async function start(architecture: RecurrentArchitecture, sequences: number): Promise<LlamaEngine> {
  const modelPath = path.join(folder, `${architecture}.gguf`);
  writeTinyRecurrentModel(modelPath, architecture);
  return LlamaEngine.start({
    childModule,
    model: architecture,
    modelPath,
    contextSize: 512,
    sequences,
    threads: 1,
    gpu: false,
    hangMs: 30_000,
    log: () => {},
  });
}

/** `[samples][tokens]` */
async function sample(engine: LlamaEngine, prompt: Prompt, count: number): Promise<(readonly Token[])[]> {
  const sampled: (readonly Token[])[] = [];
  const seeds = Array.from({ length: count }, (_, seed) => seed);
  for await (const event of engine.sample(prompt, { ...greedy, seeds }))
    if (event.type === "done") sampled[event.index] = event.sample.tokens;
  return sampled;
}

/** `[completions]`, in nats. */
async function sums(
  engine: LlamaEngine,
  prompt: Prompt,
  completions: readonly (readonly Token[])[],
): Promise<number[]> {
  const found: number[] = [];
  for await (const event of engine.score(prompt, completions))
    if (event.type === "scored") found[event.index] = event.logprobs.reduce((sum, value) => sum + value, 0);
  return found;
}

const story = "once upon a time there was a fox who liked the rain. ".repeat(3);
/** Some begin alike, one is the beginning of others, two are the same. */
const texts = [
  `${story}it was red.`,
  `${story}it was old, and slept.`,
  story,
  story,
  `${story}it was red. and then?`,
  "no",
];
const completions = ["a fox in the rain", "no", "a fox"];

/** One greedy sample or several, which must be the same; then all completions after the same prompt. */
async function ask(engine: LlamaEngine, index: number) {
  const prompt = await engine.textPrompt(texts[index] as string);
  const [tokens, ...others] = await sample(engine, prompt, 1 + (index % 3) * 2);
  for (const other of others) expect(other).toEqual(tokens);
  return { tokens, sums: await sums(engine, prompt, await engine.tokenize(completions)) };
}

/** Of an engine that has done nothing before. */
async function askAlone(architecture: RecurrentArchitecture, index: number) {
  const engine = await start(architecture, 3);
  return ask(engine, index).finally(() => engine.close());
}

describe.each(["mamba", "jamba"] as const)("%s", (architecture) => {
  const alone: Awaited<ReturnType<typeof ask>>[] = [];

  beforeAll(async () => {
    for (const [index, text] of texts.entries()) {
      alone[index] = alone[texts.indexOf(text)] ?? (await askAlone(architecture, index));
    }
    expect(new Set(alone.map(({ tokens }) => tokens?.join())).size).toBe(texts.length - 1);
  });

  it.each([1, 3, 9])(
    "answers and scores each of many requests at once as it does alone, on %i sequences",
    async (sequences) => {
      const engine = await start(architecture, sequences);
      try {
        // The second time, prefixes are kept from the first.
        for (let time = 0; time < 2; time++) {
          const together = await Promise.all([...texts.keys()].map((index) => ask(engine, index)));
          for (const [index, { tokens, sums: found }] of together.entries()) {
            expect(tokens).toEqual(alone[index]?.tokens);
            for (const [i, sum] of found.entries())
              expect(Math.abs(sum - (alone[index]?.sums[i] as number))).toBeLessThan(rounding);
          }
        }
        expect(await engine.load()).toMatchObject({ active: 0, waiting: 0, freeSequences: sequences });
      } finally {
        await engine.close();
      }
    },
  );
});

it("tells the vocabulary's tokens for filling in the middle, and takes control tokens where a prompt may spell them", async () => {
  const engine = await start("mamba", 4);
  try {
    const { infill } = (await engine.info()).capabilities;
    const { tokens, opening } = await engine.textPrompt("a<|fim_prefix|>", undefined, true);
    expect(infill?.prefix).toBe(tokens.at(-1));
    expect(new Set([infill?.prefix, infill?.suffix, infill?.middle]).size).toBe(3);
    expect(tokens.slice(0, opening)).toEqual([1]);
    expect((await engine.textPrompt("<s>a", undefined, true)).opening).toBe(0);
    expect((await engine.textPrompt("a<|fim_prefix|>")).tokens).not.toContain(infill?.prefix);
  } finally {
    await engine.close();
  }
}, 60_000);
