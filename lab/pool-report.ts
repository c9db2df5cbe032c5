/** @module Pools as a page: verdict, hypotheses, arms by each measure, lengths and costs; two figures. */

import { dotPlot } from "./plots.tsx";
import type { ArmWork, Hypothesis, MeasureSummary, Slice } from "./pool-summary.ts";
import { scatterPlot } from "./scatter-plot.tsx";
import type { Estimate } from "./statistics.ts";
import { estimateCell, fixed, markdownTable } from "./tables.ts";
import { fewPrompts, verdictOf } from "./verdict.ts";

export interface PoolReport {
  readonly title: string;
  /** Whose choice the hypotheses are about. */
  readonly chosen: string;
  readonly slices: readonly Slice[];
  /** Lines of a list. */
  readonly notes: readonly string[];
}

const digits = 3;
/** More prompts than anybody writes: the difference is none. */
const mostNeeded = 1_000_000;

export const armsFile = "arms.svg";
export const gainFile = "gain.svg";

export function poolReport(report: PoolReport): string {
  const { title, chosen, slices, notes } = report;
  const [first] = slices;
  const decisive = first?.measures[0];
  if (first === undefined || decisive === undefined) return `# ${title}\n\nNo answer has a measure.\n`;
  const few = slices.filter(({ prompts }) => prompts < fewPrompts).map(({ name }) => name);
  const opening = [
    "Means over prompts; in brackets 95 % bootstrap intervals, differences paired by prompt, p two-sided by sign flips.",
    "Random pick: the mean of as many candidates as an arm chooses among. G: (arm − random pick) / (best − random pick).",
    ...(few.length > 0
      ? [`Fewer than ${fewPrompts} prompts (${few.join(", ")}): their intervals are too narrow.`]
      : []),
    "",
    ...slices.map(({ name, prompts }) => `- ${name}: ${prompts} prompts`),
    ...notes.map((note) => `- ${note}`),
  ];
  const verdict = verdictOf(decisive, chosen).join(" ");
  return `${[
    `# ${title}`,
    opening.join("\n"),
    `## Verdict, by ${decisive.measure}`,
    `${verdict}`,
    `![Arms, less plain](${armsFile})`,
    `![Gain and cost](${gainFile})`,
    ...slices.flatMap((slice) => [
      ...slice.measures.flatMap((measure) => measureSection(slice.name, measure)),
      ...workSection(slice),
    ]),
  ].join("\n\n")}\n`;
}

function measureSection(slice: string, { measure, arms, hypotheses }: MeasureSummary): string[] {
  const table = markdownTable({
    columns: ["", "mean", "less plain", "p", "less random pick", "p", "G"],
    rows: arms.map(({ arm, mean, lessPlain, lessRandom, gain }) => [
      arm,
      estimateCell(mean, digits),
      estimateCell(lessPlain?.estimate ?? null, digits),
      probability(lessPlain?.p),
      estimateCell(lessRandom?.estimate ?? null, digits),
      probability(lessRandom?.p),
      estimateCell(gain, 2),
    ]),
  });
  return [`## ${slice}: ${measure}`, ...(hypotheses.length > 0 ? [hypothesisTable(hypotheses)] : []), table];
}

export function hypothesisTable(hypotheses: readonly Hypothesis[]): string {
  return markdownTable({
    columns: ["", "difference", "p", "p, Holm", "holds", "sd", "found with 80 %", "prompts for 80 %"],
    rows: hypotheses.map(({ name, arm, than, estimate, p, adjusted, holds, sd, detectable, needed }) => [
      `${name}: ${arm} > ${than}`,
      estimateCell(estimate, digits),
      probability(p),
      probability(adjusted),
      holds ? "yes" : "no",
      figure(sd),
      figure(detectable),
      needed <= mostNeeded ? String(needed) : "over a million",
    ]),
  });
}

/** A dash where one prompt has no deviation. */
function figure(value: number): string {
  return Number.isNaN(value) ? "–" : fixed(value, digits);
}

export function probability(p: number | undefined): string {
  if (p === undefined) return "–";
  return p < 0.001 ? "< 0.001" : fixed(p, digits);
}

function workSection({ name, work }: Slice): string[] {
  const percent = (share: number): string => fixed(share * 100, 1);
  const table = markdownTable({
    columns: ["", "tokens", "cut off, %", "copied, %", "over a fifth copied, %", "sampled", "scored", "seconds"],
    rows: work.map(({ arm, tokens, cutOff, copied, reciting, sampled, scored, seconds }) => [
      arm,
      fixed(tokens, 1),
      percent(cutOff),
      percent(copied),
      percent(reciting),
      fixed(sampled, 0),
      fixed(scored, 0),
      fixed(seconds, 2),
    ]),
  });
  return [
    `## ${name}: lengths and costs`,
    "Copied: five-word sequences that a demonstration shown has as well. Sampled, scored: tokens for one answer, with all that it was chosen from. Seconds: of policies, as they were; of arms from a pool, their share of the pool's time by tokens. Models that reward are not counted.",
    table,
  ];
}

/** Differences to plain of every arm, by the measure that decides. */
export function armsFigure({ slices }: Pick<PoolReport, "slices">): string {
  const measure = slices[0]?.measures[0];
  return dotPlot({
    title: "What arms gain over a plain answer",
    axis: `${measure?.measure ?? ""}, less plain (dashed: none)`,
    digits,
    reference: 0,
    groups: slices.map(({ name, measures }) => ({
      label: name,
      points: (measures.find((one) => one.measure === measure?.measure)?.arms ?? []).flatMap(({ arm, lessPlain }) =>
        lessPlain === null ? [] : [{ label: arm, estimate: lessPlain.estimate }],
      ),
    })),
  });
}

const none: Estimate = { value: 0, low: 0, high: 0 };

/** Gain over plain against the seconds of an answer: of all prompts, by the measure that decides. */
export function gainFigure({ slices }: Pick<PoolReport, "slices">, shown: readonly string[]): string {
  const [slice] = slices;
  const measure = slice?.measures[0];
  const secondsOf = new Map((slice?.work ?? []).map(({ arm, seconds }: ArmWork) => [arm, seconds]));
  return scatterPlot({
    title: "Gain against cost",
    x: "seconds of an answer",
    y: `${measure?.measure ?? ""}, less plain`,
    digits,
    points: (measure?.arms ?? []).flatMap(({ arm, lessPlain }) => {
      const seconds = secondsOf.get(arm);
      if (seconds === undefined || !shown.includes(arm)) return [];
      return [{ label: arm, x: seconds, estimate: lessPlain?.estimate ?? none }];
    }),
  });
}
