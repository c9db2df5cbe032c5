/** @module When policies that were refused for a reason that may pass are tried again without an edit. */
import { growingPause } from "../async/growing-pause.ts";
import type { PolicyState } from "./policy-store.ts";

const longestPauseMs = 60_000;

export class Retries {
  readonly #firstMs: number;
  readonly #now: () => number;
  #tries = 0;
  #dueAt = 0;

  /** `now`: milliseconds, from any origin. */
  constructor(firstMs: number, now: () => number) {
    this.#firstMs = firstMs;
    this.#now = now;
  }

  /** Whether the files, which are the same as before, should be tried again now. */
  isDue({ error }: PolicyState): boolean {
    return error?.mayPass === true && this.#now() >= this.#dueAt;
  }

  /** The files have been tried; `isEdited`: they were others than before. */
  tried(isEdited: boolean): void {
    this.#tries = isEdited ? 0 : this.#tries + 1;
    this.#dueAt = this.#now() + growingPause(this.#tries, this.#firstMs, longestPauseMs);
  }
}
