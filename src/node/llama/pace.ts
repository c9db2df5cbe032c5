/** @module How many tokens a step may take, from the speed that was measured: no step holds up the others for long. */

/** What a step should take at most, in seconds; the chunk is a power of two, so that small changes of speed do not change it. */
const stepSeconds = 0.3;
const smallestChunk = 8;
const smoothing = 0.1;

export class Pace {
  readonly #largest: number;
  #speed: number;

  /** `speed`: prompt tokens a second; `largest`: tokens that fit in a step beside the samples. */
  constructor(speed: number, largest: number) {
    this.#speed = speed;
    this.#largest = largest;
  }

  /** Tokens of prompts and of completions to score in one step. */
  get chunk(): number {
    const chunk = 2 ** Math.floor(Math.log2(Math.max(smallestChunk, this.#speed * stepSeconds)));
    return Math.max(1, Math.min(chunk, this.#largest));
  }

  /** A step of so many tokens took so long. Steps that hold half a chunk or more tell the speed. */
  record(tokens: number, ms: number): void {
    if (tokens * 2 < this.chunk || ms <= 0) return;
    this.#speed += smoothing * ((tokens / ms) * 1000 - this.#speed);
  }
}
