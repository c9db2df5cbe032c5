/** @module A value that may flicker: only changes that last are told. */

export class LastingChange<Value> {
  readonly #lastingMs: number;
  #told: Value | undefined;
  #seen: { readonly value: Value; readonly since: number } | undefined;

  constructor(lastingMs: number) {
    this.#lastingMs = lastingMs;
  }

  /**
   * The first value is taken for what it is. Returns a change when the new value has been seen for so long: what was
   * before, and what is now.
   */
  see(value: Value, at: number): { readonly before: Value; readonly now: Value } | undefined {
    this.#told ??= value;
    if (this.#seen?.value !== value) this.#seen = { value, since: at };
    if (value === this.#told || at - this.#seen.since < this.#lastingMs) return undefined;
    const change = { before: this.#told, now: value };
    this.#told = value;
    return change;
  }
}
