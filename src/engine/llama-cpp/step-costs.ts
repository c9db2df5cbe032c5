/** @module What steps with one number of threads take, by their size. */

/** Steps of about as many tokens. */
interface Cost {
  /** Milliseconds, of the latest steps. */
  mean: number;
  /** Steps in the mean, as far as it remembers them. */
  steps: number;
  /** What a step takes when nothing disturbs it: near the shortest ones. */
  quiet: number;
  /** When the last one ended. */
  at: number;
}

/** The mean of steps is over about so many. */
const remembered = 4;
/** An older mean is none: contexts have become longer, or others have come and gone. */
const freshMs = 5_000;
const quietFall = 0.5;
const quietRise = 0.02;

export class StepCosts {
  readonly #costs = new Map<number, Cost>();
  /** What the latest steps of any size took, in quiet ones. */
  #slowness = 1;

  get slowness(): number {
    return this.#slowness;
  }

  /** A step of so many tokens took so long, in milliseconds, and ended at that time. */
  record(tokens: number, ms: number, at: number): void {
    const size = sizeOf(tokens);
    const cost = this.#costs.get(size) ?? { mean: ms, steps: 0, quiet: ms, at };
    this.#slowness += (ms / cost.quiet - this.#slowness) / remembered;
    if (at - cost.at > freshMs) cost.steps = 0;
    cost.steps = Math.min(cost.steps + 1, remembered);
    cost.mean += (ms - cost.mean) / cost.steps;
    cost.quiet +=
      ms < cost.quiet ? quietFall * (ms - cost.quiet) : quietRise * (Math.min(ms, 2 * cost.quiet) - cost.quiet);
    cost.at = at;
    this.#costs.set(size, cost);
  }

  /** Milliseconds of a step that nothing disturbs; undefined: none of this size has been seen. */
  quiet(tokens: number): number | undefined {
    return this.#costs.get(sizeOf(tokens))?.quiet;
  }

  /** Milliseconds that a step would take now. `hasSlowed`: the latest of its size may have been before. */
  expected(tokens: number, at: number, hasSlowed: boolean): number | undefined {
    const cost = this.#costs.get(sizeOf(tokens));
    if (cost === undefined) return undefined;
    const slowed = cost.quiet * this.#slowness;
    if (cost.steps < 2 || at - cost.at > freshMs) return slowed;
    return hasSlowed ? Math.max(cost.mean, slowed) : cost.mean;
  }

  /** The latest steps are no measure of those to come. */
  forgetSlowness(): void {
    this.#slowness = 1;
  }

  /** What the latest steps took is how fast the machine is now. */
  acceptSlowness(): void {
    for (const cost of this.#costs.values()) cost.quiet = Math.max(cost.quiet, cost.mean);
    this.#slowness = 1;
  }
}

/** Two sizes to a doubling. */
function sizeOf(tokens: number): number {
  return Math.floor(2 * Math.log2(tokens));
}
