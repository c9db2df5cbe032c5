/**
 * @module Continuous batching: one loop owns all sequences. A task is one prompt with one or more branches (samples, or completions to
 * score). Its prompt is prefilled once, copied to a lane per branch, and all branches of all tasks step together. A step holds one token of
 * every running sample, and a chunk of what can wait: prompts, and completions to score (`plan.ts`).
 */

import { cancelled } from "../../types/error.ts";
import type { SampleRequest, Token } from "../engine.ts";
import { Pace } from "./pace.ts";
import { allot, type Portion } from "./plan.ts";
import { type Ownership, type Prefix, type SequenceMemory, Sequences, undivided } from "./slots.ts";

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

export interface TopLogprobs {
  readonly logprob: number;
  readonly top: readonly (readonly [token: Token, logprob: number])[];
}

/** What the scheduler needs of llama.cpp. */
export interface Backend extends SequenceMemory {
  /** Tokens per sequence. */
  readonly contextSize: number;
  /** Tokens per step, at most. */
  readonly stepTokens: number;
  /** Prompt tokens a second, measured at the start. */
  readonly prefillSpeed: number;
  /** Threads that steps use at present. */
  readonly threads: number;
  /** `[feeds][offsets]`: rows of logits. */
  decode(feeds: readonly Feed[]): Promise<Logits[][]>;
  /** log π of each token at a row, in nats. */
  logprobs(row: Logits, tokens: readonly Token[]): Promise<number[]>;
  /** log π of a token at a row, and `[count]` of the likeliest ones, the likeliest first. */
  topLogprobs(row: Logits, token: Token, count: number): Promise<TopLogprobs>;
  /** Throws "invalid_request" for a grammar or a biased token that the model cannot have. */
  createSampler(parameters: SampleRequest, seed: number): Sampler;
}

/** What follows the prompt in one sequence. */
export interface Branch {
  /** Tokens to feed after the prompt's last one, logits wanted at each. */
  readonly start: readonly Token[];
  /** Takes the logits of the tokens just fed; returns what to feed next, nothing when done. */
  accept(rows: readonly Logits[]): Promise<readonly Token[]>;
  dispose(): void;
}

export interface Work {
  /** Samples step together, one token each; completions to score are fed in chunks. */
  readonly kind: "sample" | "score";
  readonly prompt: readonly Token[];
  /** Whose tokens the prompt's and its branches' are; absent: there is one tenant only. */
  readonly owner?: Ownership | undefined;
  readonly branches: readonly Branch[];
  readonly signal: AbortSignal;
  /** So many of the prompt's tokens have been prefilled by now. */
  readonly onPrefill?: (tokens: number) => void;
  /** The prompt is filled; so many of its tokens need not be prefilled. */
  readonly onPrompt?: (cached: number) => void;
}

/** A task that takes further branches; its prompt is prefilled meanwhile, when nothing else has to be. */
export interface OpenTask {
  add(branch: Branch): void;
  /** No more branches come. */
  close(): void;
  /** Resolves when all branches are done. Throws "cancelled" within one step of the signal, or the backend's error. */
  readonly done: Promise<void>;
}

interface RunningBranch {
  readonly branch: Branch;
  lane: number;
  queue: readonly Token[];
  /** Nothing has come of it yet. */
  fresh: boolean;
}

interface Task extends Omit<Work, "branches"> {
  readonly owner: Ownership;
  readonly waiting: Branch[];
  readonly running: Set<RunningBranch>;
  open: boolean;
  /** Lanes wanted; then lanes had. */
  readonly width: number;
  /** May use the lanes that are kept for single samples. */
  readonly narrow: boolean;
  lanes: number[];
  /** No branch runs in the first lane: the others get the prompt from there anew, where states cannot be cut. */
  readonly keepsPrompt: boolean;
  /** The prompt but for its last token is in the first lane: each branch feeds that one, for its logits. */
  ready: boolean;
  /** `onPrompt` has been called. */
  told: boolean;
  /** Tokens of the prompt that were decoded for this task. */
  prefilled: number;
  /** Lanes that wait for a branch. */
  idle: number[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
  readonly wake: () => void;
}

/** What can be fed in chunks: the rest of a prompt, or of a completion to score. */
interface ChunkWork {
  readonly task: Task;
  readonly lane: number;
  readonly rest: readonly Token[];
  readonly branch?: RunningBranch;
}

interface PlannedFeed {
  readonly task: Task;
  readonly feed: Feed;
  readonly branch?: RunningBranch;
}

export interface SchedulerOptions {
  /** Milliseconds, from any origin. */
  readonly now?: () => number;
}

export class Scheduler {
  readonly #backend: Backend;
  readonly #sequences: Sequences;
  readonly #pace: Pace;
  readonly #now: () => number;
  #queue: Task[] = [];
  #active: Task[] = [];
  #looping = false;
  #woken = false;
  #stepStart: number | null = null;

  constructor(backend: Backend, { now = () => performance.now() }: SchedulerOptions = {}) {
    this.#backend = backend;
    this.#now = now;
    const lanes = laneCount(backend.sequences);
    this.#sequences = new Sequences(backend, lanes);
    this.#pace = new Pace(backend.prefillSpeed, backend.threads, backend.stepTokens - lanes);
  }

  /** Tasks under way and waiting, sequences that no task has, and how long the present step has taken. */
  get load(): { active: number; waiting: number; freeSequences: number; stepMs: number } {
    const shelf = this.#backend.sequences - this.#sequences.laneCount;
    return {
      active: this.#active.length,
      waiting: this.#queue.length,
      freeSequences: this.#sequences.freeLanes + shelf,
      stepMs: this.#stepStart === null ? 0 : this.#now() - this.#stepStart,
    };
  }

  /** Resolves when all branches are done. Throws "cancelled" within one step of the signal, or the backend's error. */
  async run(work: Work): Promise<void> {
    if (work.branches.length === 0) return;
    const task = this.#submit(work, false);
    await task.done;
  }

  open(work: Work): OpenTask {
    return this.#submit(work, true);
  }

  #submit(work: Work, open: boolean): OpenTask {
    const { kind, prompt, owner = undivided, signal, branches, onPrefill, onPrompt } = work;
    const wake = (): void => this.#wake();
    let task!: Task;
    const done = new Promise<void>((resolve, reject) => {
      const width = this.#width(kind, branches.length, open);
      const keepsPrompt = !this.#backend.rewinds && width > 1 && (open || branches.length > width);
      const state = {
        waiting: [...branches],
        running: new Set<RunningBranch>(),
        lanes: [],
        idle: [],
        ready: false,
        told: false,
        prefilled: 0,
      };
      task = {
        kind,
        prompt,
        owner,
        signal,
        ...(onPrefill && { onPrefill }),
        ...(onPrompt && { onPrompt }),
        ...state,
        open,
        width,
        keepsPrompt,
        narrow: kind === "sample" && width === 1,
        resolve,
        reject,
        wake,
      };
    });
    this.#queue.push(task);
    signal.addEventListener("abort", wake, { once: true });
    this.#wake();
    return {
      done,
      add: (branch) => {
        if (!this.#has(task)) return branch.dispose();
        task.waiting.push(branch);
        this.#wake();
      },
      close: () => {
        task.open = false;
        this.#wake();
      },
    };
  }

  #wake(): void {
    this.#woken = true;
    if (!this.#looping) void this.#loop();
  }

  async #loop(): Promise<void> {
    this.#looping = true;
    while (this.#woken) {
      this.#woken = false;
      this.#dropAborted();
      await this.#admit();
      if (await this.#step()) this.#woken = true;
    }
    this.#looping = false;
  }

  #dropAborted(): void {
    for (const task of [...this.#active, ...this.#queue])
      if (task.signal.aborted) this.#end(task, () => task.reject(cancelled(task.signal)));
  }

  /** Lanes of a task. A copied lane costs more than scoring side by side saves; where states cannot be cut, a second one keeps the prompt. */
  #width(kind: Work["kind"], branches: number, open: boolean): number {
    const wanted = kind === "sample" ? branches : this.#backend.rewinds || (branches === 1 && !open) ? 1 : 2;
    return Math.min(wanted, this.#wideLanes);
  }

  /** Lanes for tasks of several branches; the rest is kept for single samples, so that neither kind waits for the other. */
  get #wideLanes(): number {
    const { laneCount } = this.#sequences;
    return laneCount - Math.floor(laneCount / 4);
  }

  /** First come, first served among the wide tasks, and among the narrow ones. */
  async #admit(): Promise<void> {
    for (;;) {
      const task =
        this.#queue.find(({ narrow }) => !narrow && this.#fits(false)) ?? this.#queue.find(({ narrow }) => narrow && this.#fits(true));
      if (task === undefined) return;
      this.#queue = this.#queue.filter((other) => other !== task);
      this.#active.push(task);
      try {
        task.lanes = await this.#sequences.take(task.width, task.prompt, task.kind === "sample" ? "low" : "high", task.owner);
      } catch (error) {
        this.#end(task, () => task.reject(error));
      }
    }
  }

  /** Whether the first waiting task of a kind gets its lanes. */
  #fits(narrow: boolean): boolean {
    const first = this.#queue.find((task) => task.narrow === narrow);
    if (first === undefined) return false;
    const { laneCount, freeLanes } = this.#sequences;
    const overtakes = this.#queue[0] !== first;
    const reserve = laneCount - this.#wideLanes;
    if (overtakes && reserve === 0) return false;
    const share = narrow ? (overtakes ? reserve : laneCount) : this.#wideLanes;
    const taken = this.#active.filter((task) => task.narrow === narrow).reduce((sum, { lanes }) => sum + lanes.length, 0);
    return first.width <= freeLanes && taken + first.width <= share;
  }

  /** False when there was nothing to do. */
  async #step(): Promise<boolean> {
    const planned = await this.#plan();
    if (planned.length === 0) return false;
    const { threads } = this.#backend;
    const start = this.#now();
    this.#stepStart = start;
    await this.#perform(planned);
    this.#stepStart = null;
    this.#pace.record(
      planned.reduce((sum, { feed }) => sum + feed.tokens.length, 0),
      this.#now() - start,
      threads,
    );
    return true;
  }

  async #perform(planned: readonly PlannedFeed[]): Promise<void> {
    let rows: Logits[][];
    try {
      rows = await this.#backend.decode(planned.map(({ feed }) => feed));
    } catch (error) {
      for (const { feed } of planned) this.#sequences.forget(feed.sequence);
      for (const task of new Set(planned.map(({ task }) => task))) this.#end(task, () => task.reject(error));
      return;
    }
    for (const { feed } of planned) this.#sequences.fed(feed.sequence, feed.tokens);
    // A task that failed ends when none of its branches is at work any more.
    const settled = await Promise.allSettled(planned.map((entry, index) => this.#settle(entry, rows[index] ?? [])));
    for (const [index, { task }] of planned.entries()) {
      const outcome = settled[index];
      if (outcome?.status === "rejected") this.#end(task, () => task.reject(outcome.reason));
    }
  }

  async #plan(): Promise<PlannedFeed[]> {
    for (;;) {
      await this.#each([...this.#active], (task) => this.#fork(task));
      await this.#closeGap();
      const planned = this.#fill();
      const behind = this.#behind(planned);
      if (behind === undefined) return planned;
      // The lane changes, or its task ends: what was planned and found for others holds no more.
      await this.#each([behind.task], (task) => this.#sequences.begin(task.lanes[0] as number, behind.prefix));
    }
  }

  /** A task that fails ends; the others go on. */
  async #each(tasks: readonly Task[], act: (task: Task) => Promise<void>): Promise<void> {
    for (const task of tasks) await act(task).catch((error: unknown) => this.#end(task, () => task.reject(error)));
  }

  /** One token of every sample, then a chunk of what can wait. */
  #fill(): PlannedFeed[] {
    const samples = this.#active.filter(({ kind }) => kind === "sample");
    const tokens = samples.flatMap((task) => [...task.running].map((branch) => this.#feed(task, branch.lane, branch.queue, branch)));
    // A sample's first token does not wait for a chunk of something else.
    const hasFresh = tokens.some(({ branch }) => branch?.fresh);
    const granted = hasFresh ? [] : allot(this.#chunkWork(), this.#pace.chunk(this.#backend.threads));
    const chunk = granted.map(({ item, tokens }) => this.#feed(item.task, item.lane, item.rest.slice(0, tokens), item.branch));
    // llama.cpp puts neighbours into one batch where they come in order.
    return [...tokens, ...chunk].toSorted((a, b) => a.feed.sequence - b.feed.sequence);
  }

  /** A prompt about to be prefilled that others have come further with, and what there is of it. */
  #behind(planned: readonly PlannedFeed[]): { readonly task: Task; readonly prefix: Prefix } | undefined {
    for (const { task, branch } of planned) {
      const prefix = branch === undefined ? this.#sequences.further(task.lanes[0] as number, task.prompt) : undefined;
      if (prefix !== undefined) return { task, prefix };
    }
    return undefined;
  }

  /** Prompts to prefill and completions to score, in order of arrival. */
  #chunkWork(): Portion<ChunkWork>[] {
    return this.#active.flatMap((task): Portion<ChunkWork>[] => {
      const lane = task.lanes[0] as number;
      if (!task.ready) {
        const rest = task.prompt.slice(this.#sequences.length(lane), -1);
        return [{ item: { task, lane, rest }, tokens: rest.length, urgent: task.waiting.length > 0 }];
      }
      if (task.kind === "sample") return [];
      return [...task.running].map((branch) => {
        return { item: { task, lane: branch.lane, rest: branch.queue, branch }, tokens: branch.queue.length, urgent: true };
      });
    });
  }

  #feed(task: Task, sequence: number, tokens: readonly Token[], branch?: RunningBranch): PlannedFeed {
    const feed = { sequence, position: this.#sequences.length(sequence), tokens, logits: branch === undefined ? [] : [...tokens.keys()] };
    return { task, feed, ...(branch && { branch }) };
  }

  /** Starts waiting branches on the task's idle lanes, once its prompt is filled. */
  async #fork(task: Task): Promise<void> {
    const length = task.prompt.length - 1;
    const [first, ...others] = task.lanes as [number, ...number[]];
    if (!task.open && task.waiting.length === 0 && task.running.size === 0) return this.#end(task, task.resolve);
    if (!task.ready) {
      if (this.#sequences.length(first) < length) return;
      task.ready = true;
      task.idle = task.keepsPrompt ? others : [first, ...others];
      if (!task.told) task.onPrompt?.(length - task.prefilled);
      task.told = true;
    }
    while (task.idle.length > 0 && task.waiting.length > 0) {
      const lane = task.idle[0] as number;
      if (!(await this.#rewind(task, lane))) return;
      task.idle = task.idle.filter((other) => other !== lane);
      const branch = task.waiting.shift() as Branch;
      task.running.add({ branch, lane, queue: [...task.prompt.slice(length), ...branch.start], fresh: true });
    }
  }

  /** The lane holds the prompt but for its last token. False: it has to be prefilled again. */
  async #rewind(task: Task, lane: number): Promise<boolean> {
    const length = task.prompt.length - 1;
    const held = this.#sequences.length(lane);
    if (held === length) return true;
    const [first] = task.lanes as [number, ...number[]];
    if (held > length && this.#backend.rewinds) this.#sequences.truncate(lane, length);
    else if (lane !== first) await this.#sequences.begin(lane, { sequence: first, length });
    else {
      // It is the only one: tasks of several lanes keep the prompt in one.
      this.#sequences.forget(lane);
      task.ready = length === 0;
      return task.ready;
    }
    return true;
  }

  /** llama.cpp steps only neighbouring sequences together: the last sample moves into the gap that another left. */
  async #closeGap(): Promise<void> {
    const samples = this.#active.filter(({ kind }) => kind === "sample");
    const running = samples.flatMap((task) => [...task.running].map((branch) => ({ task, branch })));
    const gap = this.#sequences.gap(running.map(({ branch }) => branch.lane));
    const moving = running.find(({ branch }) => branch.lane === gap?.from);
    if (gap === undefined || moving === undefined) return;
    const { task, branch } = moving;
    try {
      await this.#sequences.move(gap.from, gap.to);
      task.lanes = task.lanes.map((lane) => (lane === gap.from ? gap.to : lane));
      branch.lane = gap.to;
    } catch (error) {
      this.#end(task, () => task.reject(error));
    }
  }

  async #settle({ task, feed, branch }: PlannedFeed, rows: readonly Logits[]): Promise<void> {
    if (branch === undefined) {
      task.prefilled += feed.tokens.length;
      if (!task.told) task.onPrefill?.(task.prefilled);
      return;
    }
    if (rows.length !== feed.logits.length) throw new Error(`A step returned ${rows.length} rows of logits, not ${feed.logits.length}`);
    branch.fresh = false;
    branch.queue = branch.queue.slice(feed.tokens.length);
    const next = await branch.branch.accept(rows);
    if (branch.queue.length > 0) return;
    branch.queue = next;
    if (next.length > 0) return;
    task.running.delete(branch);
    branch.branch.dispose();
    if (task.waiting.length > 0 || task.open) task.idle.push(branch.lane);
    else this.#giveBack(task, branch.lane);
  }

  #giveBack(task: Task, lane: number): void {
    task.lanes = task.lanes.filter((other) => other !== lane);
    this.#sequences.release(lane);
  }

  #has(task: Task): boolean {
    return this.#active.includes(task) || this.#queue.includes(task);
  }

  /** Gives back everything a task holds. A task ends once. */
  #end(task: Task, settle: () => void): void {
    if (!this.#has(task)) return;
    this.#active = this.#active.filter((other) => other !== task);
    this.#queue = this.#queue.filter((other) => other !== task);
    task.signal.removeEventListener("abort", task.wake);
    for (const { branch } of task.running) branch.dispose();
    for (const branch of task.waiting) branch.dispose();
    for (const lane of task.lanes) this.#sequences.release(lane);
    settle();
    this.#wake(); // others may have waited for its lanes
  }
}

/** A third of the sequences keeps prefixes; tasks run in the others. */
function laneCount(sequences: number): number {
  return sequences - Math.floor(sequences / 3);
}
