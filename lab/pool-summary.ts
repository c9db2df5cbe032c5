/** @module What pools say: means, paired differences with their tests, shares of the attainable gain, hypotheses. */
import { muchCopied } from "icdpo-gateway/laboratory";
import type { Cost, MeasuredAnswer, PoolRow } from "./measured-pool.ts";
import { oracleArm, type PoolArm, plainArm, randomArm } from "./pool-arms.ts";
import { longestArm } from "./pool-rules.ts";
import {
  bootstrapMean,
  bootstrapRatio,
  detectable,
  deviation,
  type Estimate,
  holm,
  meanOf,
  pairsNeeded,
  signFlip,
} from "./statistics.ts";

/** On the prompts that both arms have. */
export interface Difference {
  readonly prompts: number;
  readonly estimate: Estimate;
  /** Two-sided, by sign flips; nothing corrects for their number. */
  readonly p: number;
}

export interface ArmMeasured {
  readonly arm: string;
  readonly mean: Estimate | null;
  readonly lessPlain: Difference | null;
  /** Less the random pick among as many. */
  readonly lessRandom: Difference | null;
  /** G = (arm − random pick) / (best − random pick), of as many candidates as the arm chooses among. */
  readonly gain: Estimate | null;
}

export interface Hypothesis extends Difference {
  readonly name: string;
  readonly arm: string;
  readonly than: string;
  /** By Holm, over all that are tested together. */
  readonly adjusted: number;
  /** The interval's lower end is above 0, and the adjusted p-value below 0.05. */
  readonly holds: boolean;
  /** Of the differences. */
  readonly sd: number;
  /** The least difference that so many prompts find in 80 of 100 samples. */
  readonly detectable: number;
  /** Prompts that find the difference as it was seen in 80 of 100. */
  readonly needed: number;
}

export interface MeasureSummary {
  readonly measure: string;
  readonly arms: readonly ArmMeasured[];
  readonly hypotheses: readonly Hypothesis[];
}

/** Means over prompts. */
export interface ArmWork extends Cost {
  readonly arm: string;
  readonly tokens: number;
  /** Shares in [0, 1]: cut off at the limit; of five-word sequences that were copied; of answers with over a fifth. */
  readonly cutOff: number;
  readonly copied: number;
  readonly reciting: number;
}

export interface Slice {
  readonly name: string;
  readonly prompts: number;
  readonly measures: readonly MeasureSummary[];
  readonly work: readonly ArmWork[];
}

export interface SummaryOptions {
  readonly chosen: string;
  /** n of the arms from the pool. */
  readonly size: number;
  /** The first decides. */
  readonly measures: readonly string[];
}

export const everyPrompt = "all prompts";

/** Each set of prompts, and where there are several all of them, each prompt counting the same. */
export function summarize(rows: readonly PoolRow[], arms: readonly PoolArm[], options: SummaryOptions): Slice[] {
  const sets = [...new Set(rows.map(({ set }) => set))];
  const slices = sets.map((name) => ({ name, own: rows.filter(({ set }) => set === name) }));
  if (sets.length > 1) slices.unshift({ name: everyPrompt, own: [...rows] });
  return slices.map(({ name, own }) => ({
    name,
    prompts: own.length,
    measures: options.measures
      .filter((measure) => arms.some((arm) => own.some((row) => armValue(arm, row, measure) !== null)))
      .map((measure) => measureSummary(own, arms, measure, options)),
    work: arms.flatMap((arm) => workOf(own, arm, options.measures[0] ?? "") ?? []),
  }));
}

function measureSummary(
  rows: readonly PoolRow[],
  arms: readonly PoolArm[],
  measure: string,
  { chosen, size }: SummaryOptions,
): MeasureSummary {
  const valuesOf = (name: string): readonly (number | null)[] => {
    const arm = arms.find((one) => one.name === name);
    return rows.map((row) => (arm === undefined ? null : armValue(arm, row, measure)));
  };
  const plain = valuesOf(plainArm);
  return {
    measure,
    arms: arms.flatMap(({ name, size: among }) => {
      const own = valuesOf(name);
      const isRandom = name === randomArm(among ?? size);
      const random = valuesOf(randomArm(among ?? size));
      const known = own.filter((value) => value !== null);
      if (known.length === 0) return [];
      return [
        {
          arm: name,
          mean: bootstrapMean([known]),
          lessPlain: name === plainArm ? null : differenceOf(own, plain),
          lessRandom: isRandom ? null : differenceOf(own, random),
          gain: isRandom ? null : gainOf(own, random, valuesOf(oracleArm(among ?? size))),
        },
      ];
    }),
    hypotheses: hypothesesOf(valuesOf(chosen), [
      { name: "H1", arm: chosen, than: plainArm, others: plain },
      { name: "H2", arm: chosen, than: randomArm(size), others: valuesOf(randomArm(size)) },
      { name: "H3", arm: chosen, than: longestArm, others: valuesOf(longestArm) },
    ]),
  };
}

/** The mean of the arm's answers to a prompt; null where one has no value. */
export function armValue(arm: PoolArm, row: PoolRow, measure: string): number | null {
  const values = arm.answers(row, measure).map(({ rewards }) => rewards[measure] ?? null);
  const known = values.filter((value) => value !== null);
  return known.length === 0 || known.length < values.length ? null : meanOf(known);
}

function pairedDifferences(own: readonly (number | null)[], others: readonly (number | null)[]): number[] {
  return own.flatMap((value, i) => {
    const other = others[i] ?? null;
    return value === null || other === null ? [] : [value - other];
  });
}

/** `[prompts]`, null where an arm has no value. Null where no prompt has both. */
export function differenceOf(own: readonly (number | null)[], others: readonly (number | null)[]): Difference | null {
  const differences = pairedDifferences(own, others);
  const estimate = bootstrapMean([differences]);
  return estimate && { prompts: differences.length, estimate, p: signFlip(differences) };
}

function gainOf(
  own: readonly (number | null)[],
  random: readonly (number | null)[],
  oracle: readonly (number | null)[],
): Estimate | null {
  return bootstrapRatio(
    own.flatMap((value, i) => {
      const [chance, most] = [random[i] ?? null, oracle[i] ?? null];
      return value === null || chance === null || most === null ? [] : [{ over: value - chance, under: most - chance }];
    }),
  );
}

export interface Claim extends Pick<Hypothesis, "name" | "arm" | "than"> {
  readonly others: readonly (number | null)[];
}

/** Hypotheses about the chosen arm, by its values `[prompts]` and those of what it is compared with. */
export function hypothesesOf(chosen: readonly (number | null)[], claims: readonly Claim[]): Hypothesis[] {
  const tested = claims.flatMap(({ others, ...claim }) => {
    const difference = differenceOf(chosen, others);
    return difference === null ? [] : [{ ...claim, ...difference, sd: deviation(pairedDifferences(chosen, others)) }];
  });
  const adjusted = holm(tested.map(({ p }) => p));
  return tested.map((claim, i) => ({
    ...claim,
    adjusted: adjusted[i] as number,
    holds: claim.estimate.low > 0 && (adjusted[i] as number) < 0.05,
    detectable: detectable(claim.sd, claim.prompts),
    needed: pairsNeeded(claim.sd, claim.estimate.value),
  }));
}

function workOf(rows: readonly PoolRow[], arm: PoolArm, measure: string): ArmWork | null {
  const known = rows.flatMap((row) => {
    const [answers, cost] = [arm.answers(row, measure), arm.cost(row)];
    return answers.length === 0 || cost === null ? [] : [{ answers, cost }];
  });
  if (known.length === 0) return null;
  const mean = (of: (answer: MeasuredAnswer) => number): number =>
    meanOf(known.map(({ answers }) => meanOf(answers.map(of))));
  return {
    arm: arm.name,
    tokens: mean(({ tokens }) => tokens),
    cutOff: mean(({ finish }) => Number(finish === "length")),
    copied: mean(({ copied }) => copied),
    reciting: mean(({ copied }) => Number(copied > muchCopied)),
    sampled: meanOf(known.map(({ cost }) => cost.sampled)),
    scored: meanOf(known.map(({ cost }) => cost.scored)),
    seconds: meanOf(known.map(({ cost }) => cost.seconds)),
  };
}
