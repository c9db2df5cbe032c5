/**
 * @module How much of an engine's load may be retries: a tenth of its calls and a few more. Retries beyond that make a
 * bad hour worse.
 */

const share = 0.1;
/** Retries in a row, before any call has paid for them; */
const reserve = 10;
/** one more each so many milliseconds, so that an engine with few calls has some. */
const refillMs = 10_000;

export class RetryBudget {
  readonly #now: () => number;
  #left = reserve;
  #since: number;

  /** `now`: milliseconds, from any origin. */
  constructor(now: () => number) {
    this.#now = now;
    this.#since = now();
  }

  /** A call is made for the first time. */
  earn(): void {
    this.#add(share);
  }

  /** Whether one more retry may be made; it is spent then. */
  spend(): boolean {
    const now = this.#now();
    this.#add((now - this.#since) / refillMs);
    this.#since = now;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }

  #add(retries: number): void {
    this.#left = Math.min(reserve, this.#left + retries);
  }
}
