/**
 * Engines of one program, which tell their processes how many threads they may use. The processes are real, their model
 * is not.
 */
import { afterEach, beforeEach, expect, it } from "vitest";
import type { Prompt, SampleEvent, SampleRequest, ScoreEvent } from "../../../../src/engine/engine.ts";
import { Cores } from "../../../../src/engine/llama-cpp/cores.ts";
import { LlamaEngine } from "../../../../src/engine/llama-cpp/index.ts";

const childModule = new URL("./sharing-child.mjs", import.meta.url);
const prompt: Prompt = { tokens: [1, 2], end: 0 };
const request: SampleRequest = {
  temperature: 0,
  topP: 1,
  topK: 0,
  maxTokens: 4,
  stop: [],
  seeds: [1],
  logprobs: false,
};

let first: LlamaEngine;
let second: LlamaEngine;
beforeEach(async () => {
  const cores = new Cores();
  const size = { contextSize: 0, sequences: 0, threads: 0, gpu: false, hangMs: 30_000 } as const;
  const start = () =>
    LlamaEngine.start({ childModule, model: "none", modelPath: "none", ...size, cores, log: () => {} });
  [first, second] = await Promise.all([start(), start()]);
});
afterEach(() => Promise.all([first.close(), second.close()]));

/** The numbers of threads that an engine's process was told; ends its samples. */
const told = async (engine: LlamaEngine) => (await engine.tokenize(["x"]))[0];

/** Resolves when its prompt is ready. */
async function begin(
  events: AsyncIterable<SampleEvent | ScoreEvent>,
): Promise<AsyncIterator<SampleEvent | ScoreEvent>> {
  const iterator = events[Symbol.asyncIterator]();
  expect((await iterator.next()).value).toMatchObject({ type: "prompt" });
  return iterator;
}
const finish = async (iterator: AsyncIterator<unknown>) => expect((await iterator.next()).done).toBe(true);

it("one engine at work has all the cores, two have half of them each, and the last gets them back", async () => {
  const one = await begin(first.sample(prompt, request));
  expect(await first.state()).toMatchObject({ threads: 4 });
  const two = await begin(second.sample(prompt, request));
  expect(await first.state()).toMatchObject({ threads: 2 });
  expect(await told(first)).toEqual([4, 2]);
  await finish(one);
  expect(await second.state()).toMatchObject({ threads: 4 });
  expect(await told(second)).toEqual([2, 4]);
  await finish(two);
});

it("an engine that waits for completions to score takes no cores", async () => {
  let pass = (_completion: number[]): void => {};
  const completion = new Promise<number[]>((resolve) => {
    pass = resolve;
  });
  async function* completions() {
    yield await completion;
  }
  const scoring = await begin(first.score(prompt, completions()));
  const sampling = await begin(second.sample(prompt, request));
  expect(await second.state()).toMatchObject({ threads: 4 });
  pass([5]);
  await expect.poll(async () => (await second.state()).threads).toBe(2);
  expect(await told(first)).toEqual([4, 2]);
  expect((await scoring.next()).value).toMatchObject({ type: "scored" });
  await finish(scoring);
  expect(await told(second)).toEqual([4, 2, 4]);
  await finish(sampling);
});

it("an engine whose process is gone leaves its cores to the others", async () => {
  const one = await begin(first.sample(prompt, request));
  const two = await begin(second.sample(prompt, request));
  process.kill(first.lifecycle.pid as number, "SIGKILL");
  await expect(one.next()).rejects.toMatchObject({ code: "engine_unavailable" });
  expect(await told(second)).toEqual([2, 4]);
  await finish(two);
});
