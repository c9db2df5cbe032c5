/**
 * @module The search of `icdpo tune`: successive halving of generators on the prompts for tuning, then the chosen
 * policy on others. What was known is recalled at its old price, so that a run that is taken up decides as it did.
 */
import { GatewayError, inPool } from "icdpo-gateway/laboratory";
import type { Generator, VariantArm } from "./generators.ts";
import { betterHalf, type Limit, promptsOfRung, rungsOf, shareOfLimit, tuningShare } from "./halving.ts";
import type { AskedPrompt } from "./pool-rows.ts";
import { meanOf } from "./statistics.ts";
import { type TrialOptions, type Tried, trialOf } from "./trial.ts";
import { byStanding, type Standing, standingsOf, type TriedPrompt } from "./tuned-choice.ts";

export interface TuningOptions extends TrialOptions {
  /** Of all that is done, the prompts that nothing is tuned on among it. */
  readonly limit: Limit;
  /** Prompts at once. */
  readonly concurrency: number;
  readonly signal: AbortSignal;
  /** Says how far so many prompts are. */
  readonly progress: (what: string, prompts: number) => () => void;
}

export interface Rung {
  readonly generators: number;
  /** That all of them have answered when it ends. */
  readonly prompts: number;
  /** The best variant of each generator that goes no further. */
  readonly dropped: readonly string[];
}

export interface Tuned {
  readonly rungs: readonly Rung[];
  readonly prompts: readonly TriedPrompt[];
  /** Of what was left in the last rung, and of the policies that are never dropped; best first. */
  readonly standings: readonly Standing[];
}

/** One run of `icdpo tune`, from its first prompt to its last. */
export class Tuning {
  readonly #options: TuningOptions;
  /** Of the limit. */
  #spent = 0;
  /** By generator: the shares of the limit that a prompt took. */
  readonly #costs = new Map<string, number[]>();

  constructor(options: TuningOptions) {
    this.#options = options;
  }

  /** What has been spent, as a share of the limit. */
  get spent(): number {
    return this.#spent;
  }

  /**
   * Halves those of `generators` that have a variant beside `kept`, the policies' ids that are never dropped, until the
   * last two have been compared, prompts or the share for tuning have run out. Throws "invalid_request" where the first
   * prompt takes all of that.
   */
  async tune(
    prompts: readonly AskedPrompt[],
    generators: readonly Generator[],
    kept: ReadonlySet<string>,
  ): Promise<Tuned> {
    const only = (generator: Generator) => keptOnly(generator, kept);
    const competes = ({ variants }: Generator) => variants.some(({ arm }) => !kept.has(arm.policy.id));
    let competing = generators.filter(competes);
    let fixed = generators.filter((generator) => !competes(generator));
    const rungs: Rung[] = [];
    const asked: TriedPrompt[] = [];
    const all = rungsOf(competing.length);
    const inRung = (): Generator[] => this.#plainFirst([...fixed, ...competing]);
    for (let rung = 0; rung < all; rung++) {
      if (rung === 0) asked.push(...(await this.#ask(prompts.slice(0, 1), inRung(), "first prompt, for the pace")));
      if (this.#spent >= tuningShare && asked.length <= 1) throw tooSlow(this.#spent, generators.length);
      const what = `rung ${rung + 1} of ${all}, ${competing.length} generators: prompts`;
      const hasGrown = await this.#grow(asked, prompts, inRung(), all - rung, what);
      const isLast = rung === all - 1 || !hasGrown || asked.length === prompts.length;
      const better = isLast ? competing : betterHalf(competing, byBest(asked));
      const dropped = competing.filter((generator) => !better.includes(generator));
      rungs.push({ generators: competing.length, prompts: asked.length, dropped: dropped.map(bestLabel(asked)) });
      if (isLast) break;
      fixed = [...fixed, ...dropped.map(only).filter(({ variants }) => variants.length > 0)];
      competing = better;
    }
    const variants = inRung().flatMap((generator) => generator.variants);
    return { rungs, prompts: asked, standings: standingsOf(variants, asked) };
  }

  /** Each of the policies on prompts that nothing was tuned on, as many as the limit allows: as requests get them. */
  async holdOut(prompts: readonly AskedPrompt[], variants: readonly VariantArm[]): Promise<TriedPrompt[]> {
    const alone = variants.map((variant) => ({ key: variant.arm.policy.id, variants: [variant] }));
    return this.#ask(prompts, this.#plainFirst(alone), "held-out prompts", 1);
  }

  /**
   * Asks as many prompts more as a rung has, the last one until nothing is left for it: what came first tells too much
   * or too little of the pace. `rungs`: this one and those to come. False: there was nothing more to ask.
   */
  async #grow(
    asked: TriedPrompt[],
    prompts: readonly AskedPrompt[],
    generators: readonly Generator[],
    rungs: number,
    what: string,
  ): Promise<boolean> {
    for (;;) {
      const known = new Set(asked.map(({ set, id }) => `${set}: ${id}`));
      const open = prompts.filter(({ set, id }) => !known.has(`${set}: ${id}`));
      const needs = { left: tuningShare - this.#spent, cost: this.#costOf(generators), rungs };
      const more = promptsOfRung({ ...needs, available: open.length });
      const rows = await this.#ask(open.slice(0, more), generators, what);
      asked.push(...rows);
      if (rungs > 1 || rows.length === 0) return rows.length > 0;
    }
  }

  /** Whole prompts, until so much of the limit is spent; those that were left out come not at all. */
  async #ask(
    prompts: readonly AskedPrompt[],
    generators: readonly Generator[],
    what: string,
    most = tuningShare,
  ): Promise<TriedPrompt[]> {
    if (prompts.length === 0) return [];
    const { concurrency, signal, progress } = this.#options;
    const step = progress(what, prompts.length);
    const asked = await inPool(prompts, { concurrency, signal }, async (prompt, own) => {
      const row = this.#spent + this.#costOf(generators) > most ? null : await this.#answered(prompt, generators, own);
      step();
      return row;
    });
    return asked.filter((row) => row !== null);
  }

  async #answered(prompt: AskedPrompt, generators: readonly Generator[], signal: AbortSignal): Promise<TriedPrompt> {
    const { limit, concurrency } = this.#options;
    const tried = new Map<string, Tried>();
    for (const generator of generators) {
      const trial = await trialOf(prompt, generator, tried, this.#options, signal);
      for (const [id, one] of trial.tried) tried.set(id, one);
      const cost = shareOfLimit(trial.paid, limit, concurrency);
      this.#spent += cost;
      this.#costs.set(generator.key, [...(this.#costs.get(generator.key) ?? []), cost]);
    }
    const { set, id, kind } = prompt;
    return { set, id, kind, tried };
  }

  /** Of a prompt, as far as is known: a share of the limit. */
  #costOf(generators: readonly Generator[]): number {
    const costs = generators.map(({ key }) => this.#costs.get(key) ?? []);
    return costs.reduce((sum, own) => sum + (own.length === 0 ? 0 : meanOf(own)), 0);
  }

  /** A judge may compare with its answers. */
  #plainFirst(generators: readonly Generator[]): Generator[] {
    const isPlain = ({ variants }: Generator): boolean =>
      variants.some(({ arm }) => arm.policy.id === this.#options.plain);
    return generators.toSorted((a, b) => Number(isPlain(b)) - Number(isPlain(a)));
  }
}

function keptOnly({ key, variants }: Generator, kept: ReadonlySet<string>): Generator {
  return { key, variants: variants.filter(({ arm }) => kept.has(arm.policy.id)) };
}

function bestOf({ variants }: Generator, prompts: readonly TriedPrompt[]): Standing {
  return standingsOf(variants, prompts)[0] as Standing;
}

function byBest(prompts: readonly TriedPrompt[]) {
  return (a: Generator, b: Generator): number => byStanding(bestOf(a, prompts), bestOf(b, prompts));
}

function bestLabel(prompts: readonly TriedPrompt[]) {
  return (generator: Generator): string => bestOf(generator, prompts).variant.label;
}

function tooSlow(spent: number, generators: number): GatewayError {
  return new GatewayError(
    "invalid_request",
    `The first prompt, answered by all ${generators} generators, took ${Math.ceil(spent * 100)} % of the limit: nothing can be compared. Raise --minutes (or --tokens) about ${Math.ceil(spent * 10)}-fold, or give a smaller --grid or --max-tokens. What was done is kept.`,
  );
}
