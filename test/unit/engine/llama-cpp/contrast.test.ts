/** Contrastive decoding in the engine: the distribution, the sampler's set-up, and two sequences in step. */
import { describe, expect, it } from "vitest";
import type { Contrast, Sample, SampleRequest, Token } from "../../../../src/engine/engine.ts";
import type { BatchChunk, Logits } from "../../../../src/engine/llama-cpp/backend.ts";
import { CompletionText } from "../../../../src/engine/llama-cpp/completion-text.ts";
import { ContrastBias, contrasted } from "../../../../src/engine/llama-cpp/contrast-bias.ts";
import { ContrastDraws, type ContrastNeeds } from "../../../../src/engine/llama-cpp/contrast-sampler.ts";
import { ContrastSequences } from "../../../../src/engine/llama-cpp/contrast-sequences.ts";
import type { SamplerConfig } from "../../../../src/engine/llama-cpp/sampler.ts";
import { Scheduler } from "../../../../src/engine/llama-cpp/scheduler.ts";
import { Schedulers } from "../../../../src/engine/llama-cpp/schedulers.ts";
import type { TaskRequest } from "../../../../src/engine/llama-cpp/task.ts";
import {
  end,
  logprob,
  otherControl,
  parameters,
  RecordingBackend,
  SteppingSequence,
  tick,
} from "./recording-backend.ts";

const range = (length: number, from = 2): Token[] => Array.from({ length }, (_, i) => from + i);
const softmax = (logits: readonly number[]): number[] => {
  const weights = logits.map(Math.exp);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
};

describe("what the contrast adds", () => {
  const positive = new Map([
    [3, Math.log(0.5)],
    [5, Math.log(0.3)],
  ]);
  const negative = new Map([
    [3, Math.log(0.8)],
    [5, Math.log(0.1)],
  ]);

  it("makes π⁺·(π⁺/π⁻)^α of π⁺", () => {
    const added = contrasted(positive, negative, 2);
    const drawn = softmax([...positive].map(([token, logprob]) => logprob + (added.get(token) as number)));
    const weights = [0.5 * (0.5 / 0.8) ** 2, 0.3 * (0.3 / 0.1) ** 2];
    const total = (weights[0] as number) + (weights[1] as number);
    expect(drawn[0]).toBeCloseTo((weights[0] as number) / total, 12);
    expect(drawn[1]).toBeCloseTo((weights[1] as number) / total, 12);
  });

  it("is nothing where α is 0, and leaves the others without weight", () => {
    const bias = new ContrastBias(7);
    bias.fill(new Map([[5, 1.5]]), contrasted(positive, negative, 0));
    expect([...bias.tokens]).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(bias.values[3]).toBe(0);
    expect(bias.values[5]).toBe(1.5);
    for (const token of [0, 1, 2, 4, 6]) expect(Math.fround(Math.exp(bias.values[token] as number))).toBe(0);
  });

  it("forgets the step before, and keeps what is forbidden", () => {
    const bias = new ContrastBias(7);
    bias.fill(new Map(), contrasted(positive, negative, 1));
    bias.fill(
      new Map([[5, Number.NEGATIVE_INFINITY]]),
      new Map([
        [4, 0.25],
        [5, 1],
      ]),
    );
    expect(bias.values[3]).toBe(bias.values[0]);
    expect(bias.values[4]).toBe(0.25);
    expect(bias.values[5]).toBe(Number.NEGATIVE_INFINITY);
  });

  it("is never made up where a log-probability is missing", () => {
    const bias = new ContrastBias(7);
    expect(() => bias.fill(new Map(), contrasted(positive, new Map([[3, -1]]), 1))).toThrow(/token 5/u);
  });
});

const request: SampleRequest = { ...parameters, topK: 40, seeds: [4], logprobs: false };
const contrast: Contrast = { prompt: { tokens: [8], end }, alpha: 1, top: 2 };

describe("a sampler by contrast", () => {
  const [row, against] = [{ of: "+" }, { of: "-" }] as unknown as [Logits, Logits];
  /** Token 7 is likeliest after C⁺ and less likely after C⁻; draws 7, 8, 9 … */
  function sampler(asked: Partial<SampleRequest> = {}) {
    const configs: SamplerConfig[] = [];
    const wanted: (readonly Token[])[] = [];
    let next = 7;
    const needs: ContrastNeeds = {
      model: { vocabularySize: 20, controlTokens: [1], endTokens: [0] },
      contextSize: 64,
      lasting: { seed: 4 },
      likeliest: async (_, count, others) => {
        wanted.push(others);
        return new Map([...range(count, 7), ...others].map((token) => [token, -token / 10]));
      },
      logprobs: async (of, tokens) => tokens.map((token) => (of === against ? -token / 5 : -token / 10)),
      applyConfig: (config) =>
        void configs.push({ ...config, tokenBiasValues: config.tokenBiasValues?.slice() } as SamplerConfig),
      draw: async () => next++,
      dispose() {},
    };
    const draws = new ContrastDraws({ ...request, ...asked }, contrast, [5, 6], needs);
    return { draws, configs, wanted, biasOf: (token: Token) => configs.at(-1)?.tokenBiasValues?.[token] };
  }

  it("adds to C⁺'s likeliest, and tells the log-ratio of what it drew, likeliest or not", async () => {
    const { draws, configs, biasOf } = sampler();
    expect(await draws.sample(row, against)).toEqual({ token: 7, logRatio: expect.closeTo(0.7, 12) });
    expect(biasOf(7)).toBeCloseTo(0.7, 6);
    expect(biasOf(8)).toBeCloseTo(0.8, 6);
    expect(biasOf(9)).toBeLessThan(-1_000);
    expect(configs.at(-1)).toMatchObject({ temperature: 1, topK: 2, seed: 4 });
    await draws.sample(row, against);
    expect(await draws.sample(row, against)).toEqual({ token: 9, logRatio: expect.closeTo(0.9, 12) });
  });

  it("has a smaller top_k cut after the contrast, and none cut where sampling is greedy", async () => {
    const [narrow, open, greedy] = [sampler({ topK: 1 }), sampler({ topK: 0 }), sampler({ temperature: 0 })];
    for (const { draws } of [narrow, open, greedy]) await draws.sample(row, against);
    expect(narrow.configs.at(-1)?.topK).toBe(1);
    expect(open.configs.at(-1)?.topK).toBe(2);
    expect(greedy.configs.at(-1)).not.toHaveProperty("topK");
    expect(greedy.configs.at(-1)).not.toHaveProperty("temperature");
  });

  it("lets tokens compete whose bias asks for them, and forbids those whose bias does", async () => {
    const { draws, wanted, biasOf } = sampler({
      logitBias: new Map([
        [12, 50],
        [7, -100],
      ]),
    });
    await draws.sample(row, against);
    expect(wanted).toEqual([[12]]);
    expect(biasOf(12)).toBeCloseTo(51.2, 4);
    expect(biasOf(7)).toBeCloseTo(-99.3, 4);
    expect(() => sampler({ logitBias: new Map([[20, 1]]) })).toThrow(/no token 20/u);
  });

  it("counts what it has sampled for penalties, and for how soon the turn may end", async () => {
    const { draws, configs, biasOf } = sampler({ repetitionPenalty: 1.5, minTokens: 2 });
    for (let step = 0; step < 2; step++) await draws.sample(row, against);
    expect(biasOf(0)).toBe(Number.NEGATIVE_INFINITY);
    await draws.sample(row, against);
    expect(biasOf(0)).not.toBe(Number.NEGATIVE_INFINITY);
    expect([...(configs.at(-1)?.repeatPenaltyTokens ?? [])]).toEqual([5, 6, 7, 8]);
    const openAi = sampler({ presencePenalty: 1 });
    for (let step = 0; step < 2; step++) await openAi.draws.sample(row, against);
    expect([...(openAi.configs.at(-1)?.repeatPenaltyTokens ?? [])]).toEqual([7]);
  });
});

interface PairOptions {
  readonly maxTokens?: number;
  readonly logprobs?: boolean;
  readonly positive?: readonly Token[];
  readonly negative?: readonly Token[];
  readonly signal?: AbortSignal;
}

/** A pair as the engine's process makes it. */
function pair(backend: RecordingBackend, options: PairOptions = {}) {
  const { maxTokens = 4, logprobs = false, signal = new AbortController().signal } = options;
  const prompts = [options.positive ?? range(6), options.negative ?? range(9, 50)] as const;
  const said: string[] = [];
  const done: Sample[] = [];
  const sequences = new ContrastSequences({
    backend,
    sampler: backend.createContrastSampler(parameters, contrast, 1),
    text: new CompletionText((tokens) => tokens.map((token) => String.fromCharCode(token)).join(""), []),
    request: { maxTokens, logprobs },
    end,
    endsTurn: (token) => token === end || token === otherControl,
    describe: () => ({ text: "", bytes: [] }),
    onText: (text) => void said.push(text),
    onDone: (sample) => void done.push(sample),
  });
  const requests = [sequences.positive, sequences.negative].map(
    (sequence, i): TaskRequest => ({
      kind: "sample",
      prompt: prompts[i] as readonly Token[],
      sequences: [sequence],
      signal,
    }),
  );
  return { requests, prompts, said, done, signal };
}

function expectIdle(backend: RecordingBackend, scheduler: Scheduler): void {
  expect(backend.violations).toEqual([]);
  expect(scheduler.load).toEqual({ active: 0, waiting: 0, freeSequences: backend.sequences, stepMs: 0 });
  expect(backend.openSamplers).toBe(0);
}

/** 65, 66, 67 …, by how much longer a history is than C⁺. */
const counting =
  (length: number) =>
  (history: readonly Token[]): Token =>
    65 + history.length - length;

describe("two sequences in step", () => {
  it("feed what is drawn after C⁺ after C⁻ as well, both in each step, and stream it", async () => {
    const backend = new RecordingBackend({ draw: counting(6) });
    const scheduler = new Scheduler(backend);
    const { requests, prompts, said, done, signal } = pair(backend);
    await scheduler.runInStep(requests, signal);
    const [positive, negative] = prompts;
    expect(backend.met).toEqual(
      [[], [65], [65, 66], [65, 66, 67]].map((before) => [
        [...positive, ...before],
        [...negative, ...before],
      ]),
    );
    expect(said.join("")).toBe("ABCD");
    expect(said.length).toBe(4);
    const [sample] = done;
    expect(sample?.tokens).toEqual([65, 66, 67, 68]);
    expect(sample?.logRatios).toEqual(
      backend.met.map(([plus, minus], i) => logprob(plus, 65 + i) - logprob(minus, 65 + i)),
    );
    const sampling = backend.steps.filter((batch) => batch.some(({ logits }) => logits.length > 0));
    expect(sampling.every((batch) => batch.length === 2)).toBe(true);
    expectIdle(backend, scheduler);
  });

  it("end with the token that ends the turn, whose log-ratio counts", async () => {
    const backend = new RecordingBackend();
    const scheduler = new Scheduler(backend);
    const { requests, done, signal } = pair(backend, { logprobs: true });
    await scheduler.runInStep(requests, signal);
    expect(done).toMatchObject([{ finish: "stop", tokens: [], logprobs: [] }]);
    expect(done[0]?.logRatios).toHaveLength(1);
    expect(done[0]?.endLogprobs).toEqual([logprob(range(6), end)]);
    expectIdle(backend, scheduler);
  });

  it("wait for each other's prompt, and hold nobody up meanwhile", async () => {
    const backend = new RecordingBackend({ chunk: 4, draw: counting(6) });
    const scheduler = new Scheduler(backend);
    const { requests, done, signal } = pair(backend, { negative: range(40, 50) });
    const other = new SteppingSequence(3);
    await Promise.all([
      scheduler.runInStep(requests, signal),
      scheduler.run({ kind: "sample", prompt: [90, 91], sequences: [other], signal }),
    ]);
    expect(other.rows).toHaveLength(4);
    expect(done[0]?.tokens).toEqual([65, 66, 67, 68]);
    expectIdle(backend, scheduler);
  });

  it("begin together, however many others want slots", async () => {
    const backend = new RecordingBackend({ slots: 2, draw: () => 65 });
    const scheduler = new Scheduler(backend);
    const pairs = Array.from({ length: 5 }, () => pair(backend));
    const lone = Array.from({ length: 5 }, () => new SteppingSequence(2));
    await Promise.all([
      ...pairs.map(({ requests, signal }) => scheduler.runInStep(requests, signal)),
      ...lone.map((sequence) =>
        scheduler.run({ kind: "sample", prompt: [7, 8], sequences: [sequence], signal: new AbortController().signal }),
      ),
    ]);
    expect(pairs.every(({ done }) => done.length === 1)).toBe(true);
    expect(lone.every(({ disposals }) => disposals === 1)).toBe(true);
    expectIdle(backend, scheduler);
  });

  it("find their prompts in the cache the next time", async () => {
    const backend = new RecordingBackend({ draw: () => 65 });
    const scheduler = new Scheduler(backend);
    const prompts = { positive: range(60), negative: range(80, 100) };
    const first = pair(backend, prompts);
    await scheduler.runInStep(first.requests, first.signal);
    const { prefilled } = backend;
    const second = pair(backend, prompts);
    await scheduler.runInStep(second.requests, second.signal);
    expect(backend.prefilled).toBe(prefilled);
    expectIdle(backend, scheduler);
  });

  it.each(["before they begin", "between two steps"])(
    "end together where the request is cancelled %s",
    async (when) => {
      const controller = new AbortController();
      let steps = 0;
      const backend = new RecordingBackend({
        draw: () => 65,
        beforeDecode: () => {
          if (++steps === (when === "before they begin" ? 1 : 4)) controller.abort();
        },
      });
      const scheduler = new Scheduler(backend);
      const { requests, done, signal } = pair(backend, { maxTokens: 50, signal: controller.signal });
      await expect(scheduler.runInStep(requests, signal)).rejects.toMatchObject({ code: "cancelled" });
      expect(done).toEqual([]);
      expectIdle(backend, scheduler);
    },
  );

  it("fail together, and nobody waits for the other for ever", async () => {
    const failure = new Error("llama.cpp has failed");
    let steps = 0;
    const backend = new RecordingBackend({
      draw: () => {
        if (++steps === 2) throw failure;
        return 65;
      },
    });
    const scheduler = new Scheduler(backend);
    const { requests, signal } = pair(backend);
    await expect(scheduler.runInStep(requests, signal)).rejects.toBe(failure);
    await tick();
    expectIdle(backend, scheduler);
  });

  it("fail together where the step lacks C⁻'s logits", async () => {
    class HalfBackend extends RecordingBackend {
      override async decode(batch: readonly BatchChunk[]): Promise<Logits[][]> {
        const rows = await super.decode(batch);
        return rows.filter(({ length }) => length > 0).length === 2 ? rows.slice(0, 1) : rows;
      }
    }
    const backend = new HalfBackend({ draw: () => 65 });
    const scheduler = new Scheduler(backend);
    const { requests, signal } = pair(backend);
    await expect(scheduler.runInStep(requests, signal)).rejects.toThrow(/rows of logits/u);
    expectIdle(backend, scheduler);
  });
});

describe("two sequences in step that outgrow theirs", () => {
  function site(longSlots: number) {
    const usual = new RecordingBackend({ contextSize: 16, draw: counting(6) });
    const long = new RecordingBackend({ contextSize: 64, slots: longSlots, draw: counting(6) });
    const schedulers = new Schedulers(usual, {
      longer: [{ contextSize: 64, sequences: long.sequences }],
      open: async () => ({ backend: long, limitThreads() {}, async close() {} }),
    });
    return { usual, long, schedulers };
  }

  it("go on in longer ones, together, though only one is full", async () => {
    const { usual, long, schedulers } = site(2);
    const { requests, prompts, done, signal } = pair(usual, { maxTokens: 20 });
    await schedulers.runInStep(requests, 20, signal);
    const tokens = range(20, 65);
    expect(done[0]?.tokens).toEqual(tokens);
    expect(done[0]?.logRatios).toHaveLength(20);
    const [positive, negative] = prompts;
    // The sampler is the model's, whatever the context.
    expect(usual.met).toEqual(
      tokens.map((_, i) => [
        [...positive, ...tokens.slice(0, i)],
        [...negative, ...tokens.slice(0, i)],
      ]),
    );
    const sampling = long.steps.filter((batch) => batch.some(({ logits }) => logits.length > 0));
    expect(sampling.length).toBe(12);
    expect(sampling.every((batch) => batch.length === 2)).toBe(true);
    expect([usual.violations, long.violations]).toEqual([[], []]);
    expect(usual.openSamplers + long.openSamplers).toBe(0);
  });

  it("end there where the longer ones have no room for two", async () => {
    const { usual, long, schedulers } = site(1);
    const { requests, done, signal } = pair(usual, { maxTokens: 20 });
    await schedulers.runInStep(requests, 20, signal);
    expect(done).toMatchObject([{ finish: "length", tokens: range(8, 65) }]);
    expect(long.steps).toEqual([]);
    expect(usual.openSamplers).toBe(0);
  });

  it("are refused where an engine has one sequence", async () => {
    const backend = new RecordingBackend({ slots: 1 });
    const schedulers = new Schedulers(backend, { longer: [], open: () => Promise.reject(new Error("none")) });
    const { requests, signal } = pair(backend);
    await expect(schedulers.runInStep(requests, 4, signal)).rejects.toMatchObject({ code: "out_of_room" });
    expect(backend.openSamplers).toBe(0);
  });
});
