/** @module Work that several wait for. It goes on while one of them does. */
import { cancelled } from "../types/error.ts";

export class Shared<Value> {
  readonly #abandoned = new AbortController();
  readonly #value: Promise<Value>;
  #waiting = 0;

  /** `onEnd`: the work is over, or abandoned: whoever comes now needs another. */
  constructor(work: (abandoned: AbortSignal) => Promise<Value>, onEnd: () => void) {
    this.#abandoned.signal.addEventListener("abort", onEnd);
    this.#value = work(this.#abandoned.signal).finally(onEnd);
    // Those who wait are told; there may be nobody.
    this.#value.catch(() => {});
  }

  /** The value. Who leaves (`signal`) is told "cancelled" at once, and the last one who leaves ends the work. */
  join(signal?: AbortSignal): Promise<Value> {
    this.#waiting += 1;
    if (signal === undefined) return this.#value;
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        reject(cancelled(signal));
        this.#waiting -= 1;
        if (this.#waiting === 0) this.#abandoned.abort();
      };
      if (signal.aborted) return leave();
      signal.addEventListener("abort", leave, { once: true });
      this.#value.then(resolve, reject).finally(() => signal.removeEventListener("abort", leave));
    });
  }
}
