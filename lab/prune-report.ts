/** @module What pruning saves, and how often its choice is the choice among all: a table of settings. */
import type { Prune } from "icdpo-gateway/laboratory";
import type { Race } from "./simulated-race.ts";
import { bootstrapMean, bootstrapRatio, type Estimate } from "./statistics.ts";
import { estimateCell, markdownTable, percentCell } from "./tables.ts";

/** What a choice comes to on a prompt. */
export interface Choice extends Race {
  /** Of the chosen answer among the whole pool; 1: the best. */
  readonly place: number;
  /** The chosen answer's own; null: it is empty. */
  readonly score: number | null;
}

export interface PruneRow {
  readonly set: string;
  readonly id: string;
  /** Without pruning: the whole pool, and its first answers alone. */
  readonly all: Choice;
  readonly fewer: Choice;
  /** `[settings]` */
  readonly pruned: readonly Choice[];
}

export interface PruneTerms {
  readonly title: string;
  /** Answers in a pool, and in its beginning. */
  readonly pool: number;
  readonly fewer: number;
  readonly settings: readonly Prune[];
  readonly notes: readonly string[];
}

export interface PruneSummary {
  readonly name: string;
  /** Shares of prompts, and means over prompts. */
  readonly same: Estimate | null;
  readonly amongTwo: Estimate | null;
  readonly score: Estimate | null;
  /** Tokens, by those without pruning. */
  readonly sampled: Estimate | null;
  readonly scored: Estimate | null;
}

/** Of all prompts together. */
export function pruneSummary(rows: readonly PruneRow[], { pool, fewer, settings }: PruneTerms): PruneSummary[] {
  const choices: readonly (readonly [name: string, of: (row: PruneRow) => Choice])[] = [
    [`all ${pool}`, ({ all }) => all],
    [`the first ${fewer} alone`, (row) => row.fewer],
    ...settings.map(
      ({ every, keep }, i) => [`every ${every}, keep ${keep}`, ({ pruned }: PruneRow) => pruned[i] as Choice] as const,
    ),
  ];
  return choices.map(([name, of]) => {
    const share = (holds: (choice: Choice) => boolean) => bootstrapMean([rows.map((row) => Number(holds(of(row))))]);
    const ratio = (tokens: (choice: Choice) => number) =>
      bootstrapRatio(rows.map((row) => ({ over: tokens(of(row)), under: tokens(row.all) })));
    return {
      name,
      same: share(({ place }) => place === 1),
      amongTwo: share(({ place }) => place <= 2),
      score: bootstrapMean([rows.flatMap((row) => of(row).score ?? [])]),
      sampled: ratio(({ sampled }) => sampled),
      scored: ratio(({ scored }) => scored),
    };
  });
}

export function pruneReport(rows: readonly PruneRow[], terms: PruneTerms): string {
  const table = markdownTable({
    columns: ["", "the best of all, %", "among the best two, %", "mean score", "sampled, % of all", "scored, % of all"],
    rows: pruneSummary(rows, terms).map(({ name, same, amongTwo, score, sampled, scored }) => [
      name,
      percentCell(same),
      percentCell(amongTwo),
      estimateCell(score, 2),
      percentCell(sampled),
      percentCell(scored),
    ]),
  });
  return `${[
    `# ${terms.title}`,
    "Told from whole pools: which answers would have been dropped. In brackets 95 % bootstrap intervals over prompts.",
    [`- ${rows.length} prompts`, ...terms.notes.map((note) => `- ${note}`)].join("\n"),
    table,
  ].join("\n\n")}\n`;
}
