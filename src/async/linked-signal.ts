/**
 * @module A signal that fires with the first of several, until it is released. `AbortSignal.any` would do, but some
 * versions of Node keep something of each of its signals in its sources for as long as those live, and a source may
 * live as long as the program.
 */

export class LinkedSignal {
  readonly #controller = new AbortController();
  readonly #sources: readonly AbortSignal[];

  constructor(sources: readonly (AbortSignal | undefined)[]) {
    this.#sources = sources.filter((source) => source !== undefined);
    for (const source of this.#sources) source.addEventListener("abort", this.#onAbort);
    const fired = this.#sources.find(({ aborted }) => aborted);
    if (fired !== undefined) this.abort(fired.reason);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason?: unknown): void {
    this.release();
    this.#controller.abort(reason);
  }

  /** Lets go of the sources: nobody waits for the signal any more. */
  release(): void {
    for (const source of this.#sources) source.removeEventListener("abort", this.#onAbort);
  }

  readonly #onAbort = ({ target }: Event): void => this.abort((target as AbortSignal).reason);
}
