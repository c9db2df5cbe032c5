/** @module How many requests may be under way or waiting at once; who comes beyond that is told when to come back. */
import type { MiddlewareHandler } from "hono";
import { GatewayError } from "../types/error.ts";
import { smallBody } from "./body-room.ts";

export interface AdmissionOptions {
  /**
   * Places: a request takes one, or more where it asks for many answers; those that wait for the engine count as well.
   */
  readonly limit: number;
  /** Milliseconds, from any origin. */
  readonly now: () => number;
}

/**
 * The rule of places, for every endpoint: so many answers to generate, or completions to score, fill one. They are
 * under way side by side, so a request for more of them takes more places, all there are at most.
 */
export const answersAPlace = 16;

const smoothing = 0.2;
const longestRetrySeconds = 300;

export class Admission {
  readonly #options: AdmissionOptions;
  #admitted = 0;
  #taken = 0;
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
  check(answers = 1): void {
    if (this.#isClosed) throw shuttingDown();
    if (this.#taken + this.#placesOf(answers) > this.#options.limit) throw this.#overloaded();
  }

  /**
   * Takes the places of a request for so many answers; what it returns gives them back, once. Throws "overloaded" where
   * there are too few, "shutting_down" at the end.
   */
  enter(answers = 1): () => void {
    const { now } = this.#options;
    this.check(answers);
    if (this.#admitted === 0) this.#lastEnd = now();
    this.#admitted += 1;
    const places = this.#placesOf(answers);
    this.#taken += places;
    let hasLeft = false;
    return () => {
      if (hasLeft) return;
      hasLeft = true;
      this.#admitted -= 1;
      this.#taken -= places;
      if (this.#admitted === 0) this.#onIdle?.();
      this.#interval += smoothing * (now() - this.#lastEnd - this.#interval);
      this.#lastEnd = now();
    };
  }

  /** There is room for work that nobody waits for. */
  get isQuiet(): boolean {
    return !this.#isClosed && this.#taken < this.#options.limit / 4;
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

  #placesOf(answers: number): number {
    return Math.min(this.#options.limit, Math.max(1, Math.ceil(answers / answersAPlace)));
  }

  /** By the time it names, half of what is under way now will be done. */
  #overloaded(): GatewayError {
    const seconds = Math.ceil((this.#interval * this.#admitted) / 2 / 1000);
    const retryAfter = Math.min(longestRetrySeconds, Math.max(1, seconds));
    const message = `The gateway is busy with ${this.#admitted} requests, and has no room for this one. Retry in ${retryAfter} s.`;
    return new GatewayError("overloaded", message, { retryAfter });
  }
}

/** Large bodies are read only where there is a place for their requests. Throws "overloaded" and "shutting_down". */
export function whereRoom({ admission }: { readonly admission: Admission }): MiddlewareHandler {
  return async (c, next) => {
    if (Number(c.req.header("content-length") ?? 0) > smallBody) admission.check();
    await next();
  };
}

export function shuttingDown(): GatewayError {
  return new GatewayError("shutting_down", "The gateway is shutting down. Retry the request.");
}
