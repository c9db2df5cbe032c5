/**
 * @module How many threads a step should use. llama.cpp's threads wait for each other by spinning, some hundred times a
 * step: where another process has the core of one of them, all wait, and a step takes ten times as long, while fewer
 * threads would go on almost as fast as ever.
 *
 * Numbers of threads are compared with each other on the work itself. A trial runs a few steps with another number,
 * beside the mean of the latest steps of about as many tokens with the present one. Slow steps begin a trial of fewer
 * threads at once. Trials of more threads are broken off at their first slow step, and the more such a step has cost,
 * the later the next one comes.
 */
import { StepCosts } from "./step-costs.ts";

interface Trial {
  /** With so many threads, instead of so many. */
  readonly threads: number;
  readonly insteadOf: number;
  /** What to try if this does not help. */
  readonly others: readonly number[];
  /** Slow steps were the reason. */
  readonly forSlowness: boolean;
  /** What the trials before it in this row have lost. */
  readonly lost: number;
  steps: number;
  /** Milliseconds that its steps took, and what they would have taken with the present number of threads. */
  spent: number;
  expected: number;
}

/**
 * When a trial of more, or of fewer threads ended, and what it cost: milliseconds beyond what the steps would have
 * taken without it.
 */
interface Ended {
  readonly at: number;
  /** Milliseconds of steps until then. */
  readonly worked: number;
  readonly loss: number;
}

const never: Ended = { at: Number.NEGATIVE_INFINITY, worked: Number.NEGATIVE_INFINITY, loss: 0 };

/**
 * Steps this much longer than quiet ones count as slow; what is beyond adds up, in quiet steps, and is forgotten by a
 * fifth each step.
 */
const slow = 1.5;
const forgotten = 0.8;
const tooSlow = 3;
/**
 * Fewer threads must be this much faster to be kept, and more threads hardly slower: what is nearly the same does not
 * go back and forth.
 */
const gain = 0.9;
const parity = 1.02;
const stepsDown = { enough: 3, most: 4 };
const stepsUp = { enough: 8, most: 16 };
/** A trial of more threads ends when it has lost half a step. */
const lossUp = 0.5;
/** Trials wait until so many times their loss has been worked: they cost such a share of the time at most. */
const waits = { up: 25, upCrowded: 100, downSlow: 10, downCrowded: 50, down: 200 };
/** Where cores seem to be free, trials of more threads come at least so often. */
const longestWaitUpMs = 6_000;
const shortestWaitUpMs = 250;
/** Where they do not, a single step of such a trial may take seconds. */
const shortestWaitUpCrowdedMs = 60_000;
/** The wait doubles with the second trial in vain, as often as this. */
const mostVain = 5;
const shortestWaitDownCrowdedMs = 1_000;
const shortestWaitDownMs = 10_000;
/** A core of which others use less counts as free. */
const shareOfOthers = 0.5;

export interface ThreadControlOptions {
  /** Threads that turned out to be fastest at the start. */
  readonly start: number;
  /** Threads at most. */
  readonly most: number;
}

export class ThreadControl {
  readonly #most: number;
  /** By the number of threads. */
  readonly #costs = new Map<number, StepCosts>();
  #settled: number;
  #limit = Number.POSITIVE_INFINITY;
  #trial: Trial | undefined;
  /** What the step under way uses. */
  #used: number;
  /** How far the latest steps were beyond slow, in quiet steps. */
  #excess = 0;
  /** The same in milliseconds, since it last was nothing. */
  #excessMs = 0;
  #worked = 0;
  #up = never;
  /** Trials of more threads in a row that did not help although cores were free. */
  #vain = 0;
  /** Cores were free when the last trial of more threads began. */
  #seesFree = false;
  #down = never;

  constructor({ start, most }: ThreadControlOptions) {
    this.#most = most;
    this.#settled = start;
    this.#used = start;
  }

  /** Threads that steps use at present, trials aside, if nobody else of this program needs the cores. */
  get settled(): number {
    return this.#settled;
  }

  /** Steps use so many threads at most from now on, and as many as before when the limit is lifted. */
  limit(threads: number): void {
    this.#limit = threads;
    if (this.#trial?.insteadOf !== this.threads) this.#trial = undefined;
  }

  /**
   * Threads for the next step, of so many tokens. `at`: milliseconds, from any origin. `available`: cores that others
   * leave to this process, where that is known; it says when trials are worth their while, never how they end.
   */
  next(tokens: number, at: number, available?: number): number {
    this.#trial ??= this.#begin(at, available);
    const { threads = this.threads } = this.#trial ?? {};
    this.#used = threads <= this.#limit && this.#expected(tokens, at) !== undefined ? threads : this.threads;
    return this.#used;
  }

  /** That step took so long, in milliseconds, and ended at that time. */
  record(tokens: number, ms: number, at: number): void {
    this.#worked += ms;
    const costs = this.#costsOf(this.#used);
    const quiet = costs.quiet(tokens);
    if (this.#used !== this.threads) this.#judge(tokens, ms, at);
    costs.record(tokens, ms, at);
    if (this.#used === this.threads && quiet !== undefined) this.#watch(ms, quiet, at);
  }

  /** What is settled, within the limit. */
  get threads(): number {
    return Math.min(this.#settled, this.#limit);
  }

  #begin(at: number, available?: number): Trial | undefined {
    const { threads } = this;
    const more = rungs(Math.min(this.#most, this.#limit)).find((rung) => rung > threads);
    if (more !== undefined) {
      this.#seesFree = available !== undefined && !isCrowded(more, available);
      if (!this.#seesFree) this.#vain = 0;
      if (this.#isDue(this.#up, at, isCrowded(more, available) ? "upCrowded" : "up")) return trial(threads, [more]);
    }
    if (threads === 1) return undefined;
    const fewer = fewerThan(threads, this.#costsOf(threads).slowness);
    if (isCrowded(threads, available))
      return this.#isDue(this.#down, at, "downCrowded") ? trial(threads, fewer) : undefined;
    // Where nobody needs the cores, steps stay as they are: their rounding depends on the number of threads.
    if (available !== undefined) return undefined;
    return this.#isDue(this.#down, at, "down") ? trial(threads, fewer.slice(0, 1)) : undefined;
  }

  #isDue(last: Ended, at: number, direction: "up" | "upCrowded" | "down" | "downCrowded" | "downSlow"): boolean {
    const waited = at - last.at;
    const worked = this.#worked - last.worked;
    switch (direction) {
      case "up":
        if (this.#vain > 1) return waited >= longestWaitUpMs * 2 ** Math.min(this.#vain - 1, mostVain);
        return waited >= longestWaitUpMs || (waited >= shortestWaitUpMs && worked >= waits.up * last.loss);
      case "upCrowded":
        return waited >= shortestWaitUpCrowdedMs && worked >= waits.upCrowded * last.loss;
      case "downSlow":
        return worked >= waits.downSlow * last.loss;
      case "downCrowded":
        return waited >= shortestWaitDownCrowdedMs && worked >= waits.downCrowded * last.loss;
      case "down":
        return waited >= shortestWaitDownMs && worked >= waits.down * last.loss;
    }
  }

  /**
   * What a step would take with the present number of threads, in milliseconds; undefined: none of this size has been
   * seen.
   */
  #expected(tokens: number, at: number): number | undefined {
    return this.#costsOf(this.threads).expected(tokens, at, this.#trial?.forSlowness ?? false);
  }

  #costsOf(threads: number): StepCosts {
    const costs = this.#costs.get(threads) ?? new StepCosts();
    this.#costs.set(threads, costs);
    return costs;
  }

  #judge(tokens: number, ms: number, at: number): void {
    const trial = this.#trial;
    const expectedMs = this.#expected(tokens, at - ms);
    if (trial?.threads !== this.#used || expectedMs === undefined) return; // another limit came meanwhile
    const isUp = trial.threads > this.threads;
    trial.steps += 1;
    trial.spent += ms;
    trial.expected += expectedMs;
    const { steps, spent, expected } = trial;
    const ratio = spent / expected;
    const { enough, most } = isUp ? stepsUp : stepsDown;
    const isGood = ratio <= (isUp ? parity : gain);
    const isBad = isUp ? spent - expected > (lossUp * expected) / steps : spent > expected / gain;
    if (steps >= enough && isGood) this.#settle(trial, at);
    else if (isBad || steps >= most) this.#giveUp(trial, at);
  }

  #settle({ threads }: Trial, at: number): void {
    const before = this.threads;
    const isUp = threads > before;
    const done = { at, worked: this.#worked };
    // Where one trial helped, the next in its direction begins at once. What made fewer threads necessary is what going
    // back would cost.
    this.#up = isUp ? never : { ...done, loss: rungs(before).at(-2) === threads ? this.#excessMs : 0 };
    this.#down = isUp ? { ...done, loss: 0 } : never;
    this.#settled = threads;
    this.#vain = 0;
    this.#costsOf(threads).forgetSlowness();
    this.#end();
  }

  #giveUp({ threads, spent, expected, others, forSlowness, lost }: Trial, at: number): void {
    const ended = { at, worked: this.#worked, loss: lost + Math.max(0, spent - expected) };
    const isUp = threads > this.threads;
    if (isUp) this.#up = ended;
    else this.#down = ended;
    if (isUp && this.#seesFree) this.#vain += 1;
    this.#end();
    if (others.length > 0) this.#trial = trial(this.threads, others, forSlowness, ended.loss);
    else if (forSlowness) this.#costsOf(this.threads).acceptSlowness();
  }

  #end(): void {
    this.#trial = undefined;
    this.#excess = 0;
    this.#excessMs = 0;
  }

  /** Steps that are much slower than they were: perhaps for want of cores. */
  #watch(ms: number, quiet: number, at: number): void {
    const beyond = Math.max(0, ms - slow * quiet);
    this.#excess = this.#excess * forgotten + beyond / quiet;
    this.#excessMs = beyond > 0 ? this.#excessMs + beyond : this.#excessMs * forgotten;
    const isTryingFewer = this.#trial !== undefined && this.#trial.threads < this.threads;
    if (this.#excess <= tooSlow || this.threads === 1 || isTryingFewer || !this.#isDue(this.#down, at, "downSlow"))
      return;
    this.#trial = trial(this.threads, fewerThan(this.threads, this.#costsOf(this.threads).slowness), true);
  }
}

function trial(insteadOf: number, [threads, ...others]: readonly number[], forSlowness = false, lost = 0): Trial {
  return { threads: threads as number, insteadOf, others, forSlowness, lost, steps: 0, spent: 0, expected: 0 };
}

/** Whether others use the cores that so many threads would run on. */
function isCrowded(threads: number, available: number | undefined): boolean {
  return available !== undefined && available < threads - shareOfOthers;
}

/** Numbers of threads that are tried: 1, 2, 3, 4, 6, 8, 12 … and the largest. */
function rungs(most: number): number[] {
  const below = [1];
  for (let power = 2; power < most; power *= 2) below.push(power, power * 1.5);
  return [...below.filter((rung) => rung < most), most];
}

/** What to try instead: a single one, where even that would be faster; else half as many; a little fewer. */
function fewerThan(threads: number, slowness: number): number[] {
  const below = rungs(threads).filter((rung) => rung < threads);
  const half = below.findLast((rung) => rung * 2 <= threads);
  const choices = slowness > threads ? [1, half, below.at(-1)] : [half, 1, below.at(-1)];
  return [...new Set(choices)].filter((rung) => rung !== undefined);
}
