/**
 * @module Tasks in order of arrival: those that wait for slots, and those under way. Tasks of several slots and single
 * samples wait in a queue each: a quarter of the slots is kept for single samples, so that neither kind waits for the
 * other. Tasks in step get their slots at once: together they are one of several slots.
 */
import type { Slots } from "./slots.ts";
import type { Task, TaskRequest } from "./task.ts";

export class TaskQueue {
  readonly #slots: Slots;
  readonly #rewinds: boolean;
  /** Those that begin together. */
  #waiting: (readonly Task[])[] = [];
  #active: Task[] = [];

  /** `rewinds`: states of slots can be cut. */
  constructor(slots: Slots, rewinds: boolean) {
    this.#slots = slots;
    this.#rewinds = rewinds;
  }

  /** Stays as it is while its tasks end: whoever goes through it needs no copy. */
  get active(): readonly Task[] {
    return this.#active;
  }

  get waiting(): readonly Task[] {
    return this.#waiting.flat();
  }

  /** Tasks of one sequence that may be in step: more would never have their slots. */
  get mostInStep(): number {
    return this.#wideSlots;
  }

  /**
   * Slots of a task. To copy one costs more than scoring side by side saves; where states cannot be cut, a second one
   * keeps the prompt.
   */
  width(kind: TaskRequest["kind"], sequences: number, open: boolean): number {
    const wanted = kind === "sample" ? sequences : this.#rewinds || (sequences === 1 && !open) ? 1 : 2;
    return Math.min(wanted, this.#wideSlots);
  }

  /** They begin together. */
  add(tasks: readonly Task[]): void {
    this.#waiting.push(tasks);
  }

  has(task: Task): boolean {
    return this.#active.includes(task) || this.waiting.includes(task);
  }

  remove(task: Task): void {
    this.#active = this.#active.filter((other) => other !== task);
    this.#waiting = this.#waiting
      .map((tasks) => tasks.filter((other) => other !== task))
      .filter(({ length }) => length > 0);
  }

  /**
   * The next tasks that there are slots for, active from now on: first come, first served among the wide ones, and among
   * single samples.
   */
  next(): readonly Task[] {
    const tasks =
      this.#waiting.find((first) => !isSingle(first) && this.#fits(false)) ??
      this.#waiting.find((first) => isSingle(first) && this.#fits(true)) ??
      [];
    this.#waiting = this.#waiting.filter((others) => others !== tasks);
    this.#active.push(...tasks);
    return tasks;
  }

  /** Slots for tasks of several sequences. */
  get #wideSlots(): number {
    const { count } = this.#slots;
    return count - Math.floor(count / 4);
  }

  /** Whether the first waiting tasks of a kind get their slots. */
  #fits(single: boolean): boolean {
    const first = this.#waiting.find((tasks) => isSingle(tasks) === single);
    if (first === undefined) return false;
    const { count, freeCount } = this.#slots;
    const overtakes = this.#waiting[0] !== first;
    const reserve = count - this.#wideSlots;
    if (overtakes && reserve === 0) return false;
    const share = single ? (overtakes ? reserve : count) : this.#wideSlots;
    const taken = this.#active
      .filter((task) => task.isSingle === single)
      .reduce((sum, { slots }) => sum + slots.length, 0);
    const width = first.reduce((sum, task) => sum + task.width, 0);
    return width <= freeCount && taken + width <= share;
  }
}

function isSingle(tasks: readonly Task[]): boolean {
  return tasks.every((task) => task.isSingle);
}
