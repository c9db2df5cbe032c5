/**
 * @module What a request takes beyond the tokens that were counted for it before it began, where nobody has said how
 * long its answers may be: more is counted as it is worked through, and answers end where their key has nothing left.
 */
import type { Reservation } from "../access/access.ts";
import { computedTokens, type TokenUsage } from "../icdpo/token-usage.ts";

export class Meter {
  readonly #reservation: Reservation;
  readonly #step: number;
  readonly #accounts: readonly Readonly<TokenUsage>[];
  readonly #spent = new AbortController();
  #asking: Promise<void> | undefined;

  /** `step`: tokens that are counted at once, each time that what is counted has been used. */
  constructor(reservation: Reservation, step: number, accounts: readonly Readonly<TokenUsage>[]) {
    this.#reservation = reservation;
    this.#step = step;
    this.#accounts = accounts;
  }

  /** Fires when the key has nothing left. */
  get spent(): AbortSignal {
    return this.#spent.signal;
  }

  /** An account has grown. */
  look(): void {
    const used = this.#accounts.reduce((sum, tokens) => sum + computedTokens(tokens), 0);
    if (this.#asking !== undefined || this.spent.aborted || used < this.#reservation.tokens) return;
    this.#asking = this.#reservation
      .extend(this.#step)
      .catch(() => 0)
      .then((granted) => {
        this.#asking = undefined;
        if (granted > 0) this.look();
        else this.#spent.abort();
      });
  }

  /** Resolves when nothing more is asked for. */
  async close(): Promise<void> {
    this.#spent.abort();
    await this.#asking;
  }
}

/** The same account, and each growth of it is told. */
export function watched(tokens: TokenUsage, onGrowth: () => void): TokenUsage {
  return new Proxy(tokens, {
    set(target, name, value) {
      const isSet = Reflect.set(target, name, value);
      onGrowth();
      return isSet;
    },
  });
}
