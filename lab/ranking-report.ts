/** @module Mean reciprocal ranks as a table and Figure 3. */
import { dotPlot } from "./plots.tsx";
import { chanceReciprocalRank, reciprocalRank } from "./ranking.ts";
import { bootstrapMean, type Estimate } from "./statistics.ts";
import { estimateCell, fixed, markdownTable } from "./tables.ts";

/** One prompt's candidates. */
export interface RankingRow {
  readonly set: string;
  readonly id: string;
  readonly arm: string;
  readonly policy: string;
  /** `[candidates]`; null: the judge's verdict on a pair of them cannot be read. */
  readonly truth: readonly number[] | null;
  /** Scorer → `[candidates]`; null: an empty candidate, which ranks last. */
  readonly scores: Readonly<Record<string, readonly (number | null)[]>>;
}

interface ArmRanks {
  readonly arm: string;
  readonly prompts: number;
  /** Prompts whose truth is not known. */
  readonly unreadable: number;
  readonly ranks: readonly { readonly scorer: string; readonly estimate: Estimate | null }[];
}

/** Prompts whose candidates the truth finds all the same say nothing, and are left out. */
export function ranksOf(rows: readonly RankingRow[]): ArmRanks[] {
  const scorers = [...new Set(rows.flatMap(({ scores }) => Object.keys(scores)))];
  return [...new Set(rows.map(({ arm }) => arm))].map((arm) => {
    const all = rows.filter((row) => row.arm === arm);
    const known = all.flatMap(({ truth, ...row }) => (truth === null ? [] : [{ truth, ...row }]));
    const own = known.filter(({ truth }) => new Set(truth).size > 1);
    const sets = [...new Set(own.map(({ set }) => set))];
    const ranks = scorers.map((scorer) => {
      const values = sets.map((set) =>
        own
          .filter((row) => row.set === set)
          .map((row) => reciprocalRank(emptyLast(row.scores[scorer] ?? []), row.truth)),
      );
      return { scorer, estimate: bootstrapMean(values) };
    });
    return { arm, prompts: own.length, unreadable: all.length - known.length, ranks };
  });
}

function emptyLast(scores: readonly (number | null)[]): number[] {
  return scores.map((score) => score ?? Number.NEGATIVE_INFINITY);
}

export function rankingReport(
  title: string,
  rows: readonly RankingRow[],
  candidates: number,
  notes: readonly string[],
): string {
  const arms = ranksOf(rows);
  const scorers = arms[0]?.ranks.map(({ scorer }) => scorer) ?? [];
  const table = markdownTable({
    columns: [
      "",
      ...arms.map(
        ({ arm, prompts, unreadable }) =>
          `${arm} (${prompts} prompts${unreadable > 0 ? `, ${unreadable} unreadable` : ""})`,
      ),
    ],
    rows: scorers.map((scorer) => [
      scorer,
      ...arms.map(({ ranks }) => estimateCell(ranks.find((rank) => rank.scorer === scorer)?.estimate ?? null, 3)),
    ]),
  });
  const explanation = [
    `Mean reciprocal rank that each scorer gives to the candidate that the truth finds best, of ${candidates}; 1 is agreement, chance is`,
    `${fixed(chanceReciprocalRank(candidates), 3)}. Ties share their places. Prompts whose candidates are all the same to the truth are left out.`,
    "Unreadable: prompts left out because the judge gave no verdict on a pair that can be read. In brackets: bootstrap intervals of 95 %, over prompts.",
    ...(notes.length > 0 ? ["", ...notes] : []),
  ];
  return `# ${title}\n\n${explanation.join("\n")}\n\n${table}\n`;
}

/** Figure 3: a group for each arm. */
export function rankingFigure(rows: readonly RankingRow[], candidates: number): string {
  return dotPlot({
    title: "How well scorers agree with the truth's order",
    axis: "mean reciprocal rank (dashed: chance)",
    digits: 3,
    reference: chanceReciprocalRank(candidates),
    groups: ranksOf(rows).map(({ arm, ranks }) => ({
      label: arm,
      points: ranks.map(({ scorer, estimate }) => ({ label: scorer, estimate })),
    })),
  });
}
