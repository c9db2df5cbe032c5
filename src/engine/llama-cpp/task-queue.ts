/**
 * @module Tasks in order of arrival: those that wait for slots, and those under way. Tasks of several slots and single
 * samples wait in a queue each: a quarter of the slots is kept for single samples, so that neither kind waits for the
 * other.
 */
import type { Slots } from "./slots.ts";
import type { Task, TaskRequest } from "./task.ts";

export class TaskQueue {
  readonly #slots: Slots;
  readonly #rewinds: boolean;
  #waiting: Task[] = [];
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
    return this.#waiting;
  }

  /**
   * Slots of a task. To copy one costs more than scoring side by side saves; where states cannot be cut, a second one
   * keeps the prompt.
   */
  width(kind: TaskRequest["kind"], sequences: number, open: boolean): number {
    const wanted = kind === "sample" ? sequences : this.#rewinds || (sequences === 1 && !open) ? 1 : 2;
    return Math.min(wanted, this.#wideSlots);
  }

  add(task: Task): void {
    this.#waiting.push(task);
  }

  has(task: Task): boolean {
    return this.#active.includes(task) || this.#waiting.includes(task);
  }

  remove(task: Task): void {
    this.#active = this.#active.filter((other) => other !== task);
    this.#waiting = this.#waiting.filter((other) => other !== task);
  }

  /**
   * The next task that there are slots for, active from now on: first come, first served among the wide ones, and among
   * single samples.
   */
  next(): Task | undefined {
    const task =
      this.#waiting.find(({ isSingle }) => !isSingle && this.#fits(false)) ??
      this.#waiting.find(({ isSingle }) => isSingle && this.#fits(true));
    if (task === undefined) return undefined;
    this.#waiting = this.#waiting.filter((other) => other !== task);
    this.#active.push(task);
    return task;
  }

  /** Slots for tasks of several sequences. */
  get #wideSlots(): number {
    const { count } = this.#slots;
    return count - Math.floor(count / 4);
  }

  /** Whether the first waiting task of a kind gets its slots. */
  #fits(isSingle: boolean): boolean {
    const first = this.#waiting.find((task) => task.isSingle === isSingle);
    if (first === undefined) return false;
    const { count, freeCount } = this.#slots;
    const overtakes = this.#waiting[0] !== first;
    const reserve = count - this.#wideSlots;
    if (overtakes && reserve === 0) return false;
    const share = isSingle ? (overtakes ? reserve : count) : this.#wideSlots;
    const taken = this.#active
      .filter((task) => task.isSingle === isSingle)
      .reduce((sum, { slots }) => sum + slots.length, 0);
    return first.width <= freeCount && taken + first.width <= share;
  }
}
