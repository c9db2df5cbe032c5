/** @module What a run of `icdpo tune` found: on the prompts for tuning, and on those that nothing was tuned on. */
import { policyOf, type VariantArm } from "./generators.ts";
import { type Difference, differenceOf, everyPrompt, type Hypothesis, hypothesesOf } from "./pool-summary.ts";
import { bootstrapMean, type Estimate, meanOf } from "./statistics.ts";
import type { Tried } from "./trial.ts";
import { chosenOf, type Standing, standingsOf, type TriedPrompt } from "./tuned-choice.ts";
import type { Rung, Tuned } from "./tuning.ts";
import { tuningVerdict } from "./tuning-verdict.ts";

/** The policies that are compared on held-out prompts; two may be one. */
export interface Compared {
  readonly chosen: VariantArm;
  readonly start: VariantArm;
  readonly plain: VariantArm;
}

export interface VariantMeasured {
  readonly label: string;
  readonly mean: Estimate | null;
  readonly lessPlain: Difference | null;
  readonly lessStart: Difference | null;
  /** Tokens of one answer: prompts, samples and completions that are scored. */
  readonly work: number;
}

/** As requests get them. */
export interface ServedWork {
  readonly label: string;
  readonly seconds: number;
  readonly tokens: number;
  readonly cutOff: number;
  /** Share of five-word sequences that a demonstration shown has; null: none is shown. */
  readonly copied: number | null;
}

export interface HeldOutPrompt {
  readonly set: string;
  readonly id: string;
  /** Rewards, by the variant's label. */
  readonly rewards: Readonly<Record<string, number>>;
}

export interface TuningSummary {
  readonly measure: string;
  readonly chosen: string;
  readonly best: string;
  readonly rungs: readonly Rung[];
  readonly tuning: { readonly prompts: number; readonly variants: readonly VariantMeasured[] };
  readonly heldOut: {
    readonly prompts: number;
    readonly hypotheses: readonly Hypothesis[];
    readonly slices: readonly {
      readonly name: string;
      readonly prompts: number;
      readonly variants: readonly VariantMeasured[];
    }[];
    readonly work: readonly ServedWork[];
    /** Those where the chosen policy gains most over the start come first. */
    readonly rows: readonly HeldOutPrompt[];
  };
  /** In words. */
  readonly verdict: readonly string[];
}

/** By the rule of `chosenOf`, on the prompts for tuning alone. */
export function comparedBy(tuned: Tuned, { start, plain }: Omit<Compared, "chosen">): Compared {
  const standings = tuned.standings as readonly [Standing, ...Standing[]];
  return { chosen: chosenOf(standings, policyOf(plain)).variant, start, plain };
}

export function summarizeTuning(
  measure: string,
  tuned: Tuned,
  heldOut: readonly TriedPrompt[],
  compared: Compared,
): TuningSummary {
  const { chosen, start, plain } = compared;
  const served = distinct([chosen, start, plain]);
  const sets = [...new Set(heldOut.map(({ set }) => set))];
  const slices = [
    { name: everyPrompt, own: heldOut },
    ...(sets.length < 2 ? [] : sets.map((name) => ({ name, own: heldOut.filter(({ set }) => set === name) }))),
  ];
  const hypotheses = hypothesesOf(
    rewardsOf(chosen, heldOut),
    distinct([plain, start])
      .filter((one) => policyOf(one) !== policyOf(chosen))
      .map((one, i) => ({ name: `H${i + 1}`, arm: chosen.label, than: one.label, others: rewardsOf(one, heldOut) })),
  );
  const tuning = measuredOf(tuned.standings, compared);
  return {
    measure,
    chosen: chosen.label,
    best: tuned.standings[0]?.variant.label ?? chosen.label,
    rungs: tuned.rungs,
    tuning: { prompts: tuned.prompts.length, variants: tuning },
    heldOut: {
      prompts: heldOut.length,
      hypotheses,
      slices: slices.map(({ name, own }) => ({
        name,
        prompts: own.length,
        variants: measuredOf(standingsOf(served, own), compared),
      })),
      work: served.map((variant) => workOf(variant, heldOut)),
      rows: heldOutRows(heldOut, compared),
    },
    verdict: tuningVerdict(hypotheses, compared, tuning, heldOut.length),
  };
}

function distinct(variants: readonly VariantArm[]): VariantArm[] {
  return variants.filter((one, i) => variants.findIndex((other) => policyOf(other) === policyOf(one)) === i);
}

function rewardsOf(variant: VariantArm, prompts: readonly TriedPrompt[]): (number | null)[] {
  return prompts.map(({ tried }) => tried.get(policyOf(variant))?.reward ?? null);
}

function measuredOf(standings: readonly Standing[], { start, plain }: Compared): VariantMeasured[] {
  const less = (rewards: readonly number[], than: VariantArm): Difference | null => {
    const others = standings.find(({ variant }) => policyOf(variant) === policyOf(than));
    return others === undefined || others.rewards === rewards ? null : differenceOf(rewards, others.rewards);
  };
  return standings.map(({ variant, rewards, work }) => ({
    label: variant.label,
    mean: bootstrapMean([rewards]),
    lessPlain: less(rewards, plain),
    lessStart: less(rewards, start),
    work,
  }));
}

function workOf(variant: VariantArm, prompts: readonly TriedPrompt[]): ServedWork {
  const own = prompts.flatMap(({ tried }) => tried.get(policyOf(variant)) ?? []);
  const mean = (of: (one: Tried) => number): number => meanOf(own.map(of));
  const copied = own.flatMap(({ answer }) => answer.copied ?? []);
  return {
    label: variant.label,
    seconds: mean(({ seconds }) => seconds),
    tokens: mean(({ answer }) => answer.tokens),
    cutOff: mean(({ answer }) => Number(answer.finish === "length")),
    copied: copied.length === 0 ? null : meanOf(copied),
  };
}

function heldOutRows(prompts: readonly TriedPrompt[], { chosen, start, plain }: Compared): HeldOutPrompt[] {
  const served = distinct([chosen, start, plain]);
  const gain = ({ rewards }: HeldOutPrompt): number => (rewards[chosen.label] ?? 0) - (rewards[start.label] ?? 0);
  return prompts
    .map(({ set, id, tried }) => ({
      set,
      id,
      rewards: Object.fromEntries(served.map((one) => [one.label, tried.get(policyOf(one))?.reward ?? Number.NaN])),
    }))
    .toSorted((a, b) => gain(b) - gain(a));
}
