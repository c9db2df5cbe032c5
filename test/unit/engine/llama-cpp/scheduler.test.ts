/**
 * Continuous batching on a backend that remembers what each sequence holds and objects to every wrong position, copy
 * and row.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Sample, Token } from "../../../../src/engine/engine.ts";
import type { BatchChunk, Logits, Sampler } from "../../../../src/engine/llama-cpp/backend.ts";
import { CompletionText } from "../../../../src/engine/llama-cpp/completion-text.ts";
import { type OpenTask, Scheduler } from "../../../../src/engine/llama-cpp/scheduler.ts";
import type { TaskSequence } from "../../../../src/engine/llama-cpp/task.ts";
import { SampledSequence, ScoredSequence } from "../../../../src/engine/llama-cpp/task-sequences.ts";
import {
  end,
  logprob,
  otherControl,
  parameters,
  RecordingBackend,
  SteppingSequence,
  tick,
} from "./recording-backend.ts";

const stepping = (sequences: number, steps: number): SteppingSequence[] =>
  Array.from({ length: sequences }, () => new SteppingSequence(steps));
/** Completions are scored, everything else is sampled. */
function run(
  scheduler: Scheduler,
  prompt: readonly Token[],
  sequences: readonly TaskSequence[],
  signal: AbortSignal,
): Promise<void> {
  const kind = sequences.some((sequence) => sequence instanceof ScoredSequence) ? "score" : "sample";
  return scheduler.run({ kind, prompt, sequences, signal });
}

const forever = () => new AbortController().signal;
const range = (length: number, from = 2): Token[] => Array.from({ length }, (_, i) => from + i);

/** What every test may expect once nothing is left to do. */
function expectIdle(backend: RecordingBackend, scheduler: Scheduler): void {
  expect(backend.violations).toEqual([]);
  expect(scheduler.load).toEqual({ active: 0, waiting: 0, freeSequences: backend.sequences, stepMs: 0 });
  expect(backend.openSamplers).toBe(0);
}

const tokensOf = (steps: readonly (readonly BatchChunk[])[]): (readonly Token[])[][] =>
  steps.map((batch) => batch.map(({ tokens }) => tokens));

describe("one task", () => {
  it("prefills its prompt once and copies it to a slot for each sequence", async () => {
    const backend = new RecordingBackend();
    const scheduler = new Scheduler(backend);
    await run(scheduler, [5, 6, 7, 8], stepping(3, 1), forever());
    expect(backend.steps[0]).toMatchObject([{ position: 0, tokens: [5, 6, 7], logits: [] }]);
    const source = backend.steps[0]?.[0]?.sequence;
    expect(backend.copies).toHaveLength(2);
    expect(backend.copies.every((copy) => copy.source === source && copy.length === 3)).toBe(true);
    expect(backend.steps[1]).toHaveLength(3);
    expect(
      backend.steps[1]?.every(({ position, tokens, logits }) => position === 3 && tokens[0] === 8 && logits[0] === 0),
    ).toBe(true);
    expect(new Set(backend.steps[1]?.map(({ sequence }) => sequence)).size).toBe(3);
    expect(backend.steps).toHaveLength(3);
    expectIdle(backend, scheduler);
  });

  it("with a prompt of one token needs no prefill", async () => {
    const backend = new RecordingBackend();
    const scheduler = new Scheduler(backend);
    await run(scheduler, [5], stepping(2, 0), forever());
    expect(backend.steps).toHaveLength(1);
    expect(backend.steps[0]).toMatchObject([
      { position: 0, tokens: [5], logits: [0] },
      { position: 0, tokens: [5], logits: [0] },
    ]);
    expectIdle(backend, scheduler);
  });

  it("with one sequence copies nothing", async () => {
    const backend = new RecordingBackend();
    const scheduler = new Scheduler(backend);
    await run(scheduler, range(10), stepping(1, 2), forever());
    expect(backend.copies).toEqual([]);
    expectIdle(backend, scheduler);
  });

  it("prefills in chunks of at most a step", async () => {
    const backend = new RecordingBackend({ chunk: 4 });
    const scheduler = new Scheduler(backend);
    await run(scheduler, [2, 3, 4, 5, 6, 7, 8, 9, 10, 11], stepping(1, 0), forever());
    expect(tokensOf(backend.steps)).toEqual([[[2, 3, 4, 5]], [[6, 7, 8, 9]], [[10]], [[11]]]);
    expect(backend.steps.map((batch) => batch[0]?.position)).toEqual([0, 4, 8, 9]);
    expectIdle(backend, scheduler);
  });

  it("tells how much of its prompt has been fed with each chunk, and then that it is filled", async () => {
    const backend = new RecordingBackend({ chunk: 4 });
    const scheduler = new Scheduler(backend);
    const told: (readonly [string, number])[] = [];
    const account = {
      onPrefill: (fed: number) => void told.push(["fed", fed]),
      onPrompt: (cached: number) => void told.push(["cached", cached]),
    };
    const ask = (prompt: readonly Token[]) =>
      scheduler.run({ kind: "sample", prompt, sequences: stepping(2, 1), signal: forever(), ...account });
    await ask(range(11));
    expect(told.splice(0)).toEqual([
      ["fed", 4],
      ["fed", 8],
      ["fed", 10],
      ["cached", 0],
    ]);
    await ask(range(13));
    expect(told.splice(0)).toEqual([
      ["fed", 1],
      ["cached", 11],
    ]);
    await ask(range(13));
    expect(told).toEqual([["cached", 12]]);
    expectIdle(backend, scheduler);
  });

  it("with more sequences than slots runs them in waves over one prefill", async () => {
    const backend = new RecordingBackend({ slots: 2 });
    const scheduler = new Scheduler(backend);
    const sequences = [3, 0, 1, 2, 0].map((count) => new SteppingSequence(count));
    await run(scheduler, [5, 6, 7], sequences, forever());
    expect(backend.steps.flat().filter(({ position }) => position === 0)).toHaveLength(1);
    expect(Math.max(...backend.steps.map((batch) => batch.length))).toBe(2);
    expect(sequences.map(({ rows }) => rows.length)).toEqual([4, 1, 2, 3, 1]);
    expect(sequences.map(({ disposals }) => disposals)).toEqual([1, 1, 1, 1, 1]);
    expectIdle(backend, scheduler);
  });

  it("with 500 sequences on 3 slots finishes them all", async () => {
    const backend = new RecordingBackend({ slots: 3 });
    const scheduler = new Scheduler(backend);
    const sequences = stepping(500, 0);
    await run(scheduler, [5, 6], sequences, forever());
    expect(sequences.every(({ rows, disposals }) => rows.length === 1 && disposals === 1)).toBe(true);
    expectIdle(backend, scheduler);
  });

  it("with no sequences is done at once", async () => {
    const backend = new RecordingBackend();
    const scheduler = new Scheduler(backend);
    // A loop that never ends would hold up the test's own clock: this signal fires when it has been looked at a
    // thousand times.
    let looks = 0;
    const signal = Object.defineProperty(forever(), "aborted", { get: () => ++looks > 1000 });
    await expect(run(scheduler, [5, 6], [], signal)).resolves.toBeUndefined();
    expect(backend.steps).toEqual([]);
    expectIdle(backend, scheduler);
  });
});

describe("neighbouring sequences", () => {
  const sequencesOf = (steps: readonly (readonly BatchChunk[])[]): number[][] =>
    steps.map((batch) => batch.map(({ sequence }) => sequence));

  it("stay together when a sequence between others ends", async () => {
    const backend = new RecordingBackend({ slots: 3 });
    const scheduler = new Scheduler(backend);
    const sequences = [new SteppingSequence(4), new SteppingSequence(0), new SteppingSequence(4)];
    await run(scheduler, [5, 6], sequences, forever());
    // prefill; all three; then the third sequence in the second one's place
    expect(sequencesOf(backend.steps)).toEqual([[0], [0, 1, 2], [0, 1], [0, 1], [0, 1], [0, 1]]);
    expect(backend.copies.at(-1)).toEqual({ source: 2, target: 1, length: 2 });
    expect(sequences.map(({ rows }) => rows.length)).toEqual([5, 1, 5]);
    expectIdle(backend, scheduler);
  });

  it("are fed in ascending order, whatever the order of arrival", async () => {
    const backend = new RecordingBackend({ slots: 4 });
    const scheduler = new Scheduler(backend);
    const first = run(scheduler, [5, 6], stepping(2, 1), forever());
    const second = run(scheduler, [5, 6], stepping(2, 9), forever());
    await first;
    const third = run(scheduler, [5, 6], stepping(2, 3), forever());
    await Promise.all([second, third]);
    for (const sequences of sequencesOf(backend.steps)) expect(sequences).toEqual(sequences.toSorted((a, b) => a - b));
    expectIdle(backend, scheduler);
  });

  it("are given to a waiting task as soon as sequences end", async () => {
    const backend = new RecordingBackend({ slots: 3 });
    const scheduler = new Scheduler(backend);
    const order: string[] = [];
    const long = [new SteppingSequence(0), new SteppingSequence(20), new SteppingSequence(0)];
    const first = run(scheduler, [5, 6], long, forever()).then(() => order.push("first"));
    const second = run(scheduler, [7, 8], stepping(2, 2), forever()).then(() => order.push("second"));
    await Promise.all([first, second]);
    expect(order).toEqual(["second", "first"]);
    expectIdle(backend, scheduler);
  });
});

describe("several tasks", () => {
  it("step together: one decode holds the sequences of all", async () => {
    const backend = new RecordingBackend();
    const scheduler = new Scheduler(backend);
    await Promise.all([
      run(scheduler, [5, 6], stepping(2, 3), forever()),
      run(scheduler, [7, 8], stepping(1, 3), forever()),
    ]);
    // The first step prefills what was there first; the rest are shared.
    expect(backend.steps.some((batch) => batch.length === 3 && batch.every(({ tokens }) => tokens.length === 1))).toBe(
      true,
    );
    expect(backend.steps.length).toBeLessThanOrEqual(6);
    expectIdle(backend, scheduler);
  });

  it("share a step's tokens: decode tokens first, then the prefill of the next prompt, in order of arrival", async () => {
    const backend = new RecordingBackend({ chunk: 4 });
    const scheduler = new Scheduler(backend);
    await Promise.all([
      run(scheduler, [5], stepping(1, 8), forever()),
      run(scheduler, range(9, 20), stepping(1, 0), forever()),
      run(scheduler, range(9, 40), stepping(1, 0), forever()),
    ]);
    const shared = tokensOf(backend.steps).slice(1, 3);
    // The samples' tokens come on top of a chunk of 4.
    expect(shared.map((batch) => batch.map((tokens) => tokens.length))).toEqual([
      [1, 4],
      [1, 4],
    ]);
    expect(shared[0]?.[1]?.[0]).toBeLessThan(40);
    const firstOf = (from: number) =>
      backend.steps.findIndex((batch) => batch.some(({ tokens }) => (tokens[0] as number) >= from));
    expect(firstOf(40)).toBeGreaterThan(firstOf(20));
    expectIdle(backend, scheduler);
  });

  it("are served in the order they came: a narrow task does not overtake a wide one", async () => {
    const backend = new RecordingBackend({ slots: 3 });
    const scheduler = new Scheduler(backend);
    const order: string[] = [];
    const start = (name: string, prompt: Token[], sequences: number) =>
      run(scheduler, prompt, stepping(sequences, 4), forever()).then(() => order.push(name));
    const done = [start("first", [5], 2), start("wide", [6], 3), start("narrow", [7], 1)];
    expect(scheduler.load.active + scheduler.load.waiting).toBe(3);
    await Promise.all(done);
    expect(order).toEqual(["first", "wide", "narrow"]);
    const narrow = backend.steps.findIndex((batch) => batch.some(({ tokens }) => tokens[0] === 7));
    const wide = backend.steps.findIndex((batch) => batch.some(({ tokens }) => tokens[0] === 6));
    expect(narrow).toBeGreaterThan(wide);
    expectIdle(backend, scheduler);
  });

  it("start as soon as there are sequences for them, while others run", async () => {
    const backend = new RecordingBackend({ slots: 2 });
    const scheduler = new Scheduler(backend);
    await Promise.all([
      run(scheduler, [5], stepping(1, 10), forever()),
      run(scheduler, [6], stepping(1, 1), forever()),
      run(scheduler, [7], stepping(1, 1), forever()),
    ]);
    const last = backend.steps.findIndex((batch) => batch.some(({ tokens }) => tokens[0] === 7));
    expect(last).toBeLessThan(10);
    expect(backend.steps[last]).toHaveLength(2);
    expectIdle(backend, scheduler);
  });

  it("run after the scheduler had gone idle", async () => {
    const backend = new RecordingBackend();
    const scheduler = new Scheduler(backend);
    await run(scheduler, [5, 6], stepping(1, 1), forever());
    await run(scheduler, [7, 8], stepping(4, 1), forever());
    expectIdle(backend, scheduler);
  });
});

describe("cancellation", () => {
  it("before a task begins decodes nothing for it", async () => {
    const backend = new RecordingBackend();
    const scheduler = new Scheduler(backend);
    const sequences = stepping(2, 3);
    await expect(run(scheduler, [5, 6], sequences, AbortSignal.abort())).rejects.toMatchObject({ code: "cancelled" });
    expect(backend.steps).toEqual([]);
    expect(sequences.map(({ disposals }) => disposals)).toEqual([1, 1]);
    expectIdle(backend, scheduler);
  });

  it("while waiting takes the task out of the queue, and the others go on", async () => {
    const leave = new AbortController();
    const backend = new RecordingBackend({
      slots: 1,
      beforeDecode: (_, step) => {
        if (step === 1) leave.abort();
      },
    });
    const scheduler = new Scheduler(backend);
    const sequences = stepping(1, 1);
    const first = run(scheduler, [5], stepping(1, 5), forever());
    const second = run(scheduler, [6], sequences, leave.signal);
    const third = run(scheduler, [7], stepping(1, 1), forever());
    await expect(second).rejects.toMatchObject({ code: "cancelled" });
    expect(scheduler.load).toMatchObject({ active: 1, waiting: 1 });
    await Promise.all([first, third]);
    expect(backend.steps.flat().some(({ tokens }) => tokens[0] === 6)).toBe(false);
    expect(sequences[0]?.disposals).toBe(1);
    expectIdle(backend, scheduler);
  });

  it("while prefilling frees all sequences of the task within a step", async () => {
    const leave = new AbortController();
    const backend = new RecordingBackend({
      chunk: 4,
      beforeDecode: (_, step) => {
        if (step === 1) leave.abort();
      },
    });
    const scheduler = new Scheduler(backend);
    const sequences = stepping(3, 2);
    await expect(run(scheduler, range(30), sequences, leave.signal)).rejects.toMatchObject({ code: "cancelled" });
    expect(backend.steps).toHaveLength(2);
    expect(sequences.map(({ disposals }) => disposals)).toEqual([1, 1, 1]);
    expectIdle(backend, scheduler);
  });

  it("while decoding frees all sequences of the task within a step, waiting sequences among them", async () => {
    const leave = new AbortController();
    const backend = new RecordingBackend({
      slots: 3,
      beforeDecode: (_, step) => {
        if (step === 4) leave.abort();
      },
    });
    const scheduler = new Scheduler(backend);
    const sequences = stepping(5, 50);
    await expect(run(scheduler, [5, 6], sequences, leave.signal)).rejects.toMatchObject({ code: "cancelled" });
    expect(backend.steps).toHaveLength(5);
    expect(sequences.map(({ disposals }) => disposals)).toEqual([1, 1, 1, 1, 1]);
    expectIdle(backend, scheduler);
  });

  it("of one task leaves the tokens and positions of the others alone", async () => {
    const leave = new AbortController();
    const backend = new RecordingBackend({
      slots: 3,
      beforeDecode: (_, step) => {
        if (step === 3) leave.abort();
      },
    });
    const scheduler = new Scheduler(backend);
    const kept = stepping(1, 10);
    const cancelled = run(scheduler, [5, 6, 7], stepping(2, 50), leave.signal);
    const others = [run(scheduler, [8, 9], kept, forever()), run(scheduler, [10, 11], stepping(2, 4), forever())];
    await expect(cancelled).rejects.toMatchObject({ code: "cancelled" });
    await Promise.all(others);
    expect(kept[0]?.rows).toHaveLength(11);
    expectIdle(backend, scheduler);
  });

  it("by a deadline is a timeout", async () => {
    const signal = AbortSignal.abort(new DOMException("too late", "TimeoutError"));
    await expect(run(new Scheduler(new RecordingBackend()), [5], stepping(1, 1), signal)).rejects.toMatchObject({
      code: "timeout",
    });
  });
});

describe("failures", () => {
  const failure = new Error("the backend failed");

  it("of a decode reject the tasks in that step only, and free their sequences", async () => {
    const backend = new RecordingBackend({
      chunk: 4,
      beforeDecode: (_, step) => {
        if (step === 1) throw failure;
      },
    });
    const scheduler = new Scheduler(backend);
    // The first prompt takes the whole of the first three steps: the second task has begun, but is in none of them.
    const first = run(scheduler, range(12), stepping(2, 1), forever());
    const second = run(scheduler, [50, 51], stepping(2, 1), forever());
    await expect(first).rejects.toBe(failure);
    await expect(second).resolves.toBeUndefined();
    expectIdle(backend, scheduler);
  });

  it("of a decode reject every task in the step", async () => {
    const backend = new RecordingBackend({
      beforeDecode: (batch) => {
        if (batch.length === 3) throw failure;
      },
    });
    const scheduler = new Scheduler(backend);
    const sequences = stepping(3, 9);
    const tasks = [
      run(scheduler, [5], sequences.slice(0, 1), forever()),
      run(scheduler, [6], sequences.slice(1), forever()),
    ];
    expect(await Promise.allSettled(tasks)).toEqual([
      { status: "rejected", reason: failure },
      { status: "rejected", reason: failure },
    ]);
    expect(sequences.map(({ disposals }) => disposals)).toEqual([1, 1, 1]);
    expectIdle(backend, scheduler);
  });

  it("do not keep later tasks from running", async () => {
    const backend = new RecordingBackend({
      beforeDecode: (_, step) => {
        if (step === 0) throw failure;
      },
    });
    const scheduler = new Scheduler(backend);
    await expect(run(scheduler, [5, 6], stepping(4, 1), forever())).rejects.toBe(failure);
    await run(scheduler, [5, 6], stepping(4, 1), forever());
    expectIdle(backend, scheduler);
  });

  it("of a copy reject that task only", async () => {
    class FailingCopy extends RecordingBackend {
      override async copy(source: number, target: number, length: number): Promise<void> {
        if (length === 2) throw failure;
        return super.copy(source, target, length);
      }
    }
    const backend = new FailingCopy();
    const scheduler = new Scheduler(backend);
    const failing = run(scheduler, [5, 6, 7], stepping(2, 3), forever());
    const fine = run(scheduler, [8, 9], stepping(2, 3), forever());
    await expect(failing).rejects.toBe(failure);
    await fine;
    expectIdle(backend, scheduler);
  });

  it("of a sequence reject its task only, and dispose of each sequence once", async () => {
    class FailingSequence extends SteppingSequence {
      override async accept(): Promise<never> {
        throw failure;
      }
    }
    const backend = new RecordingBackend({ slots: 4 });
    const scheduler = new Scheduler(backend);
    const sequences = [new FailingSequence(0), ...stepping(4, 0)];
    const failing = run(scheduler, [5, 6], sequences, forever());
    const fine = run(scheduler, [8, 9], stepping(1, 3), forever());
    await expect(failing).rejects.toBe(failure);
    await fine;
    expect(sequences.map(({ disposals }) => disposals)).toEqual([1, 1, 1, 1, 1]);
    expectIdle(backend, scheduler);
  });

  it("of one sampler do not dispose of another in the middle of its sampling", async () => {
    const backend = new RecordingBackend({ draw: () => 65 });
    const scheduler = new Scheduler(backend);
    const failing: Sampler = {
      sample: () => Promise.reject(failure),
      dispose: () => {},
    };
    const healthy = backend.createSampler(parameters, 1);
    const tasks = run(
      scheduler,
      [5, 6],
      [sampling(backend, { sampler: failing }).sequence, sampling(backend, { sampler: healthy }).sequence],
      forever(),
    );
    await expect(tasks).rejects.toBe(failure);
    await tick();
    expectIdle(backend, scheduler);
  });

  it("to return as many rows as were asked for are errors, never short scores", async () => {
    class ShortBackend extends RecordingBackend {
      override async decode(batch: readonly BatchChunk[]): Promise<Logits[][]> {
        return (await super.decode(batch)).map((rows) => rows.slice(1));
      }
    }
    const backend = new ShortBackend();
    const scheduler = new Scheduler(backend);
    const { sequence } = scoring(backend, [10, 11, 12, end]);
    await expect(run(scheduler, [5, 6], [sequence], forever())).rejects.toThrow();
    expectIdle(backend, scheduler);
  });
});

interface SamplingOptions {
  readonly maxTokens?: number;
  readonly logprobs?: boolean;
  readonly stop?: readonly string[];
  readonly seed?: number;
  readonly sampler?: Sampler;
}

/** A sequence that samples, with what it says and what it ends in. */
function sampling(backend: RecordingBackend, options: SamplingOptions = {}) {
  const { maxTokens = 8, logprobs = true, stop = [], seed = 1 } = options;
  const said: string[] = [];
  const told: number[] = [];
  const done: Sample[] = [];
  const sequence = new SampledSequence({
    backend,
    sampler: options.sampler ?? backend.createSampler(parameters, seed),
    text: new CompletionText((tokens) => tokens.map((token) => String.fromCharCode(token)).join(""), stop),
    request: { maxTokens, logprobs },
    end,
    endsTurn: (token) => token === end || token === otherControl,
    describe: describeToken,
    onText: (text, tokens) => {
      said.push(text);
      told.push(tokens);
    },
    onDone: (sample) => void done.push(sample),
  });
  return { sequence, said, told, done };
}

const describeToken = (token: Token) => ({ text: String.fromCharCode(token), bytes: [token] });

function scoring(backend: RecordingBackend, completion: readonly Token[]) {
  const done: number[][] = [];
  return {
    sequence: new ScoredSequence(backend, completion, {
      describe: describeToken,
      onDone: (logprobs) => void done.push([...logprobs]),
    }),
    done,
  };
}

/** log π(token i ∣ prompt, tokens before i). */
function expected(prompt: readonly Token[], completion: readonly Token[]): number[] {
  return completion.map((token, i) => logprob([...prompt, ...completion.slice(0, i)], token));
}

const prompt = [20, 21, 22];
/** Draws these texts' characters one by one after the prompt, then ends. */
const drawing =
  (text: string, closing: Token = end) =>
  (history: readonly Token[]): Token =>
    history.length - prompt.length < text.length ? text.charCodeAt(history.length - prompt.length) : closing;

describe("teacher forcing", () => {
  it("reads each token's log-probability off the row of the token before it", async () => {
    const backend = new RecordingBackend();
    const scheduler = new Scheduler(backend);
    const { sequence, done } = scoring(backend, [70, 71, 72, end]);
    await run(scheduler, prompt, [sequence], forever());
    expect(done).toEqual([expected(prompt, [70, 71, 72, end])]);
    // The prompt's last token and the completion but for its last: nothing is fed in vain.
    expect(backend.steps[1]).toMatchObject([{ position: 2, tokens: [22, 70, 71, 72], logits: [0, 1, 2, 3] }]);
    expectIdle(backend, scheduler);
  });

  it("lines up when a completion spans several steps", async () => {
    const backend = new RecordingBackend({ chunk: 3 });
    const scheduler = new Scheduler(backend);
    const completion = [...range(10, 60), end];
    const { sequence, done } = scoring(backend, completion);
    await run(scheduler, prompt, [sequence], forever());
    expect(backend.steps.length).toBeGreaterThan(4);
    expect(done).toEqual([expected(prompt, completion)]);
    expectIdle(backend, scheduler);
  });

  it("scores completions of different lengths after one prompt, that of the end token alone among them", async () => {
    const backend = new RecordingBackend({ slots: 2, chunk: 5 });
    const scheduler = new Scheduler(backend);
    const completions = [[end], [70, end], range(9, 60), [70, end]];
    const sequences = completions.map((completion) => scoring(backend, completion));
    await run(
      scheduler,
      prompt,
      sequences.map(({ sequence }) => sequence),
      forever(),
    );
    expect(sequences.map(({ done }) => done)).toEqual(completions.map((completion) => [expected(prompt, completion)]));
    expectIdle(backend, scheduler);
  });
});

describe("sampling", () => {
  const sample = async (draw: (history: readonly Token[]) => Token, options: SamplingOptions = {}) => {
    const backend = new RecordingBackend({ draw });
    const scheduler = new Scheduler(backend);
    const { sequence, said, told, done } = sampling(backend, options);
    await run(scheduler, prompt, [sequence], forever());
    expect(done).toHaveLength(1);
    expectIdle(backend, scheduler);
    return { sample: done[0] as Sample, said, told, backend };
  };

  it("ends on the closing token, which is not among the tokens", async () => {
    const { sample: ended, said } = await sample(drawing("Hi"));
    expect(ended).toMatchObject({ text: "Hi", finish: "stop", tokens: [72, 105] });
    expect(said.join("")).toBe("Hi");
  });

  it("ends on any other control token, and notes the log-probability of the closing one there", async () => {
    const { sample: ended } = await sample(drawing("Hi", otherControl));
    expect(ended).toMatchObject({ text: "Hi", finish: "stop", tokens: [72, 105] });
    expect(ended.endLogprobs[2]).toBe(logprob([...prompt, 72, 105], end));
  });

  it("may end at once", async () => {
    const { sample: ended, said } = await sample(drawing(""));
    expect(ended).toEqual({
      details: [],
      text: "",
      finish: "stop",
      tokens: [],
      logprobs: [],
      endLogprobs: [logprob(prompt, end)],
      rest: [],
    });
    expect(said).toEqual([]);
  });

  it("ends at maxTokens with finish length, and notes how likely the end was there", async () => {
    const { sample: ended } = await sample(drawing("endless text"), { maxTokens: 3 });
    expect(ended).toMatchObject({ text: "end", finish: "length", tokens: [101, 110, 100] });
    expect(ended.endLogprobs).toHaveLength(4);
    expect(ended.endLogprobs[3]).toBe(logprob([...prompt, 101, 110, 100], end));
  });

  it("does not decode the last token where no log-probabilities are asked for", async () => {
    const { backend, sample: ended } = await sample(drawing("endless text"), { maxTokens: 3, logprobs: false });
    expect(ended).toEqual({
      details: [],
      text: "end",
      finish: "length",
      tokens: [101, 110, 100],
      logprobs: [],
      endLogprobs: [],
      rest: [],
    });
    // One prefill, then the prompt's last token and two of the three sampled ones.
    expect(backend.steps).toHaveLength(4);
  });

  it("ends before a stop string, with finish stop", async () => {
    const { sample: ended, said } = await sample(drawing("Yes. END more"), { stop: ["END"] });
    expect(ended).toMatchObject({ text: "Yes. ", finish: "stop" });
    expect(said.join("")).toBe("Yes. ");
  });

  it("finishes with stop where the stop string is completed by the last token allowed", async () => {
    const { sample: ended } = await sample(drawing("Yes END"), { stop: ["END"], maxTokens: 7 });
    expect(ended).toMatchObject({ text: "Yes ", finish: "stop" });
  });

  it("returns half a stop string at maxTokens: it was none", async () => {
    const { sample: ended, said } = await sample(drawing("Yes END"), { stop: ["END"], maxTokens: 6 });
    expect(ended).toMatchObject({ text: "Yes EN", finish: "length" });
    expect(said.join("")).toBe("Yes EN");
  });

  it("tells with each text how many tokens were sampled since the one before", async () => {
    const { said, told } = await sample(drawing("ab ENd"), { stop: ["END"] });
    expect(said).toEqual(["a", "b", " ", "ENd"]);
    expect(told).toEqual([1, 1, 1, 3]);
  });

  it("notes log π of every sampled token, and of the end before each", async () => {
    const { sample: ended } = await sample(drawing("abc"));
    expect(ended.logprobs).toEqual(expected(prompt, [97, 98, 99]));
    expect(ended.endLogprobs).toEqual(
      [[], [97], [97, 98], [97, 98, 99]].map((before) => logprob([...prompt, ...before], end)),
    );
  });

  it("notes the same sum as teacher forcing gives", async () => {
    const { sample: ended } = await sample(drawing("abc"));
    const backend = new RecordingBackend();
    const { sequence, done } = scoring(backend, [97, 98, 99, end]);
    await run(new Scheduler(backend), prompt, [sequence], forever());
    expect([...ended.logprobs, ended.endLogprobs[3]]).toEqual(done[0]);
  });

  it("gives each sequence its own sampler", async () => {
    const backend = new RecordingBackend({ draw: (history, seed) => (history.length < 6 ? 64 + seed : end) });
    const scheduler = new Scheduler(backend);
    const sequences = [1, 2, 3].map((seed) => sampling(backend, { seed }));
    await run(
      scheduler,
      prompt,
      sequences.map(({ sequence }) => sequence),
      forever(),
    );
    expect(sequences.map(({ done }) => done[0]?.text)).toEqual(["AAA", "BBB", "CCC"]);
    expectIdle(backend, scheduler);
  });
});

/** Mulberry32: the same numbers in each run. */
function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

describe("prefixes", () => {
  const story = range(80, 10);

  /** Runs a task alone; prompt tokens that it decoded, and what it was told is cached. */
  async function ask(
    backend: RecordingBackend,
    scheduler: Scheduler,
    given: readonly Token[],
    sequences: readonly TaskSequence[] = stepping(1, 2),
  ) {
    const before = backend.prefilled;
    let cached = -1;
    const onPrompt = (tokens: number): void => {
      cached = tokens;
    };
    const kind = sequences.some((sequence) => sequence instanceof ScoredSequence) ? "score" : "sample";
    await scheduler.run({ kind, prompt: given, sequences, signal: forever(), onPrompt });
    expect(cached).toBe(given.length - 1 - (backend.prefilled - before));
    return { prefilled: backend.prefilled - before, cached };
  }

  it("of a prompt that came before cost nothing", async () => {
    const backend = new RecordingBackend();
    const scheduler = new Scheduler(backend);
    expect(await ask(backend, scheduler, story)).toEqual({ prefilled: 79, cached: 0 });
    expect(await ask(backend, scheduler, story)).toEqual({ prefilled: 0, cached: 79 });
    expect(await ask(backend, scheduler, story, stepping(3, 1))).toEqual({ prefilled: 0, cached: 79 });
    expectIdle(backend, scheduler);
  });

  it("end where a sampled answer ended: a second turn pays only for what is new", async () => {
    const backend = new RecordingBackend({ draw: (history) => (history.length < 86 ? 65 : end) });
    const scheduler = new Scheduler(backend);
    const { sequence, done } = sampling(backend);
    await ask(backend, scheduler, story, [sequence]);
    const answer = done[0]?.tokens ?? [];
    expect(answer).toHaveLength(6);
    expect(await ask(backend, scheduler, [...story, ...answer, 3, 4, 5])).toEqual({ prefilled: 2, cached: 86 });
    expectIdle(backend, scheduler);
  });

  it("are shared to the token: C⁺ and C⁻ part where they differ, and score as they do alone", async () => {
    const backend = new RecordingBackend();
    const scheduler = new Scheduler(backend);
    const [positive, negative] = [
      [...story, 201, ...range(40, 300)],
      [...story, 202, ...range(40, 300)],
    ];
    for (const given of [positive, negative, positive, negative]) {
      const { sequence, done } = scoring(backend, [70, 71, end]);
      await ask(backend, scheduler, given, [sequence]);
      expect(done).toEqual([expected(given, [70, 71, end])]);
    }
    expect(backend.prefilled).toBe(120 + 40);
    expectIdle(backend, scheduler);
  });

  it("are the least recently used to go", async () => {
    const backend = new RecordingBackend({ slots: 1 });
    expect(backend.sequences).toBe(1);
    const roomy = new RecordingBackend({ slots: 4 });
    const scheduler = new Scheduler(roomy);
    const prompts = [1, 2, 3, 4, 5].map((i) => range(64, i * 1000));
    // Two places among the cached slots, and what stands in the slot.
    for (const given of prompts.slice(0, 3)) await ask(roomy, scheduler, given);
    expect((await ask(roomy, scheduler, prompts[0] as Token[])).cached).toBe(63);
    for (const given of prompts.slice(3)) await ask(roomy, scheduler, given);
    expect((await ask(roomy, scheduler, prompts[0] as Token[])).cached).toBe(63);
    expect((await ask(roomy, scheduler, prompts[1] as Token[])).cached).toBe(0);
    expectIdle(roomy, scheduler);
  });

  it("that several tasks have in common are prefilled by one of them", async () => {
    const backend = new RecordingBackend({ slots: 8, chunk: 16 });
    const scheduler = new Scheduler(backend);
    const tasks = range(6, 500).map((last) => run(scheduler, [...story, last, 1, 2], stepping(1, 3), forever()));
    await Promise.all(tasks);
    // Each has two tokens of its own; the second may get the rest of the first one's last chunk.
    expect(backend.prefilled).toBeLessThanOrEqual(80 + 6 * 2 + 16);
    expectIdle(backend, scheduler);
  });

  it("are right where states cannot be cut, only less often found", async () => {
    const backend = new RecordingBackend({ rewinds: false });
    const scheduler = new Scheduler(backend);
    for (const given of [story, [...story, 5, 6], [...story.slice(0, 40), 7, 8]]) {
      const { sequence, done } = scoring(backend, [70, end]);
      await ask(backend, scheduler, given, [sequence]);
      expect(done).toEqual([expected(given, [70, end])]);
    }
    expectIdle(backend, scheduler);
  });

  it("are forgotten where a decode failed, and kept where a client left", async () => {
    const leave = new AbortController();
    const backend = new RecordingBackend({
      chunk: 16,
      beforeDecode: (_, step) => {
        if (step === 2) throw new Error("the backend failed");
        if (step === 5) leave.abort();
      },
    });
    const scheduler = new Scheduler(backend);
    await expect(run(scheduler, story, stepping(1, 1), forever())).rejects.toThrow("the backend failed");
    await expect(run(scheduler, story, stepping(1, 1), leave.signal)).rejects.toMatchObject({ code: "cancelled" });
    expect((await ask(backend, scheduler, story)).cached).toBe(48);
    expectIdle(backend, scheduler);
  });
});

describe("tenants", () => {
  const opening = range(60, 10);
  const words = range(40, 1000);
  const common = [...opening, ...words];

  /**
   * What a tenant is told is cached of a prompt whose first tokens, as many as `shared`, are nobody's own; what was not
   * cached has been prefilled.
   */
  async function ask(
    scheduler: Scheduler,
    tenant: string,
    prompt: readonly Token[],
    shared = opening.length,
    count = 1,
  ): Promise<number> {
    let cached = -1;
    const onPrompt = (tokens: number): void => {
      cached = tokens;
    };
    const owner = { tenant, shared };
    await scheduler.run({ kind: "sample", prompt, owner, sequences: stepping(count, 2), signal: forever(), onPrompt });
    return cached;
  }

  it("have what is nobody's own in common, and nothing else", async () => {
    const backend = new RecordingBackend({ slots: 8 });
    const scheduler = new Scheduler(backend);
    expect(await ask(scheduler, "alice", common)).toBe(0);
    expect(await ask(scheduler, "alice", common)).toBe(99);
    expect(await ask(scheduler, "bob", common)).toBe(60);
    expect(backend.prefilled).toBe(99 + 39);
    expect(await ask(scheduler, "bob", [...common, 7, 8])).toBe(100);
    // Nor where their prompts say that more is nobody's own than the other's did.
    expect(await ask(scheduler, "carol", common, common.length)).toBe(60);
    expect(await ask(scheduler, "", common, 0)).toBe(99);
    expectIdle(backend, scheduler);
  });

  it("keep their own when another begins in their slot", async () => {
    const backend = new RecordingBackend({ slots: 4 });
    const scheduler = new Scheduler(backend);
    expect(await ask(scheduler, "alice", common)).toBe(0);
    expect(await ask(scheduler, "bob", [...opening, ...range(40, 5000)])).toBe(60);
    expect(await ask(scheduler, "alice", common)).toBe(99);
    expect(await ask(scheduler, "bob", common)).toBe(60);
    expectIdle(backend, scheduler);
  });

  it("do not wait for another's prompt beyond what is nobody's own", async () => {
    const backend = new RecordingBackend({ slots: 8, chunk: 16 });
    const scheduler = new Scheduler(backend);
    const cached = await Promise.all(["alice", "bob", "alice"].map((tenant) => ask(scheduler, tenant, common)));
    expect(cached[1]).toBeLessThanOrEqual(60);
    // Both of alice's need her words once, bob's once more; one of them may get the rest of another's last chunk.
    expect(backend.prefilled).toBeGreaterThanOrEqual(99 + 39);
    expect(backend.prefilled).toBeLessThanOrEqual(99 + 39 + 2 * 16);
    expectIdle(backend, scheduler);
  });

  it("have nothing of each other where states cannot be cut, but a state that ends before anybody's words", async () => {
    const backend = new RecordingBackend({ rewinds: false });
    const scheduler = new Scheduler(backend);
    await ask(scheduler, "alice", common);
    expect(await ask(scheduler, "bob", common)).toBe(0);
    await ask(scheduler, "alice", opening.slice(0, 50), 50);
    // The two after it are alice's.
    expect(await ask(scheduler, "bob", [...opening.slice(0, 50), 9, 9, ...words], 52)).toBe(0);
    expectIdle(backend, scheduler);
  });

  const asked = fc.record({
    tenant: fc.constantFrom("a", "b", "c"),
    opening: fc.nat({ max: 1 }),
    shared: fc.constantFrom(0, 1, 33, 64, 90),
    own: fc.array(fc.integer({ min: 2, max: 3 }), { minLength: 1, maxLength: 50 }),
    samples: fc.integer({ min: 1, max: 3 }),
    /** Before it is sent, so many turns go by. */
    after: fc.nat({ max: 40 }),
  });
  const machine = fc.record({
    rewinds: fc.boolean(),
    slots: fc.integer({ min: 1, max: 8 }),
    chunk: fc.constantFrom(7, 16, 64),
  });

  it("are told of nothing that another has said, whatever they ask at once and one after another", async () => {
    await fc.assert(
      fc.asyncProperty(machine, fc.array(asked, { minLength: 2, maxLength: 10 }), async (options, requests) => {
        const backend = new RecordingBackend({ ...options, mostSteps: 20_000 });
        const scheduler = new Scheduler(backend);
        const sent: { readonly tenant: string; readonly shared: number; readonly tokens: readonly Token[] }[] = [];
        const running: Promise<void>[] = [];
        for (const { tenant, opening, shared, own, samples, after } of requests) {
          for (let turn = 0; turn < after; turn++) await tick();
          const prompt = [...range(shared, 100 + opening * 1000), ...own];
          // What follows a prompt is what its sequences decode: nines.
          sent.push({ tenant, shared, tokens: [...prompt, 9, 9, 9] });
          const one = ask(scheduler, tenant, prompt, shared, samples).then((cached) => {
            const known = sent.map((other) => {
              const tokens = other.tenant === tenant ? other.tokens : other.tokens.slice(0, other.shared);
              const differs = tokens.findIndex((token, i) => token !== prompt[i]);
              return differs < 0 ? tokens.length : differs;
            });
            expect(cached).toBeLessThanOrEqual(Math.max(...known));
          });
          running.push(one);
        }
        await Promise.all(running);
        expectIdle(backend, scheduler);
      }),
      { numRuns: 200 },
    );
  });
});

describe("an open task", () => {
  const given = range(40, 10);
  const settled = async (): Promise<void> => {
    for (let turn = 0; turn < 50; turn++) await tick();
  };

  it("prefills before a sequence comes, and scores each as it comes", async () => {
    const backend = new RecordingBackend();
    const scheduler = new Scheduler(backend);
    const task = scheduler.open({ kind: "score", prompt: given, sequences: [], signal: forever() });
    await settled();
    expect(backend.prefilled).toBe(39);
    for (const completion of [
      [70, end],
      [71, 72, end],
    ]) {
      const { sequence, done } = scoring(backend, completion);
      task.add(sequence);
      await settled();
      expect(done).toEqual([expected(given, completion)]);
    }
    task.close();
    await task.done;
    expectIdle(backend, scheduler);
  });

  it("ends at once where it is closed without a sequence, and where it is left", async () => {
    const backend = new RecordingBackend({ chunk: 8 });
    const scheduler = new Scheduler(backend);
    const closed = scheduler.open({ kind: "score", prompt: given, sequences: [], signal: forever() });
    closed.close();
    await closed.done;
    const leave = new AbortController();
    const left = scheduler.open({ kind: "score", prompt: given, sequences: [], signal: leave.signal });
    await settled();
    leave.abort();
    await expect(left.done).rejects.toMatchObject({ code: "cancelled" });
    const { sequence } = scoring(backend, [70, end]);
    left.add(sequence);
    expectIdle(backend, scheduler);
  });

  it("only rides along until a sequence comes", async () => {
    const backend = new RecordingBackend({ chunk: 8 });
    const scheduler = new Scheduler(backend);
    const task = scheduler.open({ kind: "score", prompt: given, sequences: [], signal: forever() });
    const other = run(scheduler, range(60, 500), stepping(1, 1), forever());
    await other;
    const firstOf = (from: number, to: number) =>
      backend.steps.map((batch) =>
        batch.some(({ tokens }) => (tokens[0] as number) >= from && (tokens[0] as number) < to),
      );
    expect(firstOf(10, 60).indexOf(true)).toBeGreaterThanOrEqual(firstOf(500, 552).lastIndexOf(true));
    task.close();
    await task.done;
    expectIdle(backend, scheduler);
  });
});

describe("tasks of both kinds", () => {
  it.each([1, 2, 3, 4, 5, 8, 11])("all get their turn on %i slots, whatever the other kind does", async (slots) => {
    const backend = new RecordingBackend({ slots });
    const scheduler = new Scheduler(backend);
    let busy = true;
    const stream = async (sequences: number): Promise<void> => {
      while (busy) await run(scheduler, [5, 6, 7], stepping(sequences, 2), forever());
    };
    const narrow = [stream(1), stream(1), stream(1)];
    for (let i = 0; i < 5; i++) await run(scheduler, [8, 9], stepping(3, 2), forever());
    busy = false;
    await Promise.all(narrow);
    busy = true;
    const wide = [stream(3), stream(3), stream(3)];
    for (let i = 0; i < 5; i++) await run(scheduler, [8, 9], stepping(1, 2), forever());
    busy = false;
    await Promise.all(wide);
    expectIdle(backend, scheduler);
  });

  it("do not keep a short plain prompt waiting for long ones", async () => {
    const backend = new RecordingBackend({ slots: 8, chunk: 16 });
    const scheduler = new Scheduler(backend);
    const long = [1, 2, 3, 4].map((i) => run(scheduler, range(300, i * 1000), stepping(3, 20), forever()));
    for (let turn = 0; turn < 20; turn++) await tick();
    const before = backend.steps.length;
    await run(scheduler, range(20, 9000), stepping(1, 0), forever());
    expect(backend.steps.length - before).toBeLessThanOrEqual(5);
    await Promise.all(long);
    expectIdle(backend, scheduler);
  });
});

describe("where states cannot be cut", () => {
  const story = range(80, 10);

  /** A request, with what must have come of it when it is over. */
  function request(
    backend: RecordingBackend,
    scheduler: Scheduler,
    given: readonly Token[],
    completions: readonly Token[][],
    samples = 0,
  ) {
    const scores = completions.map((completion) => scoring(backend, completion));
    const sampled = Array.from({ length: samples }, (_, seed) => sampling(backend, { seed }));
    const sequences = [...scores, ...sampled].map(({ sequence }) => sequence);
    const check = (): void => {
      expect(scores.map(({ done }) => done)).toEqual(completions.map((completion) => [expected(given, completion)]));
      for (const { done } of sampled) {
        const [ended] = done as [Sample];
        expect(ended.logprobs).toEqual(expected(given, ended.tokens));
      }
    };
    return run(scheduler, given, sequences, forever()).then(check);
  }

  it.each([
    ["a common beginning", [...story, 500, ...range(60, 600)], [...story, 501, ...range(60, 600)]],
    ["the same prompt", story, story],
    ["one prompt that begins the other", story, [...story, ...range(70, 500)]],
    ["one prompt that the other begins", [...story, ...range(70, 500)], story],
  ])("requests with %s all end, at once and one after another", async (_, first, second) => {
    for (const chunk of [4, 16, 64]) {
      const backend = new RecordingBackend({ rewinds: false, slots: 6, chunk, draw: drawing("Hello") });
      const scheduler = new Scheduler(backend);
      const requests = [first, second, first].flatMap((given) => [
        request(backend, scheduler, given, [[70, 71, end]]),
        request(backend, scheduler, given, [], 2),
      ]);
      await Promise.all(requests);
      await request(backend, scheduler, second, [[70, end]]);
      await request(backend, scheduler, first, [], 1);
      expectIdle(backend, scheduler);
    }
  });

  it.each([1, 2, 3, 4, 8])(
    "more samples than slots, and many completions, all follow the prompt on %i slots",
    async (slots) => {
      const backend = new RecordingBackend({
        rewinds: false,
        slots,
        draw: (history) => (history.length % 5 === 0 ? end : 65),
      });
      const scheduler = new Scheduler(backend);
      for (const given of [story, [5], [5, 6]]) {
        await request(backend, scheduler, given, [], 9);
        await request(backend, scheduler, given, [[70, end], [end], [71, 72, end], [70, end]]);
      }
      expectIdle(backend, scheduler);
    },
  );

  it("a prompt is prefilled once for all of its sequences, where there are two slots for it", async () => {
    const backend = new RecordingBackend({ rewinds: false, slots: 4 });
    const scheduler = new Scheduler(backend);
    await request(backend, scheduler, story, [], 9);
    expect(backend.prefilled).toBe(79);
    await request(
      backend,
      scheduler,
      [...story, 5],
      [
        [70, end],
        [71, end],
        [72, end],
      ],
    );
    expect(backend.prefilled).toBeLessThanOrEqual(79 + 80);
    expectIdle(backend, scheduler);
  });

  it("completions that come one after another are scored after the prompt each", async () => {
    const backend = new RecordingBackend({ rewinds: false });
    const scheduler = new Scheduler(backend);
    let told = 0;
    const task = scheduler.open({
      kind: "score",
      prompt: story,
      sequences: [],
      signal: forever(),
      onPrompt: () => told++,
    });
    for (const completion of [[70, end], [end], [71, 72, end]]) {
      const { sequence, done } = scoring(backend, completion);
      task.add(sequence);
      for (let turn = 0; turn < 50; turn++) await tick();
      expect(done).toEqual([expected(story, completion)]);
    }
    task.close();
    await task.done;
    expect(told).toBe(1);
    expectIdle(backend, scheduler);
  });
});

describe("whatever requests come at once", () => {
  interface Asked {
    /** Tokens of one of two stories, and tokens after it. */
    readonly story: number;
    readonly shared: number;
    readonly own: readonly Token[];
    readonly samples: number;
    readonly completions: readonly Token[][];
    /** Completions come when the samples are done, as candidates do; else with the request. */
    readonly after: boolean;
    readonly leaveAfter: number | null;
  }

  const token = fc.integer({ min: 2, max: 9 });
  const asked: fc.Arbitrary<Asked> = fc.record({
    story: fc.nat({ max: 1 }),
    shared: fc.constantFrom(0, 1, 33, 64, 90, 200),
    own: fc.array(token, { minLength: 1, maxLength: 40 }),
    samples: fc.nat({ max: 5 }),
    completions: fc.array(fc.array(token, { minLength: 1, maxLength: 12 }), { maxLength: 4 }),
    after: fc.boolean(),
    leaveAfter: fc.option(fc.nat({ max: 30 }), { freq: 4 }),
  });
  const machine = fc.record({
    rewinds: fc.boolean(),
    slots: fc.integer({ min: 1, max: 8 }),
    chunk: fc.constantFrom(1, 7, 16, 64),
  });

  it("each ends, and its sequences hold its prompt and what follows it, token for token", async () => {
    await fc.assert(
      fc.asyncProperty(machine, fc.array(asked, { minLength: 1, maxLength: 8 }), async (options, requests) => {
        const draw = (history: readonly Token[], seed: number) =>
          history.length % 7 === seed % 7 ? end : 65 + ((history.length + seed) % 20);
        const backend = new RecordingBackend({ ...options, draw, mostSteps: 20_000 });
        const scheduler = new Scheduler(backend);
        await Promise.all(requests.map((request) => ask(backend, scheduler, request)));
        expectIdle(backend, scheduler);
      }),
      { numRuns: 300 },
    );
  });

  async function ask(
    backend: RecordingBackend,
    scheduler: Scheduler,
    { story, shared, own, ...asked }: Asked,
  ): Promise<void> {
    const prompt = [...range(shared, 100 + story * 1000), ...own];
    const leave = new AbortController();
    const { signal } = leave;
    const sampled = Array.from({ length: asked.samples }, (_, seed) => sampling(backend, { seed }));
    const scored = asked.completions.map((completion) => ({ completion, ...scoring(backend, completion) }));
    const scoreLater = (): OpenTask => scheduler.open({ kind: "score", prompt, sequences: [], signal });
    const scoreNow = (task = scoreLater()): Promise<void> => {
      for (const { sequence } of scored) task.add(sequence);
      task.close();
      return task.done;
    };
    const sample = async (): Promise<void> => {
      // Candidates are scored as they end; the context for that is made ready while they are sampled.
      let later: OpenTask | undefined;
      const onPrompt = (): void => {
        if (!asked.after) return;
        later = scoreLater();
        later.done.catch(() => {}); // awaited once the samples are done; until then they fail by the same signal
      };
      const sequences = sampled.map(({ sequence }) => sequence);
      const sampling = scheduler.run({ kind: "sample", prompt, sequences, signal, onPrompt });
      await Promise.all([sampling, asked.after ? sampling.then(() => scoreNow(later)) : scoreNow()]);
    };
    const outcome = sample().then(
      () => {
        for (const { done } of sampled) expect(done[0]?.logprobs).toEqual(expected(prompt, done[0]?.tokens ?? []));
        for (const { completion, done } of scored) expect(done).toEqual([expected(prompt, completion)]);
      },
      (error: unknown) => expect([error, signal.aborted]).toMatchObject([{ code: "cancelled" }, true]),
    );
    for (let turn = 0; asked.leaveAfter !== null && turn < asked.leaveAfter; turn++) await tick();
    if (asked.leaveAfter !== null) leave.abort();
    await outcome;
  }
});

describe("200 random tasks", () => {
  it.each([
    ["sampling, scoring and cancelling on 5 slots", 1, 5, 16, 0],
    ["the same with steps of 2 tokens", 2, 3, 2, 0],
    ["with every 40th decode failing", 3, 6, 24, 40],
  ])("%s leak no sequence, and every score is that of the task alone", async (_, seed, slots, chunk, failEvery) => {
    const random = seeded(seed);
    const backend = new RecordingBackend({
      slots,
      chunk,
      draw: (history, drawn) => (history.length % 7 === drawn % 7 ? end : 65 + ((history.length + drawn) % 20)),
      beforeDecode: (_batch, step) => {
        if (failEvery > 0 && step % failEvery === failEvery - 1) throw new Error("the backend failed");
      },
    });
    const scheduler = new Scheduler(backend);
    const counts = { done: 0, cancelled: 0, failed: 0 };
    const runTask = async (): Promise<void> => {
      const leave = new AbortController();
      // Half of the prompts have a beginning in common with others.
      const common = range(random(2) * 60, 100 + random(2));
      const given = [...common, ...Array.from({ length: 1 + random(25) }, () => 2 + random(90))];
      const completions = Array.from({ length: random(4) }, () =>
        Array.from({ length: 1 + random(12) }, () => random(90)),
      );
      const scores = completions.map((completion) => scoring(backend, completion));
      const samples = Array.from({ length: scores.length > 0 ? 0 : 1 + random(4) }, () =>
        sampling(backend, { seed: random(100), logprobs: random(2) === 0 }),
      );
      const cancelAfter = random(4) === 0 ? random(15) : null;
      const running = run(
        scheduler,
        given,
        [...scores, ...samples].map(({ sequence }) => sequence),
        leave.signal,
      );
      const settled = running.then(
        () => {
          counts.done += 1;
          expect(scores.map(({ done }) => done)).toEqual(
            completions.map((completion) => [expected(given, completion)]),
          );
          for (const { done } of samples) {
            const [ended] = done as [Sample];
            if (ended.logprobs.length > 0) expect(ended.logprobs).toEqual(expected(given, ended.tokens));
          }
        },
        (error: { code?: string }) => {
          if (error.code === "cancelled") counts.cancelled += 1;
          else counts.failed += 1;
        },
      );
      for (let turn = 0; cancelAfter !== null && turn < cancelAfter; turn++) await tick();
      if (cancelAfter !== null) leave.abort();
      await settled;
    };
    const tasks: Promise<void>[] = [];
    for (let i = 0; i < 200; i++) {
      tasks.push(runTask());
      for (let turn = random(6); turn > 0; turn--) await tick();
    }
    await Promise.all(tasks);
    expect(counts.done + counts.cancelled + counts.failed).toBe(200);
    expect(counts.done).toBeGreaterThan(50);
    expect(counts.cancelled).toBeGreaterThan(5);
    expect(counts.failed > 0).toBe(failEvery > 0);
    expectIdle(backend, scheduler);
  });
});
