/** Usual sequences and longer ones: each request gets what one context without an end would have given it. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Sample, Token } from "../../../../src/engine/engine.ts";
import { CompletionText } from "../../../../src/engine/llama-cpp/completion-text.ts";
import { Schedulers } from "../../../../src/engine/llama-cpp/schedulers.ts";
import type { Sequences } from "../../../../src/engine/llama-cpp/sizing.ts";
import { SampledSequence, ScoredSequence } from "../../../../src/engine/llama-cpp/task-sequences.ts";
import { GatewayError } from "../../../../src/types/error.ts";
import { end, logprob, parameters, RecordingBackend, tick } from "./recording-backend.ts";

const usualSize = 32;
const lengths: readonly Sequences[] = [
  { contextSize: 64, sequences: 3 },
  { contextSize: 128, sequences: 3 },
  { contextSize: 200, sequences: 3 },
];
const forever = (): AbortSignal => new AbortController().signal;
const range = (length: number, from = 2): Token[] => Array.from({ length }, (_, i) => from + i);

interface Site {
  readonly usual: RecordingBackend;
  /** Those that have been opened, in order. */
  readonly opened: RecordingBackend[];
  readonly schedulers: Schedulers;
}

/** Two contexts never step at once, and none steps when it has been closed. */
function site({ refuse = false, draw = (): Token => 9 } = {}): Site {
  const opened: RecordingBackend[] = [];
  const closed = new Set<RecordingBackend>();
  let stepping = 0;
  let last: Sequences | undefined;
  const backend = (contextSize: number, slots: number): RecordingBackend => {
    const made: RecordingBackend = new RecordingBackend({
      contextSize,
      slots,
      chunk: 16,
      mostSteps: 100_000,
      draw,
      beforeDecode: () => {
        if (stepping > 1) made.violations.push("two contexts step at once");
        if (closed.has(made)) made.violations.push("steps when it has been closed");
      },
    });
    const decode = made.decode.bind(made);
    made.decode = async (batch) => {
      stepping += 1;
      try {
        return await decode(batch);
      } finally {
        stepping -= 1;
      }
    };
    return made;
  };
  const usual = backend(usualSize, 4);
  const schedulers = new Schedulers(usual, {
    longer: lengths,
    async open(sequences) {
      await tick();
      if (refuse) throw new GatewayError("out_of_room", "There is no memory.");
      if (last !== undefined && last.contextSize >= sequences.contextSize) throw new Error("opened for nothing");
      last = sequences;
      const long = backend(sequences.contextSize, 2);
      opened.push(long);
      return {
        backend: long,
        limitThreads() {},
        async close() {
          closed.add(long);
        },
      };
    },
  });
  return { usual, opened, schedulers };
}

/** `[seeds]`: what a context of any length would give. */
async function sample(
  { usual, schedulers }: Site,
  prompt: readonly Token[],
  maxTokens: number,
  { seeds = [1], signal = forever() } = {},
): Promise<Sample[]> {
  const samples: Sample[] = [];
  const room = schedulers.contextSize - prompt.length;
  const limits = { maxTokens: Math.min(maxTokens, room), logprobs: true };
  const request = { ...parameters, ...limits, seeds };
  const sequences = seeds.map(
    (seed, index) =>
      new SampledSequence({
        backend: usual,
        sampler: usual.createSampler(request, seed),
        text: new CompletionText((tokens) => tokens.map((token) => String.fromCodePoint(64 + token)).join(""), []),
        request: limits,
        end,
        endsTurn: (token) => token === end,
        describe: (token) => ({ text: String(token), bytes: [token] }),
        onText: () => {},
        onDone: (done) => {
          samples[index] = done;
        },
      }),
  );
  await schedulers.run({ kind: "sample", prompt, sequences, signal }, limits.maxTokens);
  return samples;
}

async function score(
  { usual, schedulers }: Site,
  prompt: readonly Token[],
  completions: readonly (readonly Token[])[],
): Promise<(readonly number[])[]> {
  const scored: (readonly number[])[] = [];
  const task = schedulers.open({ kind: "score", prompt, sequences: [], signal: forever() });
  for (const [index, completion] of completions.entries()) {
    await tick();
    const onDone = (logprobs: readonly number[]): void => {
      scored[index] = logprobs;
    };
    const describe = (token: Token) => ({ text: String(token), bytes: [token] });
    task.add(new ScoredSequence(usual, completion, { describe, onDone }));
  }
  task.close();
  await task.done;
  return scored;
}

const expectedLogprobs = (prompt: readonly Token[], completion: readonly Token[]): number[] =>
  completion.map((token, i) => logprob([...prompt, ...completion.slice(0, i)], token));

function expectIdle({ usual, opened, schedulers }: Site): void {
  expect([usual, ...opened].flatMap(({ violations }) => violations)).toEqual([]);
  expect(schedulers.load).toEqual({ active: 0, waiting: 0, freeSequences: usual.sequences, stepMs: 0 });
  expect(usual.openSamplers).toBe(0);
}

describe("requests", () => {
  it("that fit the usual sequences open no others", async () => {
    const one = site();
    await sample(one, range(10), 22);
    await score(one, range(10), [range(5), range(22)]);
    expect(one.opened).toEqual([]);
    expectIdle(one);
  });

  it("that do not fit begin in sequences as long as they need", async () => {
    for (const [prompt, contextSize] of [
      [40, 64],
      [70, 128],
      [150, 200],
    ] as const) {
      const one = site();
      const [{ tokens } = { tokens: [] }] = await sample(one, range(prompt), 5);
      expect(tokens).toHaveLength(5);
      expect(one.usual.steps).toEqual([]);
      expect(one.opened.map((backend) => backend.contextSize)).toEqual([contextSize]);
      expectIdle(one);
    }
  });

  it("whose answers outgrow their sequences go on in longer ones, until the longest is full", async () => {
    const one = site();
    const samples = await sample(one, range(10), 1_000, { seeds: [1, 2] });
    for (const { tokens, logprobs, endLogprobs, finish } of samples) {
      expect(finish).toBe("length");
      expect(tokens).toHaveLength(190);
      expect(logprobs).toEqual(expectedLogprobs(range(10), tokens));
      expect(endLogprobs).toHaveLength(191);
    }
    expect(one.opened.map((backend) => backend.contextSize)).toEqual([64, 128, 200]);
    expectIdle(one);
  });

  it("are scored where each completion fits", async () => {
    const one = site();
    const completions = [range(3), range(40), range(2, 7), range(120), range(41)];
    expect(await score(one, range(20), completions)).toEqual(
      completions.map((completion) => expectedLogprobs(range(20), completion)),
    );
    expectIdle(one);
  });

  it("that are long begin with what others of them have left in the cache", async () => {
    const one = site();
    await sample(one, range(50), 4);
    const before = one.opened[0]?.prefilled ?? 0;
    await sample(one, [...range(48), 1_000], 4);
    expect((one.opened[0]?.prefilled ?? 0) - before).toBe(0);
    expectIdle(one);
  });

  it("that need longer sequences wait for those who use shorter ones, and are not overtaken", async () => {
    const one = site();
    const order: string[] = [];
    const ask = (name: string, prompt: number, most: number): Promise<void> =>
      sample(one, range(prompt), most).then(() => void order.push(name));
    await Promise.all([ask("first", 40, 20), ask("longer", 150, 1), ask("third", 40, 1)]);
    expect(order[0]).toBe("first");
    expect(one.opened.map((backend) => backend.contextSize)).toEqual([64, 200]);
    // Only the first one's prompt: the third would have fitted there.
    expect(one.opened[0]?.prefilled).toBe(39);
    expectIdle(one);
  });

  it("fail alone where there is no memory for longer sequences", async () => {
    const one = site({ refuse: true });
    const short = sample(one, range(10), 10);
    await expect(sample(one, range(60), 4)).rejects.toMatchObject({ code: "out_of_room" });
    await expect(score(one, range(20), [range(3), range(50)])).rejects.toMatchObject({ code: "out_of_room" });
    await expect(score(one, range(60), [range(3)])).rejects.toMatchObject({ code: "out_of_room" });
    expect(await short).toHaveLength(1);
    expectIdle(one);
  });

  it("end by their length where there is no memory to go on in", async () => {
    const one = site({ refuse: true });
    const [grown] = await sample(one, range(10), 100);
    expect(grown).toMatchObject({ finish: "length", tokens: Array.from({ length: 23 }, () => 9) });
    expect(grown?.logprobs).toEqual(expectedLogprobs(range(10), grown?.tokens ?? []));
    expectIdle(one);
  });

  it("leave nothing behind when they are left while they wait", async () => {
    const one = site();
    const leave = new AbortController();
    const first = sample(one, range(40), 20);
    const left = sample(one, range(150), 5, { signal: leave.signal });
    const third = sample(one, range(40), 2);
    await tick();
    leave.abort();
    await expect(left).rejects.toMatchObject({ code: "cancelled" });
    await Promise.all([first, third]);
    expect(await sample(one, range(150), 2)).toHaveLength(1);
    expectIdle(one);
  });
});

it("whatever is asked at once, each gets what it would get alone", async () => {
  const request = fc.record({
    prompt: fc.integer({ min: 1, max: 190 }),
    most: fc.integer({ min: 1, max: 250 }),
    seeds: fc.integer({ min: 1, max: 4 }),
    kind: fc.constantFrom("sample", "score"),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 6 }), async (requests) => {
      const one = site();
      await Promise.all(
        requests.map(async ({ prompt, most, seeds, kind }, place) => {
          const tokens = [100 + place, ...range(prompt - 1)];
          if (kind === "sample") {
            const samples = await sample(one, tokens, most, { seeds: range(seeds) });
            expect(samples).toHaveLength(seeds);
            for (const { tokens: sampled, logprobs } of samples) {
              expect(sampled).toHaveLength(Math.min(most, 200 - prompt));
              expect(logprobs).toEqual(expectedLogprobs(tokens, sampled));
            }
          } else {
            const completions = range(seeds).map((i) => range(1 + ((most * i) % (200 - prompt + 1))));
            expect(await score(one, tokens, completions)).toEqual(
              completions.map((completion) => expectedLogprobs(tokens, completion)),
            );
          }
        }),
      );
      expectIdle(one);
    }),
    { numRuns: 60 },
  );
});
