/** @module How many requests may be under way or waiting at once; who comes beyond that is told when to come back. */
import { GatewayError } from "../types/error.ts";

export interface AdmissionOptions {
  /** Requests, those that wait for the engine included. */
  readonly limit: number;
  /** Milliseconds, from any origin. */
  readonly now: () => number;
}

const smoothing = 0.2;
const longestRetrySeconds = 300;

export class Admission {
  readonly #options: AdmissionOptions;
  #admitted = 0;
  /** Milliseconds between two requests' ends while there is work, as measured. */
  #interval = 1_000;
  #lastEnd = 0;
  #isClosed = false;
  #onIdle: (() => void) | undefined;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** Requests under way or waiting. */
  get admitted(): number {
    return this.#admitted;
  }

  /** Throws what `enter` would throw now; takes no place. */
  check(): void {
    if (this.#isClosed) throw shuttingDown();
    if (this.#admitted >= this.#options.limit) throw this.#overloaded();
  }

  /** Takes a place; what it returns gives it back, once. Throws "overloaded" where there is none, "shutting_down" at the end. */
  enter(): () => void {
    const { now } = this.#options;
    this.check();
    if (this.#admitted === 0) this.#lastEnd = now();
    this.#admitted += 1;
    let hasLeft = false;
    return () => {
      if (hasLeft) return;
      hasLeft = true;
      this.#admitted -= 1;
      if (this.#admitted === 0) this.#onIdle?.();
      this.#interval += smoothing * (now() - this.#lastEnd - this.#interval);
      this.#lastEnd = now();
    };
  }

  /** There is room for work that nobody waits for. */
  get isQuiet(): boolean {
    return !this.#isClosed && this.#admitted < this.#options.limit / 4;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Takes no more requests. Resolves when those under way are over. */
  close(): Promise<void> {
    this.#isClosed = true;
    return new Promise((resolve) => {
      this.#onIdle = resolve;
      if (this.#admitted === 0) resolve();
    });
  }

  /** By the time it names, half of what is under way now will be done. */
  #overloaded(): GatewayError {
    const seconds = Math.ceil((this.#interval * this.#admitted) / 2 / 1000);
    const retryAfter = Math.min(longestRetrySeconds, Math.max(1, seconds));
    const message = `The gateway is busy with ${this.#admitted} requests, as many as it takes at once. Retry in ${retryAfter} s.`;
    return new GatewayError("overloaded", message, { retryAfter });
  }
}

export function shuttingDown(): GatewayError {
  return new GatewayError("shutting_down", "The gateway is shutting down. Retry the request.");
}
