/** @module Which variant is chosen, by what all of them have on the same prompts: the simplest within noise of the best. */
import { policyOf, type VariantArm } from "./generators.ts";
import { deviation, meanOf } from "./statistics.ts";
import type { Tried } from "./trial.ts";

/** A prompt with the variants' answers, by the policies' ids. */
export interface TriedPrompt {
  readonly set: string;
  readonly id: string;
  readonly kind: string;
  readonly tried: ReadonlyMap<string, Tried>;
}

/** How a variant stands after some prompts. */
export interface Standing {
  readonly variant: VariantArm;
  /** `[prompts]`. */
  readonly rewards: readonly number[];
  readonly mean: number;
  /** Tokens that an answer takes, on average. */
  readonly work: number;
}

/** Of variants that have answered all of the prompts; best first. */
export function standingsOf(variants: readonly VariantArm[], prompts: readonly TriedPrompt[]): Standing[] {
  return variants.map((variant) => standingOf(variant, prompts)).toSorted(byStanding);
}

function standingOf(variant: VariantArm, prompts: readonly TriedPrompt[]): Standing {
  const own = prompts.map(({ id, tried }) => {
    const one = tried.get(policyOf(variant));
    if (one === undefined) throw new Error(`${variant.label} has not answered ${id}`);
    return one;
  });
  const rewards = own.map(({ reward }) => reward);
  return { variant, rewards, mean: meanOf(rewards), work: meanOf(own.map(({ work }) => work)) };
}

/** What is left of zero after additions. */
const tiny = 1e-9;

/** The larger mean first; of equal ones the cheaper. */
export function byStanding(a: Standing, b: Standing): number {
  return Math.abs(a.mean - b.mean) > tiny ? b.mean - a.mean : a.work - b.work;
}

/**
 * Of those whose mean is within one standard error of the best one's, d̄ ≤ sd(d) / √n of the differences d on the same
 * prompts: plain, which needs nothing, where it is among them, or else the cheapest. Of a single prompt nothing is known
 * of that error, and all are within it. `plain`: its policy's id.
 */
export function chosenOf(standings: readonly [Standing, ...Standing[]], plain: string): Standing {
  const [best] = standings.toSorted(byStanding) as [Standing, ...Standing[]];
  const near = standings.filter((one) => isWithinNoise(best, one));
  const cheapest = near.reduce((chosen, one) =>
    one.work < chosen.work || (one.work === chosen.work && one.mean > chosen.mean) ? one : chosen,
  );
  return near.find(({ variant }) => policyOf(variant) === plain) ?? cheapest;
}

function isWithinNoise(best: Standing, { rewards }: Standing): boolean {
  const differences = best.rewards.map((reward, i) => reward - (rewards[i] as number));
  if (differences.length < 2) return true;
  return meanOf(differences) <= deviation(differences) / Math.sqrt(differences.length) + tiny;
}
