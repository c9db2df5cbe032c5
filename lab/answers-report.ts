/** @module Answers of several arms as tables and figures: means by data set, and differences on the same prompts. */
import { muchCopied } from "icdpo-gateway/laboratory";
import type { AnswerRow } from "./answers.ts";
import { shareBars } from "./plots.tsx";
import { bootstrapMean, type Estimate, meanOf, median } from "./statistics.ts";
import { estimateCell, fixed, markdownTable } from "./tables.ts";

/** A percentile bootstrap of so few does not hold what it promises. */
const fewPrompts = 20;

export interface Measure {
  readonly name: string;
  readonly digits: number;
  readonly of: (row: AnswerRow) => number | null;
}

/** What the rows hold, the most telling first. */
export function measuresOf(rows: readonly AnswerRow[]): Measure[] {
  const rewards = [...new Set(rows.flatMap((row) => Object.keys(row.rewards)))];
  const all: Measure[] = [
    ...rewards.map((label) => ({
      name: `reward ${label}`,
      digits: 2,
      of: (row: AnswerRow) => row.rewards[label] ?? null,
    })),
    {
      name: "wins against the chosen response, a tie counting half, %",
      digits: 1,
      of: ({ judgement }) => percent(judgement),
    },
    { name: "Ŝ of the answers, nats", digits: 2, of: ({ s_hat: sHat }) => sHat },
    { name: "S of the answers, nats", digits: 2, of: ({ s }) => s },
    { name: "tokens of an answer", digits: 1, of: ({ tokens }) => tokens },
    { name: "5-grams copied from demonstrations, %", digits: 1, of: ({ copied }) => hundredfold(copied) },
    {
      name: `answers of which more than ${hundredfold(muchCopied)} % is copied, %`,
      digits: 1,
      of: ({ copied }) => (copied === null ? null : copied > muchCopied ? 100 : 0),
    },
    { name: "empty answers, %", digits: 1, of: ({ text }) => (text.trim() === "" ? 100 : 0) },
    { name: "cut off at the limit, %", digits: 1, of: ({ finish }) => (finish === "length" ? 100 : 0) },
  ];
  return all.filter(({ of }) => rows.some((row) => of(row) !== null));
}

function percent(judgement: AnswerRow["judgement"]): number | null {
  return typeof judgement === "number" ? judgement * 100 : null;
}

function hundredfold(share: number | null): number | null {
  return share === null ? null : share * 100;
}

/** Arms, in the order in which they come. */
export function armsOf(rows: readonly Pick<AnswerRow, "arm">[]): string[] {
  return [...new Set(rows.map(({ arm }) => arm))];
}

export function setsOf(rows: readonly Pick<AnswerRow, "set">[]): string[] {
  return [...new Set(rows.map(({ set }) => set))];
}

/** The mean over the sets of an arm's means. Rows without the measure are left out. */
export function meanOfArm(
  rows: readonly AnswerRow[],
  arm: string,
  sets: readonly string[],
  { of }: Measure,
): Estimate | null {
  return bootstrapMean(
    sets.map((set) => rows.filter((row) => row.arm === arm && row.set === set).flatMap((row) => of(row) ?? [])),
  );
}

/** One arm less another, on the prompts that both have. */
export function differenceOfArms(
  rows: readonly AnswerRow[],
  [arm, than]: readonly [string, string],
  sets: readonly string[],
  { of }: Measure,
): Estimate | null {
  const others = new Map(rows.filter((row) => row.arm === than).map((row) => [`${row.set} ${row.id}`, of(row)]));
  const differences = sets.map((set) =>
    rows
      .filter((row) => row.arm === arm && row.set === set)
      .flatMap((row) => {
        const [own, other] = [of(row), others.get(`${set} ${row.id}`) ?? null];
        return own === null || other === null ? [] : [own - other];
      }),
  );
  return bootstrapMean(differences);
}

export function answersReport(title: string, rows: readonly AnswerRow[], notes: readonly string[]): string {
  const sets = setsOf(rows);
  const counts = sets.map((set) => ({
    set,
    prompts: new Set(rows.filter((row) => row.set === set).map(({ id }) => id)).size,
  }));
  const policies = armsOf(rows).map((arm) => `- ${arm}: ${rows.find((row) => row.arm === arm)?.policy}`);
  const few = counts.some(({ prompts }) => prompts < fewPrompts)
    ? [` Of fewer than ${fewPrompts} prompts they are too narrow.`]
    : [];
  const opening = [
    ["Means; in brackets: bootstrap intervals of 95 %, over prompts. Total: the mean of the sets.", ...few].join(""),
    "",
    ...counts.map(({ set, prompts }) => `- ${set}: ${prompts} prompts`),
  ];
  const sections = measuresOf(rows).flatMap((measure) => measureSection(rows, sets, measure));
  return `${[`# ${title}`, [...opening, ...policies, ...notes].join("\n"), ...judgedSection(rows, sets), ...sections, costSection(rows)].join("\n\n")}\n`;
}

function measureSection(rows: readonly AnswerRow[], sets: readonly string[], measure: Measure): string[] {
  const [first, ...others] = armsOf(rows);
  const columns = columnsOf(sets);
  const table = markdownTable({
    columns: ["", ...columns.map(({ name }) => name)],
    rows: armsOf(rows).map((arm) => [
      arm,
      ...columns.map(({ of }) => estimateCell(meanOfArm(rows, arm, of, measure), measure.digits)),
    ]),
  });
  if (first === undefined || others.length === 0) return [`## ${measure.name}`, table];
  const differences = markdownTable({
    columns: [`less ${first}`, ...columns.map(({ name }) => name)],
    rows: others.map((arm) => [
      arm,
      ...columns.map(({ of }) => estimateCell(differenceOfArms(rows, [arm, first], of, measure), measure.digits)),
    ]),
  });
  return [`## ${measure.name}`, table, differences];
}

/** Every figure of the report, for programs. */
export function answersSummary(rows: readonly AnswerRow[]) {
  const columns = columnsOf(setsOf(rows));
  return armsOf(rows).map((arm) => ({
    arm,
    policy: rows.find((row) => row.arm === arm)?.policy,
    judged: judgedCounts(rows, arm),
    measures: Object.fromEntries(
      measuresOf(rows).map((measure) => [
        measure.name,
        Object.fromEntries(columns.map(({ name, of }) => [name, meanOfArm(rows, arm, of, measure)])),
      ]),
    ),
  }));
}

/** Each set, and all of them where there are several. */
export function columnsOf(sets: readonly string[]): { readonly name: string; readonly of: readonly string[] }[] {
  return [...sets.map((set) => ({ name: set, of: [set] })), ...(sets.length > 1 ? [{ name: "Total", of: sets }] : [])];
}

/** Wins, ties and losses of an arm, counted, and what has no verdict that can be read. */
export function judgedCounts(
  rows: readonly AnswerRow[],
  arm: string,
): { readonly win: number; readonly tie: number; readonly lose: number; readonly unreadable: number } {
  const count = (value: AnswerRow["judgement"]): number =>
    rows.filter((row) => row.arm === arm && row.judgement === value).length;
  return { win: count(1), tie: count(0.5), lose: count(0), unreadable: count("unreadable") };
}

function judgedSection(rows: readonly AnswerRow[], sets: readonly string[]): string[] {
  if (rows.every(({ judgement }) => judgement === null)) return [];
  const tables = sets.map((set) => {
    const own = rows.filter((row) => row.set === set);
    return markdownTable({
      columns: [set, "win", "tie", "lose", "unreadable"],
      rows: armsOf(own).map((arm) => [arm, ...Object.values(judgedCounts(own, arm)).map(String)]),
    });
  });
  return ["## against the chosen response, by the judge in both orders", ...tables];
}

/** Figures 2 and 4: a bar for each arm, of the verdicts that can be read. Null where there is none. */
export function judgedFigure(rows: readonly AnswerRow[]): string | null {
  if (!rows.some(({ judgement }) => typeof judgement === "number")) return null;
  const bars = armsOf(rows).map((label) => {
    const { win, tie, lose } = judgedCounts(rows, label);
    return { label, parts: [win, tie, lose] };
  });
  return shareBars({
    title: "Against the data's chosen responses",
    axis: "% of prompts",
    legend: ["win", "tie", "lose"],
    bars,
  });
}

function costSection(rows: readonly AnswerRow[]): string {
  const average = (own: readonly AnswerRow[], of: (row: AnswerRow) => number): string => fixed(meanOf(own.map(of)), 0);
  const table = markdownTable({
    columns: ["", "seconds, mean", "seconds, median", "prompt tokens", "of these cached", "sampled", "scored"],
    rows: armsOf(rows).map((arm) => {
      const own = rows.filter((row) => row.arm === arm);
      const seconds = own.map(({ ms }) => ms / 1000);
      const work = (["prompt", "cached", "sampled", "scored"] as const).map((kind) =>
        average(own, ({ work: tokens }) => tokens[kind]),
      );
      return [arm, fixed(meanOf(seconds), 2), fixed(median(seconds), 2), ...work];
    }),
  });
  return `## a request's time and work\n\nMeasured when it was generated, with others under way.\n\n${table}`;
}
