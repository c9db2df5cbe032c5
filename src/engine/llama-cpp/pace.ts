/** @module How many tokens a step may take, from the speed that was measured: no step holds up the others for long. */

/**
 * What a step should take at most, in seconds; the chunk is a power of two, so that small changes of speed do not
 * change it.
 */
const stepSeconds = 0.3;
const smallestChunk = 8;
const smoothing = 0.1;
/** Of a step that took more than twice as long as it should: everybody waits for the next one. */
const quickSmoothing = 0.5;

export class Pace {
  readonly #largest: number;
  /** Prompt tokens a second, by the number of threads. */
  readonly #speeds: Map<number, number>;
  #latest: number;

  /** `speed`: prompt tokens a second with so many threads; `largest`: tokens that fit in a step beside the samples. */
  constructor(speed: number, threads: number, largest: number) {
    this.#speeds = new Map([[threads, speed]]);
    this.#latest = threads;
    this.#largest = largest;
  }

  /** Tokens of prompts and of completions to score in one step with so many threads. */
  chunk(threads: number): number {
    const chunk = 2 ** Math.floor(Math.log2(Math.max(smallestChunk, this.#speed(threads) * stepSeconds)));
    return Math.max(1, Math.min(chunk, this.#largest));
  }

  /** A step of so many tokens took so long. Steps that hold half a chunk or more tell the speed. */
  record(tokens: number, ms: number, threads: number): void {
    if (tokens * 2 < this.chunk(threads) || ms <= 0) return;
    const speed = this.#speed(threads);
    const share = ms > 2_000 * stepSeconds ? quickSmoothing : smoothing;
    this.#speeds.set(threads, speed + share * ((tokens / ms) * 1000 - speed));
    this.#latest = threads;
  }

  /** Where it is not known yet: in proportion to the latest. */
  #speed(threads: number): number {
    return this.#speeds.get(threads) ?? ((this.#speeds.get(this.#latest) as number) * threads) / this.#latest;
  }
}
