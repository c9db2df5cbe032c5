/** Continuous batching on a backend that remembers what each sequence holds and objects to every wrong position, copy and row. */
import { describe, expect, it } from "vitest";
import type { Sample, SamplingParameters, Token } from "../../src/engine/engine.ts";
import { SampleBranch, ScoreBranch } from "../../src/node/llama/branches.ts";
import { type Backend, type Branch, type Feed, type Logits, type Sampler, Scheduler } from "../../src/node/llama/scheduler.ts";
import { TextStream } from "../../src/node/llama/text-stream.ts";

const end: Token = 0;
/** A second control token, which ends a completion as well. */
const otherControl: Token = 1;
const parameters: SamplingParameters = { temperature: 1, topP: 1, topK: 0, maxTokens: 8, stop: [] };

/** The model: log π(token ∣ everything before it), any function that tells histories apart. */
function logprob(history: readonly Token[], token: Token): number {
  const hash = [...history, token].reduce((sum, value, place) => (sum * 31 + value * (place + 7)) % 9973, 17);
  return -hash / 100;
}

interface BackendOptions {
  readonly sequences?: number;
  readonly stepTokens?: number;
  readonly contextSize?: number;
  /** Called before each decode with its feeds; may act or throw. */
  readonly beforeDecode?: (feeds: readonly Feed[], step: number) => void;
  /** What a sampler draws after a history. */
  readonly draw?: (history: readonly Token[], seed: number) => Token;
}

class RecordingBackend implements Backend {
  readonly sequences: number;
  readonly stepTokens: number;
  readonly contextSize: number;
  readonly steps: (readonly Feed[])[] = [];
  readonly copies: { source: number; target: number; length: number }[] = [];
  readonly violations: string[] = [];
  openSamplers = 0;
  readonly #options: BackendOptions;
  readonly #held = new Map<number, Token[]>();
  #rows: (readonly Token[])[] = [];
  #firstRow = 0;

  constructor(options: BackendOptions = {}) {
    this.#options = options;
    this.sequences = options.sequences ?? 4;
    this.stepTokens = options.stepTokens ?? 64;
    this.contextSize = options.contextSize ?? 1000;
  }

  /** Sequences that hold any tokens. */
  get held(): number[] {
    return [...this.#held.keys()];
  }

  async decode(feeds: readonly Feed[]): Promise<Logits[][]> {
    const step = this.steps.push(feeds) - 1;
    const total = feeds.reduce((sum, { tokens }) => sum + tokens.length, 0);
    this.#check(feeds.length > 0 && total > 0, "a decode without tokens");
    this.#check(total <= this.stepTokens, `${total} tokens in a step of ${this.stepTokens}`);
    this.#check(new Set(feeds.map(({ sequence }) => sequence)).size === feeds.length, "a sequence fed twice in one decode");
    await tick();
    this.#options.beforeDecode?.(feeds, step);
    this.#firstRow += this.#rows.length;
    this.#rows = [];
    return feeds.map(({ sequence, position, tokens, logits }) => {
      const held = this.#tokensOf(sequence);
      this.#check(position === held.length, `sequence ${sequence} holds ${held.length} tokens and is fed at ${position}`);
      const whole = [...held, ...tokens];
      this.#check(whole.length <= this.contextSize, `sequence ${sequence} runs over its context`);
      this.#held.set(sequence, whole);
      return logits.map((offset) => {
        this.#check(offset >= 0 && offset < tokens.length, `logits wanted at ${offset} of ${tokens.length} tokens`);
        return (this.#firstRow + this.#rows.push(whole.slice(0, held.length + offset + 1)) - 1) as Logits;
      });
    });
  }

  async logprobs(row: Logits, tokens: readonly Token[]): Promise<number[]> {
    const history = this.#history(row);
    await tick();
    return tokens.map((token) => logprob(history, token));
  }

  createSampler(_parameters: SamplingParameters, seed: number): Sampler {
    this.openSamplers += 1;
    let disposed = false;
    return {
      sample: async (row) => {
        this.#check(!disposed, "a disposed sampler is used");
        const history = this.#history(row);
        await tick();
        this.#check(!disposed, "a sampler is disposed while it samples");
        return this.#options.draw?.(history, seed) ?? end;
      },
      dispose: () => {
        this.#check(!disposed, "a sampler is disposed twice");
        disposed = true;
        this.openSamplers -= 1;
      },
    };
  }

  async copy(source: number, target: number, length: number): Promise<void> {
    await tick();
    const held = this.#tokensOf(source);
    this.#check(source !== target && this.#inRange(target), `a copy from ${source} to ${target}`);
    this.#check(held.length === length, `${length} tokens copied from a sequence of ${held.length}`);
    this.copies.push({ source, target, length });
    if (length > 0) this.#held.set(target, held.slice(0, length));
  }

  truncate(sequence: number, length: number): void {
    const held = this.#tokensOf(sequence);
    this.#check(length <= held.length, `sequence ${sequence} of ${held.length} tokens cut to ${length}`);
    if (length === 0) this.#held.delete(sequence);
    else this.#held.set(sequence, held.slice(0, length));
  }

  clear(sequence: number): void {
    this.#check(this.#inRange(sequence), `sequence ${sequence} cleared`);
    this.#held.delete(sequence);
  }

  #tokensOf(sequence: number): Token[] {
    this.#check(this.#inRange(sequence), `there is no sequence ${sequence}`);
    return this.#held.get(sequence) ?? [];
  }

  #inRange(sequence: number): boolean {
    return Number.isInteger(sequence) && sequence >= 0 && sequence < this.sequences;
  }

  #history(row: Logits): readonly Token[] {
    const history = this.#rows[row - this.#firstRow];
    this.#check(history !== undefined, `row ${row} is not of the last step`);
    return history ?? [];
  }

  #check(holds: boolean, complaint: string): void {
    if (!holds) this.violations.push(complaint);
  }
}

function tick(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Feeds `count` further tokens, one a step. */
class SteppingBranch implements Branch {
  readonly start: readonly Token[] = [];
  readonly rows: Logits[] = [];
  disposals = 0;
  #left: number;

  constructor(count: number) {
    this.#left = count;
  }

  async accept(rows: readonly Logits[]): Promise<readonly Token[]> {
    this.rows.push(...rows);
    return this.#left-- > 0 ? [9] : [];
  }

  dispose(): void {
    this.disposals += 1;
  }
}

const stepping = (branches: number, steps: number): SteppingBranch[] => Array.from({ length: branches }, () => new SteppingBranch(steps));
const forever = () => new AbortController().signal;
const range = (length: number, from = 2): Token[] => Array.from({ length }, (_, i) => from + i);

/** What every test may expect once nothing is left to do. */
function expectIdle(backend: RecordingBackend, scheduler: Scheduler): void {
  expect(backend.violations).toEqual([]);
  expect(scheduler.load).toEqual({ active: 0, waiting: 0, freeSequences: backend.sequences });
  expect(backend.held).toEqual([]);
  expect(backend.openSamplers).toBe(0);
}

const tokensOf = (steps: readonly (readonly Feed[])[]): (readonly Token[])[][] => steps.map((feeds) => feeds.map(({ tokens }) => tokens));

describe("one task", () => {
  it("prefills its prompt once and copies it to a sequence for each branch", async () => {
    const backend = new RecordingBackend();
    const scheduler = new Scheduler(backend);
    await scheduler.run([5, 6, 7, 8], stepping(3, 1), forever());
    expect(backend.steps[0]).toMatchObject([{ position: 0, tokens: [5, 6, 7], logits: [] }]);
    const source = backend.steps[0]?.[0]?.sequence;
    expect(backend.copies).toHaveLength(2);
    expect(backend.copies.every((copy) => copy.source === source && copy.length === 3)).toBe(true);
    expect(backend.steps[1]).toHaveLength(3);
    expect(backend.steps[1]?.every(({ position, tokens, logits }) => position === 3 && tokens[0] === 8 && logits[0] === 0)).toBe(true);
    expect(new Set(backend.steps[1]?.map(({ sequence }) => sequence)).size).toBe(3);
    expect(backend.steps).toHaveLength(3);
    expectIdle(backend, scheduler);
  });

  it("with a prompt of one token needs no prefill", async () => {
    const backend = new RecordingBackend();
    const scheduler = new Scheduler(backend);
    await scheduler.run([5], stepping(2, 0), forever());
    expect(backend.steps).toHaveLength(1);
    expect(backend.steps[0]).toMatchObject([
      { position: 0, tokens: [5], logits: [0] },
      { position: 0, tokens: [5], logits: [0] },
    ]);
    expectIdle(backend, scheduler);
  });

  it("with one branch copies nothing", async () => {
    const backend = new RecordingBackend();
    const scheduler = new Scheduler(backend);
    await scheduler.run(range(10), stepping(1, 2), forever());
    expect(backend.copies).toEqual([]);
    expectIdle(backend, scheduler);
  });

  it("prefills in chunks of at most a step", async () => {
    const backend = new RecordingBackend({ stepTokens: 4 });
    const scheduler = new Scheduler(backend);
    await scheduler.run([2, 3, 4, 5, 6, 7, 8, 9, 10, 11], stepping(1, 0), forever());
    expect(tokensOf(backend.steps)).toEqual([[[2, 3, 4, 5]], [[6, 7, 8, 9]], [[10]], [[11]]]);
    expect(backend.steps.map((feeds) => feeds[0]?.position)).toEqual([0, 4, 8, 9]);
    expectIdle(backend, scheduler);
  });

  it("with more branches than sequences runs them in waves over one prefill", async () => {
    const backend = new RecordingBackend({ sequences: 2 });
    const scheduler = new Scheduler(backend);
    const branches = [3, 0, 1, 2, 0].map((count) => new SteppingBranch(count));
    await scheduler.run([5, 6, 7], branches, forever());
    expect(backend.steps.flat().filter(({ position }) => position === 0)).toHaveLength(1);
    expect(Math.max(...backend.steps.map((feeds) => feeds.length))).toBe(2);
    expect(branches.map(({ rows }) => rows.length)).toEqual([4, 1, 2, 3, 1]);
    expect(branches.map(({ disposals }) => disposals)).toEqual([1, 1, 1, 1, 1]);
    expectIdle(backend, scheduler);
  });

  it("with 500 branches on 3 sequences finishes them all", async () => {
    const backend = new RecordingBackend({ sequences: 3 });
    const scheduler = new Scheduler(backend);
    const branches = stepping(500, 0);
    await scheduler.run([5, 6], branches, forever());
    expect(branches.every(({ rows, disposals }) => rows.length === 1 && disposals === 1)).toBe(true);
    expectIdle(backend, scheduler);
  });

  it("with no branches is done at once", async () => {
    const backend = new RecordingBackend();
    const scheduler = new Scheduler(backend);
    // A loop that never ends would hold up the test's own clock: this signal fires when it has been looked at a thousand times.
    let looks = 0;
    const signal = Object.defineProperty(forever(), "aborted", { get: () => ++looks > 1000 });
    await expect(scheduler.run([5, 6], [], signal)).resolves.toBeUndefined();
    expect(backend.steps).toEqual([]);
    expectIdle(backend, scheduler);
  });
});

describe("neighbouring sequences", () => {
  const sequencesOf = (steps: readonly (readonly Feed[])[]): number[][] => steps.map((feeds) => feeds.map(({ sequence }) => sequence));

  it("stay together when a branch between others ends", async () => {
    const backend = new RecordingBackend({ sequences: 3 });
    const scheduler = new Scheduler(backend);
    const branches = [new SteppingBranch(4), new SteppingBranch(0), new SteppingBranch(4)];
    await scheduler.run([5, 6], branches, forever());
    // prefill; all three; then the third branch in the second one's place
    expect(sequencesOf(backend.steps)).toEqual([[0], [0, 1, 2], [0, 1], [0, 1], [0, 1], [0, 1]]);
    expect(backend.copies.at(-1)).toEqual({ source: 2, target: 1, length: 2 });
    expect(branches.map(({ rows }) => rows.length)).toEqual([5, 1, 5]);
    expectIdle(backend, scheduler);
  });

  it("are fed in ascending order, whatever the order of arrival", async () => {
    const backend = new RecordingBackend({ sequences: 4 });
    const scheduler = new Scheduler(backend);
    const first = scheduler.run([5, 6], stepping(2, 1), forever());
    const second = scheduler.run([5, 6], stepping(2, 9), forever());
    await first;
    const third = scheduler.run([5, 6], stepping(2, 3), forever());
    await Promise.all([second, third]);
    for (const sequences of sequencesOf(backend.steps)) expect(sequences).toEqual(sequences.toSorted((a, b) => a - b));
    expectIdle(backend, scheduler);
  });

  it("are given to a waiting task as soon as branches end", async () => {
    const backend = new RecordingBackend({ sequences: 3 });
    const scheduler = new Scheduler(backend);
    const order: string[] = [];
    const long = [new SteppingBranch(0), new SteppingBranch(20), new SteppingBranch(0)];
    const first = scheduler.run([5, 6], long, forever()).then(() => order.push("first"));
    const second = scheduler.run([7, 8], stepping(2, 2), forever()).then(() => order.push("second"));
    await Promise.all([first, second]);
    expect(order).toEqual(["second", "first"]);
    expectIdle(backend, scheduler);
  });
});

describe("several tasks", () => {
  it("step together: one decode holds the branches of all", async () => {
    const backend = new RecordingBackend();
    const scheduler = new Scheduler(backend);
    await Promise.all([scheduler.run([5, 6], stepping(2, 3), forever()), scheduler.run([7, 8], stepping(1, 3), forever())]);
    // The first step prefills what was there first; the rest are shared.
    expect(backend.steps.some((feeds) => feeds.length === 3 && feeds.every(({ tokens }) => tokens.length === 1))).toBe(true);
    expect(backend.steps.length).toBeLessThanOrEqual(6);
    expectIdle(backend, scheduler);
  });

  it("share a step's tokens: decode tokens first, then the prefill of the next prompt, in order of arrival", async () => {
    const backend = new RecordingBackend({ stepTokens: 4 });
    const scheduler = new Scheduler(backend);
    await Promise.all([
      scheduler.run([5], stepping(1, 8), forever()),
      scheduler.run(range(9, 20), stepping(1, 0), forever()),
      scheduler.run(range(9, 40), stepping(1, 0), forever()),
    ]);
    const shared = tokensOf(backend.steps).slice(1, 3);
    // One token is decoded for the first task, so the second's prompt gets the other three.
    expect(shared.map((feeds) => feeds.map((tokens) => tokens.length))).toEqual([
      [1, 3],
      [1, 3],
    ]);
    expect(shared[0]?.[1]?.[0]).toBeLessThan(40);
    const firstOf = (from: number) => backend.steps.findIndex((feeds) => feeds.some(({ tokens }) => (tokens[0] as number) >= from));
    expect(firstOf(40)).toBeGreaterThan(firstOf(20));
    expectIdle(backend, scheduler);
  });

  it("are served in the order they came: a narrow task does not overtake a wide one", async () => {
    const backend = new RecordingBackend({ sequences: 3 });
    const scheduler = new Scheduler(backend);
    const order: string[] = [];
    const run = (name: string, prompt: Token[], branches: number) =>
      scheduler.run(prompt, stepping(branches, 4), forever()).then(() => order.push(name));
    const done = [run("first", [5], 2), run("wide", [6], 3), run("narrow", [7], 1)];
    expect(scheduler.load.active + scheduler.load.waiting).toBe(3);
    await Promise.all(done);
    expect(order).toEqual(["first", "wide", "narrow"]);
    const narrow = backend.steps.findIndex((feeds) => feeds.some(({ tokens }) => tokens[0] === 7));
    const wide = backend.steps.findIndex((feeds) => feeds.some(({ tokens }) => tokens[0] === 6));
    expect(narrow).toBeGreaterThan(wide);
    expectIdle(backend, scheduler);
  });

  it("start as soon as there are sequences for them, while others run", async () => {
    const backend = new RecordingBackend({ sequences: 2 });
    const scheduler = new Scheduler(backend);
    await Promise.all([
      scheduler.run([5], stepping(1, 10), forever()),
      scheduler.run([6], stepping(1, 1), forever()),
      scheduler.run([7], stepping(1, 1), forever()),
    ]);
    const last = backend.steps.findIndex((feeds) => feeds.some(({ tokens }) => tokens[0] === 7));
    expect(last).toBeLessThan(10);
    expect(backend.steps[last]).toHaveLength(2);
    expectIdle(backend, scheduler);
  });

  it("run after the scheduler had gone idle", async () => {
    const backend = new RecordingBackend();
    const scheduler = new Scheduler(backend);
    await scheduler.run([5, 6], stepping(1, 1), forever());
    await scheduler.run([7, 8], stepping(4, 1), forever());
    expectIdle(backend, scheduler);
  });
});

describe("cancellation", () => {
  it("before a task begins decodes nothing for it", async () => {
    const backend = new RecordingBackend();
    const scheduler = new Scheduler(backend);
    const branches = stepping(2, 3);
    await expect(scheduler.run([5, 6], branches, AbortSignal.abort())).rejects.toMatchObject({ code: "cancelled" });
    expect(backend.steps).toEqual([]);
    expect(branches.map(({ disposals }) => disposals)).toEqual([1, 1]);
    expectIdle(backend, scheduler);
  });

  it("while waiting takes the task out of the queue, and the others go on", async () => {
    const leave = new AbortController();
    const backend = new RecordingBackend({
      sequences: 1,
      beforeDecode: (_, step) => {
        if (step === 1) leave.abort();
      },
    });
    const scheduler = new Scheduler(backend);
    const branches = stepping(1, 1);
    const first = scheduler.run([5], stepping(1, 5), forever());
    const second = scheduler.run([6], branches, leave.signal);
    const third = scheduler.run([7], stepping(1, 1), forever());
    await expect(second).rejects.toMatchObject({ code: "cancelled" });
    expect(scheduler.load).toMatchObject({ active: 1, waiting: 1 });
    await Promise.all([first, third]);
    expect(backend.steps.flat().some(({ tokens }) => tokens[0] === 6)).toBe(false);
    expect(branches[0]?.disposals).toBe(1);
    expectIdle(backend, scheduler);
  });

  it("while prefilling frees all sequences of the task within a step", async () => {
    const leave = new AbortController();
    const backend = new RecordingBackend({
      stepTokens: 4,
      beforeDecode: (_, step) => {
        if (step === 1) leave.abort();
      },
    });
    const scheduler = new Scheduler(backend);
    const branches = stepping(3, 2);
    await expect(scheduler.run(range(30), branches, leave.signal)).rejects.toMatchObject({ code: "cancelled" });
    expect(backend.steps).toHaveLength(2);
    expect(branches.map(({ disposals }) => disposals)).toEqual([1, 1, 1]);
    expectIdle(backend, scheduler);
  });

  it("while decoding frees all sequences of the task within a step, waiting branches among them", async () => {
    const leave = new AbortController();
    const backend = new RecordingBackend({
      sequences: 3,
      beforeDecode: (_, step) => {
        if (step === 4) leave.abort();
      },
    });
    const scheduler = new Scheduler(backend);
    const branches = stepping(5, 50);
    await expect(scheduler.run([5, 6], branches, leave.signal)).rejects.toMatchObject({ code: "cancelled" });
    expect(backend.steps).toHaveLength(5);
    expect(branches.map(({ disposals }) => disposals)).toEqual([1, 1, 1, 1, 1]);
    expectIdle(backend, scheduler);
  });

  it("of one task leaves the tokens and positions of the others alone", async () => {
    const leave = new AbortController();
    const backend = new RecordingBackend({
      sequences: 3,
      beforeDecode: (_, step) => {
        if (step === 3) leave.abort();
      },
    });
    const scheduler = new Scheduler(backend);
    const kept = stepping(1, 10);
    const cancelled = scheduler.run([5, 6, 7], stepping(2, 50), leave.signal);
    const others = [scheduler.run([8, 9], kept, forever()), scheduler.run([10, 11], stepping(2, 4), forever())];
    await expect(cancelled).rejects.toMatchObject({ code: "cancelled" });
    await Promise.all(others);
    expect(kept[0]?.rows).toHaveLength(11);
    expectIdle(backend, scheduler);
  });

  it("by a deadline is a timeout", async () => {
    const signal = AbortSignal.abort(new DOMException("too late", "TimeoutError"));
    await expect(new Scheduler(new RecordingBackend()).run([5], stepping(1, 1), signal)).rejects.toMatchObject({ code: "timeout" });
  });
});

describe("failures", () => {
  const failure = new Error("the backend failed");

  it("of a decode reject the tasks in that step only, and free their sequences", async () => {
    const backend = new RecordingBackend({
      stepTokens: 4,
      beforeDecode: (_, step) => {
        if (step === 1) throw failure;
      },
    });
    const scheduler = new Scheduler(backend);
    // The first prompt takes the whole of the first three steps: the second task has begun, but is in none of them.
    const first = scheduler.run(range(12), stepping(2, 1), forever());
    const second = scheduler.run([50, 51], stepping(2, 1), forever());
    await expect(first).rejects.toBe(failure);
    await expect(second).resolves.toBeUndefined();
    expectIdle(backend, scheduler);
  });

  it("of a decode reject every task in the step", async () => {
    const backend = new RecordingBackend({
      beforeDecode: (feeds) => {
        if (feeds.length === 3) throw failure;
      },
    });
    const scheduler = new Scheduler(backend);
    const branches = stepping(3, 9);
    const tasks = [scheduler.run([5], branches.slice(0, 1), forever()), scheduler.run([6], branches.slice(1), forever())];
    expect(await Promise.allSettled(tasks)).toEqual([
      { status: "rejected", reason: failure },
      { status: "rejected", reason: failure },
    ]);
    expect(branches.map(({ disposals }) => disposals)).toEqual([1, 1, 1]);
    expectIdle(backend, scheduler);
  });

  it("do not keep later tasks from running", async () => {
    const backend = new RecordingBackend({
      beforeDecode: (_, step) => {
        if (step === 0) throw failure;
      },
    });
    const scheduler = new Scheduler(backend);
    await expect(scheduler.run([5, 6], stepping(4, 1), forever())).rejects.toBe(failure);
    await scheduler.run([5, 6], stepping(4, 1), forever());
    expectIdle(backend, scheduler);
  });

  it("of a copy reject that task only", async () => {
    class FailingCopy extends RecordingBackend {
      override async copy(source: number, target: number, length: number): Promise<void> {
        if (length === 2) throw failure;
        await super.copy(source, target, length);
      }
    }
    const backend = new FailingCopy();
    const scheduler = new Scheduler(backend);
    const failing = scheduler.run([5, 6, 7], stepping(2, 3), forever());
    const fine = scheduler.run([8, 9], stepping(2, 3), forever());
    await expect(failing).rejects.toBe(failure);
    await fine;
    expectIdle(backend, scheduler);
  });

  it("of a branch reject its task only, and dispose of each branch once", async () => {
    class FailingBranch extends SteppingBranch {
      override async accept(): Promise<never> {
        throw failure;
      }
    }
    const backend = new RecordingBackend({ sequences: 4 });
    const scheduler = new Scheduler(backend);
    const branches = [new FailingBranch(0), ...stepping(4, 0)];
    const failing = scheduler.run([5, 6], branches, forever());
    const fine = scheduler.run([8, 9], stepping(1, 3), forever());
    await expect(failing).rejects.toBe(failure);
    await fine;
    expect(branches.map(({ disposals }) => disposals)).toEqual([1, 1, 1, 1, 1]);
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
    const tasks = scheduler.run(
      [5, 6],
      [sampling(backend, { sampler: failing }).branch, sampling(backend, { sampler: healthy }).branch],
      forever(),
    );
    await expect(tasks).rejects.toBe(failure);
    await tick();
    expectIdle(backend, scheduler);
  });

  it("to return as many rows as were asked for are errors, never short scores", async () => {
    class ShortBackend extends RecordingBackend {
      override async decode(feeds: readonly Feed[]): Promise<Logits[][]> {
        return (await super.decode(feeds)).map((rows) => rows.slice(1));
      }
    }
    const backend = new ShortBackend();
    const scheduler = new Scheduler(backend);
    const { branch } = scoring(backend, [10, 11, 12, end]);
    await expect(scheduler.run([5, 6], [branch], forever())).rejects.toThrow();
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

/** A branch that samples, with what it says and what it ends in. */
function sampling(backend: RecordingBackend, options: SamplingOptions = {}) {
  const { maxTokens = 8, logprobs = true, stop = [], seed = 1 } = options;
  const said: string[] = [];
  const done: Sample[] = [];
  const branch = new SampleBranch({
    backend,
    sampler: options.sampler ?? backend.createSampler(parameters, seed),
    text: new TextStream((tokens) => tokens.map((token) => String.fromCharCode(token)).join(""), stop),
    request: { maxTokens, logprobs },
    end,
    closes: (token) => token === end || token === otherControl,
    onText: (text) => void said.push(text),
    onDone: (sample) => void done.push(sample),
  });
  return { branch, said, done };
}

function scoring(backend: RecordingBackend, completion: readonly Token[]) {
  const done: number[][] = [];
  return { branch: new ScoreBranch(backend, completion, (logprobs) => void done.push(logprobs)), done };
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
    const { branch, done } = scoring(backend, [70, 71, 72, end]);
    await scheduler.run(prompt, [branch], forever());
    expect(done).toEqual([expected(prompt, [70, 71, 72, end])]);
    // The prompt's last token and the completion but for its last: nothing is fed in vain.
    expect(backend.steps[1]).toMatchObject([{ position: 2, tokens: [22, 70, 71, 72], logits: [0, 1, 2, 3] }]);
    expectIdle(backend, scheduler);
  });

  it("lines up when a completion spans several steps", async () => {
    const backend = new RecordingBackend({ stepTokens: 3 });
    const scheduler = new Scheduler(backend);
    const completion = [...range(10, 60), end];
    const { branch, done } = scoring(backend, completion);
    await scheduler.run(prompt, [branch], forever());
    expect(backend.steps.length).toBeGreaterThan(4);
    expect(done).toEqual([expected(prompt, completion)]);
    expectIdle(backend, scheduler);
  });

  it("scores completions of different lengths after one prompt, that of the end token alone among them", async () => {
    const backend = new RecordingBackend({ sequences: 2, stepTokens: 5 });
    const scheduler = new Scheduler(backend);
    const completions = [[end], [70, end], range(9, 60), [70, end]];
    const branches = completions.map((completion) => scoring(backend, completion));
    await scheduler.run(
      prompt,
      branches.map(({ branch }) => branch),
      forever(),
    );
    expect(branches.map(({ done }) => done)).toEqual(completions.map((completion) => [expected(prompt, completion)]));
    expectIdle(backend, scheduler);
  });
});

describe("sampling", () => {
  const sample = async (draw: (history: readonly Token[]) => Token, options: SamplingOptions = {}) => {
    const backend = new RecordingBackend({ draw });
    const scheduler = new Scheduler(backend);
    const { branch, said, done } = sampling(backend, options);
    await scheduler.run(prompt, [branch], forever());
    expect(done).toHaveLength(1);
    expectIdle(backend, scheduler);
    return { sample: done[0] as Sample, said, backend };
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
    expect(ended).toEqual({ text: "", finish: "stop", tokens: [], logprobs: [], endLogprobs: [logprob(prompt, end)] });
    expect(said).toEqual([]);
  });

  it("ends at maxTokens with finish length, and notes how likely the end was there", async () => {
    const { sample: ended } = await sample(drawing("endless text"), { maxTokens: 3 });
    expect(ended).toMatchObject({ text: "end", finish: "length", tokens: [101, 110, 100] });
    expect(ended.endLogprobs).toHaveLength(4);
    expect(ended.endLogprobs[3]).toBe(logprob([...prompt, 101, 110, 100], end));
  });

  it("does not feed the last token where nothing is noted", async () => {
    const { backend, sample: ended } = await sample(drawing("endless text"), { maxTokens: 3, logprobs: false });
    expect(ended).toEqual({ text: "end", finish: "length", tokens: [101, 110, 100], logprobs: [], endLogprobs: [] });
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

  it("notes log π of every sampled token, and of the end before each", async () => {
    const { sample: ended } = await sample(drawing("abc"));
    expect(ended.logprobs).toEqual(expected(prompt, [97, 98, 99]));
    expect(ended.endLogprobs).toEqual([[], [97], [97, 98], [97, 98, 99]].map((before) => logprob([...prompt, ...before], end)));
  });

  it("notes the same sum as teacher forcing gives", async () => {
    const { sample: ended } = await sample(drawing("abc"));
    const backend = new RecordingBackend();
    const { branch, done } = scoring(backend, [97, 98, 99, end]);
    await new Scheduler(backend).run(prompt, [branch], forever());
    expect([...ended.logprobs, ended.endLogprobs[3]]).toEqual(done[0]);
  });

  it("gives each branch its own sampler", async () => {
    const backend = new RecordingBackend({ draw: (history, seed) => (history.length < 6 ? 64 + seed : end) });
    const scheduler = new Scheduler(backend);
    const branches = [1, 2, 3].map((seed) => sampling(backend, { seed }));
    await scheduler.run(
      prompt,
      branches.map(({ branch }) => branch),
      forever(),
    );
    expect(branches.map(({ done }) => done[0]?.text)).toEqual(["AAA", "BBB", "CCC"]);
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

describe("200 random tasks", () => {
  it.each([
    ["sampling, scoring and cancelling on 5 sequences", 1, 5, 16, 0],
    ["the same with steps of 2 tokens", 2, 3, 2, 0],
    ["with every 40th decode failing", 3, 6, 24, 40],
  ])("%s leak no sequence, and every score is that of the task alone", async (_, seed, sequences, stepTokens, failEvery) => {
    const random = seeded(seed);
    const backend = new RecordingBackend({
      sequences,
      stepTokens,
      draw: (history, drawn) => (history.length % 7 === drawn % 7 ? end : 65 + ((history.length + drawn) % 20)),
      beforeDecode: (_feeds, step) => {
        if (failEvery > 0 && step % failEvery === failEvery - 1) throw new Error("the backend failed");
      },
    });
    const scheduler = new Scheduler(backend);
    const counts = { done: 0, cancelled: 0, failed: 0 };
    const runTask = async (): Promise<void> => {
      const leave = new AbortController();
      const given = Array.from({ length: 1 + random(25) }, () => 2 + random(90));
      const completions = Array.from({ length: random(4) }, () => Array.from({ length: 1 + random(12) }, () => random(90)));
      const scores = completions.map((completion) => scoring(backend, completion));
      const samples = Array.from({ length: 1 + random(4) }, () => sampling(backend, { seed: random(100), logprobs: random(2) === 0 }));
      const cancelAfter = random(4) === 0 ? random(15) : null;
      const running = scheduler.run(
        given,
        [...scores, ...samples].map(({ branch }) => branch),
        leave.signal,
      );
      const settled = running.then(
        () => {
          counts.done += 1;
          expect(scores.map(({ done }) => done)).toEqual(completions.map((completion) => [expected(given, completion)]));
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
