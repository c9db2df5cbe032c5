/**
 * @module Continuous batching: one loop owns all slots. A task is one prompt with one or more sequences (samples, or
 * completions to score). Its prompt is prefilled once, copied to a slot per sequence, and all sequences of all tasks
 * step together (`batch.ts`).
 */
import { allOrNone } from "../../async/all-or-none.ts";
import { cancelled } from "../../types/error.ts";
import type { EngineLoad } from "../engine.ts";
import type { Backend, Logits } from "./backend.ts";
import { fillBatch, findOvertaken, type PlannedChunk } from "./batch.ts";
import { forkTask, mayFork } from "./forking.ts";
import { Pace } from "./pace.ts";
import { Slots } from "./slots.ts";
import { createTask, type Task, type TaskRequest, type TaskSequence } from "./task.ts";
import { TaskQueue } from "./task-queue.ts";

/** A task that takes further sequences; its prompt is prefilled meanwhile, when nothing else has to be. */
export interface OpenTask {
  add(sequence: TaskSequence): void;
  /** No more sequences come. */
  close(): void;
  /** Resolves when all sequences are done. Throws "cancelled" within one step of the signal, or the backend's error. */
  readonly done: Promise<void>;
}

export interface SchedulerOptions {
  /** Milliseconds, from any origin. */
  readonly now?: () => number;
  /** Schedulers that share a machine take turns at it; absent: there is no other. */
  readonly turn?: <Result>(act: () => Promise<Result>) => Promise<Result>;
}

/** Tasks under way and waiting, sequences that no task has, and how long the present step has taken. */
export type SchedulerLoad = Omit<EngineLoad, "threads">;

export class Scheduler {
  readonly #backend: Backend;
  readonly #slots: Slots;
  readonly #tasks: TaskQueue;
  readonly #pace: Pace;
  readonly #now: () => number;
  readonly #turn: NonNullable<SchedulerOptions["turn"]>;
  #looping = false;
  #woken = false;
  #stepStart: number | null = null;

  constructor(backend: Backend, { now = () => performance.now(), turn = (act) => act() }: SchedulerOptions = {}) {
    this.#backend = backend;
    this.#now = now;
    this.#turn = turn;
    const slots = slotCount(backend.sequences);
    this.#slots = new Slots(backend, slots);
    this.#tasks = new TaskQueue(this.#slots, backend.rewinds);
    this.#pace = new Pace(backend.prefillSpeed, backend.threads, backend.stepTokens - slots);
  }

  get load(): SchedulerLoad {
    return {
      active: this.#tasks.active.length,
      waiting: this.#tasks.waiting.length,
      freeSequences: this.#backend.sequences - this.usedSequences,
      stepMs: this.#stepStart === null ? 0 : this.#now() - this.#stepStart,
    };
  }

  /** Sequences that tasks run in. */
  get usedSequences(): number {
    return this.#slots.count - this.#slots.freeCount;
  }

  /** Tasks of one sequence that may be in step. */
  get mostInStep(): number {
    return this.#tasks.mostInStep;
  }

  /** Resolves when all sequences are done. Throws "cancelled" within one step of the signal, or the backend's error. */
  async run(request: TaskRequest): Promise<void> {
    if (request.sequences.length === 0) return;
    const task = this.#submit(request, false);
    await task.done;
  }

  /**
   * As `run`, of tasks of one sample each, `mostInStep` at most, under one signal: they begin together, and each step
   * takes all or none of them. Where one fails, the others end.
   */
  async runInStep(requests: readonly TaskRequest[], signal: AbortSignal): Promise<void> {
    const inStep: Task[] = [];
    const run = (request: TaskRequest, _: number, either: AbortSignal): Promise<void> =>
      this.#submit({ ...request, signal: either }, false, { inStep, count: requests.length }).done;
    await allOrNone(requests, run, signal);
  }

  open(request: TaskRequest): OpenTask {
    return this.#submit(request, true);
  }

  /** `together`: those that are in step with it, and how many they are to be; they begin once all are there. */
  #submit(
    request: TaskRequest,
    open: boolean,
    together: { readonly inStep: Task[]; readonly count: number } = { inStep: [], count: 1 },
  ): OpenTask {
    const { inStep, count } = together;
    const { kind, sequences, signal } = request;
    const wake = (): void => this.#wake();
    const width = this.#tasks.width(kind, sequences.length, open);
    const keepsPrompt = !this.#backend.rewinds && width > 1 && (open || sequences.length > width);
    let task!: Task;
    const done = new Promise<void>((resolve, reject) => {
      task = createTask(request, { open, width, inStep, isAlone: count === 1, keepsPrompt, resolve, reject, wake });
    });
    if (inStep.push(task) === count) this.#tasks.add(inStep);
    signal.addEventListener("abort", wake, { once: true });
    this.#wake();
    return {
      done,
      add: (sequence) => {
        if (!this.#tasks.has(task)) return sequence.dispose();
        task.waiting.push(sequence);
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
    for (const task of [...this.#tasks.active, ...this.#tasks.waiting])
      if (task.signal.aborted) this.#end(task, () => task.reject(cancelled(task.signal)));
  }

  async #admit(): Promise<void> {
    for (let tasks = this.#tasks.next(); tasks.length > 0; tasks = this.#tasks.next())
      for (const task of tasks)
        await this.#attempt(task, async (admitted) => {
          const { width, prompt, kind, owner } = admitted;
          admitted.slots = await this.#slots.take(width, prompt, kind === "sample" ? "low" : "high", owner);
        });
  }

  /** False when there was nothing to do. */
  async #step(): Promise<boolean> {
    const batch = await this.#plan();
    if (batch.length === 0) return false;
    await this.#turn(async () => {
      const { threads } = this.#backend;
      const start = this.#now();
      this.#stepStart = start;
      await this.#perform(batch);
      this.#stepStart = null;
      this.#pace.record(
        batch.reduce((sum, { chunk }) => sum + chunk.tokens.length, 0),
        this.#now() - start,
        threads,
      );
    });
    return true;
  }

  async #plan(): Promise<PlannedChunk[]> {
    for (;;) {
      this.#endDone();
      for (const task of this.#tasks.active)
        if (mayFork(task))
          await this.#attempt(task, (forking) => forkTask(forking, this.#slots, this.#backend.rewinds));
      await this.#closeGap();
      const batch = fillBatch(this.#tasks.active, this.#slots, this.#pace.chunk(this.#backend.threads));
      const overtaken = findOvertaken(batch, this.#slots);
      if (overtaken === undefined) return batch;
      // The slot changes, or its task ends: what was planned and found for others holds no more.
      await this.#attempt(overtaken.task, (task) => this.#slots.begin(task.slots[0] as number, overtaken.prefix));
    }
  }

  #endDone(): void {
    for (const task of this.#tasks.active)
      if (!task.open && task.waiting.length === 0 && task.running.size === 0) this.#end(task, task.resolve);
  }

  /** llama.cpp steps only neighbouring sequences together: the last sample moves into the gap that another left. */
  async #closeGap(): Promise<void> {
    const samples = this.#tasks.active.filter(({ kind }) => kind === "sample");
    const all = samples.flatMap((task) => [...task.running].map((running) => ({ task, running })));
    const gap = this.#slots.gap(all.map(({ running }) => running.slot));
    const moving = all.find(({ running }) => running.slot === gap?.from);
    if (gap === undefined || moving === undefined) return;
    await this.#attempt(moving.task, async (task) => {
      await this.#slots.move(gap.from, gap.to);
      task.slots = task.slots.map((slot) => (slot === gap.from ? gap.to : slot));
      moving.running.slot = gap.to;
    });
  }

  async #perform(batch: readonly PlannedChunk[]): Promise<void> {
    let rows: Logits[][];
    try {
      rows = await this.#decode(batch);
    } catch (error) {
      for (const { chunk } of batch) this.#slots.forget(chunk.sequence);
      for (const task of new Set(batch.map(({ task }) => task))) this.#end(task, () => task.reject(error));
      return;
    }
    for (const { chunk } of batch) this.#slots.fed(chunk.sequence, chunk.tokens);
    // A task that failed ends when none of its sequences is at work any more.
    const settled = await Promise.allSettled(batch.map((planned, index) => this.#settle(planned, rows[index] ?? [])));
    for (const [index, { task }] of batch.entries()) {
      const outcome = settled[index];
      if (outcome?.status === "rejected") this.#end(task, () => task.reject(outcome.reason));
    }
  }

  /** Throws before anything is told of its step where rows are missing: sequences in step wait for each other's. */
  async #decode(batch: readonly PlannedChunk[]): Promise<Logits[][]> {
    const rows = await this.#backend.decode(batch.map(({ chunk }) => chunk));
    for (const [index, { chunk }] of batch.entries()) {
      const count = rows[index]?.length ?? 0;
      if (count !== chunk.logits.length)
        throw new Error(`A step returned ${count} rows of logits, not ${chunk.logits.length}`);
    }
    return rows;
  }

  async #settle({ task, chunk, running }: PlannedChunk, rows: readonly Logits[]): Promise<void> {
    if (running === undefined) {
      task.prefilled += chunk.tokens.length;
      if (!task.told) task.onPrefill?.(task.prefilled);
      return;
    }
    running.fresh = false;
    running.queue = running.queue.slice(chunk.tokens.length);
    const next = await running.sequence.accept(rows);
    if (running.queue.length > 0) return;
    running.queue = next;
    const { behind = 0 } = task;
    const isFull = this.#slots.length(running.slot) + behind + next.length > this.#backend.contextSize;
    if (next.length > 0 && !isFull) return;
    task.running.delete(running);
    if (next.length === 0) running.sequence.dispose();
    else task.onFull?.(running.sequence, [...this.#slots.tokens(running.slot), ...next]);
    if (task.waiting.length > 0 || task.open) task.idle.push(running.slot);
    else this.#giveBack(task, running.slot);
  }

  #giveBack(task: Task, slot: number): void {
    task.slots = task.slots.filter((other) => other !== slot);
    this.#slots.release(slot);
  }

  /** A task that fails ends; the others go on. */
  async #attempt(task: Task, act: (task: Task) => Promise<void>): Promise<void> {
    try {
      await act(task);
    } catch (error) {
      this.#end(task, () => task.reject(error));
    }
  }

  /** Gives back everything a task holds. A task ends once. */
  #end(task: Task, settle: () => void): void {
    if (!this.#tasks.has(task)) return;
    this.#tasks.remove(task);
    task.signal.removeEventListener("abort", task.wake);
    for (const { sequence } of task.running) sequence.dispose();
    task.running.clear(); // whoever is in step with it is stepped no more
    for (const sequence of task.waiting) sequence.dispose();
    for (const slot of task.slots) this.#slots.release(slot);
    settle();
    this.#wake(); // others may have waited for its slots
  }
}

/** Slots that tasks run in: a third of the sequences keeps prefixes. */
function slotCount(sequences: number): number {
  return sequences - Math.floor(sequences / 3);
}
