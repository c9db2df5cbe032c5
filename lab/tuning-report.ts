/** @module A run of `icdpo tune` as a page: verdict, held-out prompts, the search; and two figures. */
import { dotPlot } from "./plots.tsx";
import { hypothesisTable, probability } from "./pool-report.ts";
import { scatterPlot } from "./scatter-plot.tsx";
import { estimateCell, fixed, markdownTable } from "./tables.ts";
import type { TuningSummary, VariantMeasured } from "./tuning-summary.ts";

export interface TuningReport extends TuningSummary {
  readonly title: string;
  /** Lines of a list. */
  readonly notes: readonly string[];
  readonly leftOut: readonly { readonly label: string; readonly reason: string }[];
}

const digits = 3;
const shownVariants = 30;
const shownPrompts = 5;

export const heldOutFile = "held-out.svg";
export const searchFile = "search.svg";

export function tuningReport(report: TuningReport): string {
  const { title, measure, verdict, notes, heldOut } = report;
  return `${[
    `# ${title}`,
    verdict.join(" "),
    notes.map((note) => `- ${note}`).join("\n"),
    `## Held-out prompts: ${measure}`,
    "Nothing was tuned on them. In brackets 95 % bootstrap intervals, differences paired by prompt, p two-sided by sign flips; Holm over the comparisons named here.",
    ...(heldOut.hypotheses.length > 0 ? [hypothesisTable(heldOut.hypotheses)] : []),
    `![Held-out prompts, less plain](${heldOutFile})`,
    ...heldOut.slices.flatMap(({ name, prompts, variants }) => [
      `### ${name}, ${prompts} in number`,
      variantTable(variants),
    ]),
    ...workSection(report),
    ...promptSection(report),
    ...searchSection(report),
    ...leftOutSection(report),
  ].join("\n\n")}\n`;
}

function variantTable(variants: readonly VariantMeasured[]): string {
  return markdownTable({
    columns: ["", "mean", "less plain", "p", "less as it is", "p", "tokens an answer takes"],
    rows: variants.map(({ label, mean, lessPlain, lessStart, work }) => [
      label,
      estimateCell(mean, digits),
      estimateCell(lessPlain?.estimate ?? null, digits),
      probability(lessPlain?.p),
      estimateCell(lessStart?.estimate ?? null, digits),
      probability(lessStart?.p),
      fixed(work, 0),
    ]),
  });
}

function workSection({ heldOut }: TuningReport): string[] {
  const percent = (share: number): string => fixed(share * 100, 1);
  return [
    "### What answers cost, as requests get them",
    markdownTable({
      columns: ["", "seconds", "tokens in the answer", "cut off, %", "copied from demonstrations, %"],
      rows: heldOut.work.map(({ label, seconds, tokens, cutOff, copied }) => [
        label,
        fixed(seconds, 2),
        fixed(tokens, 1),
        percent(cutOff),
        copied === null ? "–" : percent(copied),
      ]),
    }),
  ];
}

function promptSection({ heldOut: { rows }, chosen }: TuningReport): string[] {
  const labels = Object.keys(rows[0]?.rewards ?? {});
  if (labels.length < 2) return [];
  const shown = rows.length > 2 * shownPrompts ? [...rows.slice(0, shownPrompts), ...rows.slice(-shownPrompts)] : rows;
  return [
    `### Where ${chosen} gains most, and where it loses most`,
    markdownTable({
      columns: ["prompt", ...labels],
      rows: shown.map(({ set, id, rewards }) => [
        `${set}: ${id}`,
        ...labels.map((label) => fixed(rewards[label] ?? Number.NaN, digits)),
      ]),
    }),
  ];
}

function searchSection({ rungs, tuning, measure }: TuningReport): string[] {
  const { prompts, variants } = tuning;
  const more = variants.length - shownVariants;
  return [
    `## The search: ${measure}`,
    "Successive halving: rungs that cost about the same, after each the better half of the generators goes on. A generator is what makes samples; its variants choose among them. Figures of the prompts for tuning flatter what is best by them.",
    markdownTable({
      columns: ["rung", "generators", "prompts so far", "went no further"],
      rows: rungs.map(({ generators, prompts: seen, dropped }, i) => [
        String(i + 1),
        String(generators),
        String(seen),
        dropped.length === 0 ? "–" : dropped.join(", "),
      ]),
    }),
    `What was left after ${prompts} prompts, best first${more > 0 ? ` (${more} more in report.json)` : ""}:`,
    variantTable(variants.slice(0, shownVariants)),
    `![What was left, by the rows of the table: gain and cost](${searchFile})`,
  ];
}

function leftOutSection({ leftOut }: TuningReport): string[] {
  if (leftOut.length === 0) return [];
  const reasons = new Map<string, number>();
  for (const { reason } of leftOut) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  return [
    `## Combinations that no policy can have: ${leftOut.length}`,
    [...reasons].map(([reason, count]) => `- ${count}: ${reason}`).join("\n"),
  ];
}

/** Held-out prompts: each policy less plain, of all and of each set. */
export function heldOutFigure({ heldOut, measure }: TuningSummary): string {
  return dotPlot({
    title: "Held-out prompts",
    axis: `${measure}, less plain (dashed: none)`,
    digits,
    reference: 0,
    groups: heldOut.slices.map(({ name, variants }) => ({
      label: name,
      points: variants.flatMap(({ label, lessPlain }) =>
        lessPlain === null ? [] : [{ label: short(label), estimate: lessPlain.estimate }],
      ),
    })),
  });
}

const mostLetters = 32;

/** That a figure has room for. */
function short(label: string): string {
  return label.length <= mostLetters ? label : `${label.slice(0, mostLetters - 1)}…`;
}

const none = { value: 0, low: 0, high: 0 };
const mostPoints = 16;

/** Prompts for tuning: gain over plain against the tokens of an answer, of what was left. */
export function searchFigure({ tuning, measure }: TuningSummary): string {
  return scatterPlot({
    title: "Prompts for tuning: gain and cost",
    x: "tokens an answer takes",
    y: `${measure}, less plain`,
    digits,
    points: tuning.variants
      .slice(0, mostPoints)
      .map(({ label, work, lessPlain }) => ({ label: short(label), x: work, estimate: lessPlain?.estimate ?? none })),
  });
}
