/**
 * @module Continuous batching: one loop owns all sequences. A task is one prompt with one or more branches (samples, or completions to
 * score). Its prompt is prefilled once, copied to a sequence per branch, and all branches of all tasks step together: each step takes the
 * decode tokens first, then scoring tokens and prefill chunks in order of arrival, up to `stepTokens`.
 */
import type { SamplingParameters, Token } from "../../engine/engine.ts";
import { cancelled } from "../../types/error.ts";

/** A row of a step's logits, valid until the next step. */
export type Logits = number & { readonly __logits: unique symbol };

/** Consecutive tokens of one sequence; logits are wanted at the given offsets. */
export interface Feed {
  readonly sequence: number;
  readonly position: number;
  readonly tokens: readonly Token[];
  readonly logits: readonly number[];
}

export interface Sampler {
  sample(row: Logits): Promise<Token>;
  dispose(): void;
}

/** What the scheduler needs of llama.cpp. */
export interface Backend {
  readonly sequences: number;
  /** Tokens per sequence. */
  readonly contextSize: number;
  /** Tokens per step, at most. */
  readonly stepTokens: number;
  /** `[feeds][offsets]`: rows of logits. */
  decode(feeds: readonly Feed[]): Promise<Logits[][]>;
  /** log π of each token at a row, in nats. */
  logprobs(row: Logits, tokens: readonly Token[]): Promise<number[]>;
  createSampler(parameters: SamplingParameters, seed: number): Sampler;
  /** The first `length` positions of the source become the target's. */
  copy(source: number, target: number, length: number): Promise<void>;
  truncate(sequence: number, length: number): void;
  clear(sequence: number): void;
}

/** What follows the prompt in one sequence. */
export interface Branch {
  /** Tokens to feed after the prompt's last one, logits wanted at each. */
  readonly start: readonly Token[];
  /** Takes the logits of the tokens just fed; returns what to feed next, nothing when done. */
  accept(rows: readonly Logits[]): Promise<readonly Token[]>;
  dispose(): void;
}

interface RunningBranch {
  readonly branch: Branch;
  sequence: number;
  position: number;
  queue: readonly Token[];
}

interface Task {
  readonly prompt: readonly Token[];
  readonly waiting: Branch[];
  readonly running: Set<RunningBranch>;
  /** Sequences of this task, ascending. */
  sequences: number[];
  /** Those of them that hold its prompt and wait for a branch. */
  idle: number[];
  /** Prompt tokens in the first sequence. The last prompt token is not prefilled: each branch feeds it, for its logits. */
  filled: number;
  readonly signal: AbortSignal;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

interface PlannedFeed {
  readonly task: Task;
  readonly feed: Feed;
  readonly branch?: RunningBranch;
}

export class Scheduler {
  readonly #backend: Backend;
  readonly #free: number[];
  readonly #queue: Task[] = [];
  #active: Task[] = [];
  #looping = false;

  constructor(backend: Backend) {
    this.#backend = backend;
    this.#free = Array.from({ length: backend.sequences }, (_, sequence) => sequence);
  }

  /** Tasks under way and waiting, and sequences not in use. */
  get load(): { active: number; waiting: number; freeSequences: number } {
    return { active: this.#active.length, waiting: this.#queue.length, freeSequences: this.#free.length };
  }

  /** Resolves when all branches are done. Throws "cancelled" within one step of the signal, or the backend's error. */
  run(prompt: readonly Token[], branches: readonly Branch[], signal: AbortSignal): Promise<void> {
    if (branches.length === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#queue.push({
        prompt,
        waiting: [...branches],
        running: new Set(),
        sequences: [],
        idle: [],
        filled: 0,
        signal,
        resolve,
        reject,
      });
      if (!this.#looping) void this.#loop();
    });
  }

  async #loop(): Promise<void> {
    this.#looping = true;
    for (;;) {
      this.#dropAborted();
      this.#admit();
      if (this.#active.length === 0) break;
      await this.#step();
    }
    this.#looping = false;
  }

  #dropAborted(): void {
    for (const task of [...this.#active, ...this.#queue])
      if (task.signal.aborted) this.#end(task, () => task.reject(cancelled(task.signal)));
  }

  /** First come, first served: a task starts when there is a sequence for each of its branches (or all there are). */
  #admit(): void {
    for (let task = this.#queue[0]; task !== undefined; task = this.#queue[0]) {
      const wanted = Math.min(task.waiting.length, this.#backend.sequences);
      if (this.#free.length < wanted) return;
      this.#queue.shift();
      task.sequences.push(...takeNeighbours(this.#free, wanted));
      this.#active.push(task);
    }
  }

  async #step(): Promise<void> {
    const planned = await this.#plan();
    if (planned.length === 0) return;
    let rows: Logits[][];
    try {
      rows = await this.#backend.decode(planned.map(({ feed }) => feed));
    } catch (error) {
      for (const task of new Set(planned.map(({ task }) => task))) this.#end(task, () => task.reject(error));
      return;
    }
    // A task that failed ends when none of its branches is at work any more.
    const settled = await Promise.allSettled(planned.map((entry, index) => this.#settle(entry, rows[index] ?? [])));
    for (const [index, { task }] of planned.entries()) {
      const outcome = settled[index];
      if (outcome?.status === "rejected") this.#end(task, () => task.reject(outcome.reason));
    }
    for (const task of [...this.#active]) {
      if (task.waiting.length > 0 || task.filled < task.prompt.length - 1) continue;
      if (task.running.size === 0) this.#end(task, task.resolve);
      else await this.#compact(task).catch((error: unknown) => this.#end(task, () => task.reject(error)));
    }
  }

  /** Moves running branches into the gaps that finished ones left, so that they stay neighbours, and frees the rest. */
  async #compact(task: Task): Promise<void> {
    const running = [...task.running].sort((a, b) => a.sequence - b.sequence);
    if (running.length === task.sequences.length) return;
    const kept = task.sequences.slice(0, running.length);
    const gaps = kept.filter((sequence) => !running.some((branch) => branch.sequence === sequence));
    for (const branch of running.filter(({ sequence }) => !kept.includes(sequence))) {
      const gap = gaps.shift() as number;
      await this.#backend.copy(branch.sequence, gap, branch.position);
      branch.sequence = gap;
    }
    this.#release(task.sequences.slice(running.length));
    task.sequences = kept;
  }

  #release(sequences: readonly number[]): void {
    for (const sequence of sequences) this.#backend.clear(sequence);
    this.#free.push(...sequences);
    this.#free.sort((a, b) => a - b);
  }

  async #plan(): Promise<PlannedFeed[]> {
    for (const task of [...this.#active]) {
      try {
        await this.#fork(task);
      } catch (error) {
        this.#end(task, () => task.reject(error));
      }
    }
    let budget = this.#backend.stepTokens;
    const planned: PlannedFeed[] = [];
    const add = (task: Task, branch: RunningBranch): void => {
      const tokens = branch.queue.slice(0, budget);
      if (tokens.length === 0) return;
      budget -= tokens.length;
      const feed = { sequence: branch.sequence, position: branch.position, tokens, logits: [...tokens.keys()] };
      planned.push({ task, branch, feed });
    };
    for (const task of this.#active) for (const branch of task.running) if (branch.queue.length === 1) add(task, branch);
    for (const task of this.#active) {
      for (const branch of task.running) if (branch.queue.length > 1) add(task, branch);
      const sequence = task.sequences[0];
      const tokens = task.prompt.slice(task.filled, Math.min(task.prompt.length - 1, task.filled + budget));
      if (sequence === undefined || tokens.length === 0) continue;
      budget -= tokens.length;
      planned.push({ task, feed: { sequence, position: task.filled, tokens, logits: [] } });
    }
    return planned.sort((a, b) => a.feed.sequence - b.feed.sequence);
  }

  /** Starts waiting branches on the task's idle sequences, once its prompt is filled. */
  async #fork(task: Task): Promise<void> {
    const length = task.prompt.length - 1;
    const [first, ...others] = task.sequences;
    if (task.filled < length || first === undefined) return;
    if (task.running.size === 0 && task.idle.length === 0) {
      for (const sequence of others) await this.#backend.copy(first, sequence, length);
      task.idle = [...task.sequences];
    }
    while (task.idle.length > 0 && task.waiting.length > 0) {
      const sequence = task.idle.shift() as number;
      const branch = task.waiting.shift() as Branch;
      task.running.add({ branch, sequence, position: length, queue: [...task.prompt.slice(length), ...branch.start] });
    }
  }

  async #settle({ task, feed, branch }: PlannedFeed, rows: readonly Logits[]): Promise<void> {
    if (branch === undefined) {
      task.filled += feed.tokens.length;
      return;
    }
    if (rows.length !== feed.logits.length) throw new Error(`A step returned ${rows.length} rows of logits, not ${feed.logits.length}`);
    branch.position += feed.tokens.length;
    branch.queue = branch.queue.slice(feed.tokens.length);
    const next = await branch.branch.accept(rows);
    if (branch.queue.length > 0) return;
    branch.queue = next;
    if (next.length > 0) return;
    task.running.delete(branch);
    branch.branch.dispose();
    if (task.waiting.length === 0) return;
    this.#backend.truncate(branch.sequence, task.prompt.length - 1);
    task.idle.push(branch.sequence);
  }

  /** Frees everything a task holds. A task ends once. */
  #end(task: Task, settle: () => void): void {
    const known = this.#active.includes(task) || this.#queue.includes(task);
    if (!known) return;
    this.#active = this.#active.filter((other) => other !== task);
    const position = this.#queue.indexOf(task);
    if (position >= 0) this.#queue.splice(position, 1);
    for (const { branch } of task.running) branch.dispose();
    for (const branch of task.waiting) branch.dispose();
    this.#release(task.sequences);
    settle();
  }
}

/** Takes `count` of the free sequences, neighbours if there are any: llama.cpp steps only neighbouring sequences together. */
function takeNeighbours(free: number[], count: number): number[] {
  const start = free.findIndex((first, index) => free[index + count - 1] === first + count - 1);
  return free.splice(Math.max(0, start), count);
}
