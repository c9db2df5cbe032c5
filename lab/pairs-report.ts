/** @module Pairwise accuracies as tables and figures. */
import {
  accuracy,
  accuracyDifference,
  type Normalization,
  normalizations,
  type PairMargins,
  type Scorer,
  scorers,
} from "./pairs.ts";
import { dotPlot } from "./plots.tsx";
import type { Estimate } from "./statistics.ts";
import { markdownTable, percentCell } from "./tables.ts";

export interface MarginSet {
  readonly label: string;
  readonly pairs: readonly PairMargins[];
}

export interface ArmMargins {
  readonly name: string;
  /** The policy with its hash. */
  readonly id: string;
  readonly format: string;
  readonly sets: MarginSet[];
}

export const scorerNames: Readonly<Record<Scorer, string>> = {
  s_hat: "Ŝ",
  s: "S",
  likelihood: "log π(y ∣ C⁺)",
  base: "log π(y ∣ C⁰)",
};

/** The same as points with intervals, chance dashed: sums and means per token, all sets together. */
export function pairsFigure(title: string, arms: readonly ArmMargins[]): string {
  const all = slicesOf(arms).find(({ name }) => name === everySet) ?? slicesOf(arms)[0];
  const percent = (estimate: Estimate | null): Estimate | null =>
    estimate && { value: estimate.value * 100, low: estimate.low * 100, high: estimate.high * 100 };
  return dotPlot({
    title,
    axis: "% of pairs whose chosen response scores higher (dashed: chance)",
    digits: 1,
    reference: 50,
    groups: arms.map((arm) => ({
      label: arm.name,
      points: measures.map(({ scorer, normalization }) => ({
        label: measureName({ scorer, normalization }),
        estimate: percent(accuracy(all?.of(arm) ?? [], scorer, normalization)),
      })),
    })),
  });
}

const everySet = "Mean of the sets";

interface Slice {
  readonly name: string;
  readonly of: (arm: ArmMargins) => readonly (readonly PairMargins[])[];
}

const measures = normalizations.flatMap((normalization) => scorers.map((scorer) => ({ scorer, normalization })));

/** What demonstrations change. */
const demonstrated = measures.filter(({ scorer }) => scorer !== "base");

/**
 * A table for each data set, for pairs about equally long, and for the mean of the sets; then each arm beside the
 * first.
 */
export function pairsReport(title: string, arms: readonly ArmMargins[]): string {
  const sections = slicesOf(arms).flatMap((slice) => {
    const count = slice.of(arms[0] as ArmMargins).reduce((sum, pairs) => sum + pairs.length, 0);
    if (count === 0) return [];
    return [`## ${slice.name} (${count} pairs)`, accuracyTable(arms, slice), ...differenceTable(arms, slice)];
  });
  return `${[`# ${title}`, explanation(arms), ...sections].join("\n\n")}\n`;
}

function explanation(arms: readonly ArmMargins[]): string {
  const lines = [
    "Share of pairs, in hundredths, whose chosen response scores higher than the rejected one; a tie counts half. Chance: 50. In brackets: 95 % (of a",
    "share: Wilson; of means over several sets and of differences on the same pairs: bootstrap). Per token: each sum divided by its tokens.",
    "",
    ...arms.map((arm) => `- ${arm.name}: ${arm.id}, prompt format ${arm.format}${shortened(arm)}`),
  ];
  return lines.join("\n");
}

/** Why pairs were measured otherwise than the policy says. */
const shortages = {
  context: "not all demonstrations fitted the context",
  "no-demonstration": "no demonstration was similar enough, so that they have the base alone",
} as const;

function shortened({ sets }: ArmMargins): string {
  const reasons = sets.flatMap(({ pairs }) => pairs.flatMap(({ fallback }) => fallback?.split(":")[0] ?? []));
  return Object.entries(shortages)
    .map(([reason, text]) => ({ text, count: reasons.filter((one) => one === reason).length }))
    .map(({ text, count }) => (count === 0 ? "" : `; of ${count} pairs ${text}`))
    .join("");
}

/** Everything in the report, for programs. */
export function pairsSummary(arms: readonly ArmMargins[]) {
  return slicesOf(arms).map((slice) => ({
    pairs: slice.name,
    arms: arms.map((arm) => ({
      name: arm.name,
      id: arm.id,
      format: arm.format,
      count: slice.of(arm).reduce((sum, pairs) => sum + pairs.length, 0),
      ...Object.fromEntries(
        normalizations.map((normalization) => [
          normalization,
          Object.fromEntries(scorers.map((scorer) => [scorer, accuracy(slice.of(arm), scorer, normalization)])),
        ]),
      ),
    })),
  }));
}

function slicesOf(arms: readonly ArmMargins[]): Slice[] {
  const labels = arms[0]?.sets.map(({ label }) => label) ?? [];
  const setsOf = ({ sets }: ArmMargins): readonly (readonly PairMargins[])[] => sets.map(({ pairs }) => pairs);
  const equal = (pairs: readonly PairMargins[]): readonly PairMargins[] =>
    pairs.filter(({ equallyLong }) => equallyLong);
  const each = labels.map((label, i) => ({ name: label, of: (arm: ArmMargins) => [setsOf(arm)[i] ?? []] }));
  const mean = labels.length > 1 ? [{ name: everySet, of: setsOf }] : [];
  return [...each, ...mean, { name: "Of these, about equally long", of: (arm) => [setsOf(arm).flatMap(equal)] }];
}

function accuracyTable(arms: readonly ArmMargins[], { of }: Slice): string {
  return markdownTable({
    columns: ["", ...measures.map(measureName)],
    rows: arms.map((arm) => [
      arm.name,
      ...measures.map(({ scorer, normalization }) => percentCell(accuracy(of(arm), scorer, normalization))),
    ]),
  });
}

function differenceTable(arms: readonly ArmMargins[], { of }: Slice): string[] {
  const [first, ...others] = arms;
  if (first === undefined || others.length === 0) return [];
  const difference = (arm: ArmMargins, scorer: Scorer, normalization: Normalization): Estimate | null =>
    accuracyDifference(
      of(arm).map((pairs, i) => ({ of: pairs, than: of(first)[i] ?? [] })),
      scorer,
      normalization,
    );
  const table = markdownTable({
    columns: [`less ${first.name}`, ...demonstrated.map(measureName)],
    rows: others.map((arm) => [
      arm.name,
      ...demonstrated.map(({ scorer, normalization }) => percentCell(difference(arm, scorer, normalization))),
    ]),
  });
  return [table];
}

function measureName({
  scorer,
  normalization,
}: {
  readonly scorer: Scorer;
  readonly normalization: Normalization;
}): string {
  return `${scorerNames[scorer]}${normalization === "token" ? " per token" : ""}`;
}
