/** @module A policy's budget of time. When it is spent, the request ends with the best of what there is by then. */
import { isCancellation } from "../types/error.ts";

export class TimeBudget {
  /**
   * Fires when the request ends, or the budget is spent: for work that may be left undone. Undefined: nothing ends it.
   */
  readonly signal: AbortSignal | undefined;
  readonly #timer: AbortSignal | undefined;
  readonly #request: AbortSignal | undefined;

  /** `timer` fires when the time is over; undefined: there is no budget. `request` fires when the request ends. */
  constructor(timer: AbortSignal | undefined, request: AbortSignal | undefined) {
    this.#timer = timer;
    this.#request = request;
    this.signal = timer === undefined || request === undefined ? (timer ?? request) : AbortSignal.any([request, timer]);
  }

  /** There is a budget: work may be cut short. */
  get isLimited(): boolean {
    return this.#timer !== undefined;
  }

  /** The time is over. A request that ends goes first: nobody waits for what there is. */
  get isSpent(): boolean {
    return this.#timer?.aborted === true && this.#request?.aborted !== true;
  }

  /**
   * The error is what a spent budget does to work under way. Anything else that goes wrong is an error of the request.
   */
  explains(error: unknown): boolean {
    return this.isSpent && isCancellation(error);
  }
}
