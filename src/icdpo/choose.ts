/** @module Lines 10 to 15 of Algorithm 1: the candidate with the largest score. */
import type { FinishReason } from "../engine/engine.ts";
import type { Score } from "../policy/score-schema.ts";
import { type Copied, muchCopied } from "./copied.ts";
import type { ScoredResponse } from "./response.ts";

export type Rankable = Pick<ScoredResponse, "index" | "text" | "fits" | "score" | "sample"> & Merits;

/** What may go before the score. */
export interface Merits {
  /** Null: it goes on; absent: it is not known how it ended. */
  readonly finish?: FinishReason | null;
  /** Absent: there is nothing that it could be copied from. */
  readonly copied?: Copied | undefined;
}

/**
 * Candidates, best first: arg max of the score, in nats; ties: the lower index. An empty candidate wins only if all are
 * empty, one that does not fit what is asked of it only if none is known to do better, then what the policy puts first.
 * Where a deadline came before some scores, scored ones go before unscored, and finished ones before those cut off.
 *
 * @example const [best] = rank(scored, policy.settings.score);
 */
export function rank<Ranked extends Rankable>(candidates: readonly Ranked[], score?: Score): Ranked[] {
  return candidates.toSorted(
    (a, b) =>
      Number(b.text !== "") - Number(a.text !== "") ||
      Number(b.fits !== false) - Number(a.fits !== false) ||
      demerits(a, score) - demerits(b, score) ||
      Number(b.score !== null) - Number(a.score !== null) ||
      compare(b.score ?? 0, a.score ?? 0) ||
      Number(b.sample !== null) - Number(a.sample !== null) ||
      a.index - b.index,
  );
}

/**
 * Less goes first, whatever the scores: 0 where a policy treats all as equals. A copy of an answer to another question
 * is worse than half an answer.
 */
export function demerits({ finish, copied }: Merits, score: Score | undefined): number {
  if (score === undefined || score.type === "none") return 0;
  const isCopied = mindsCopies(score) && copied !== undefined && copied.share > muchCopied;
  return 2 * Number(isCopied) + Number(score.unfinished === "last" && finish === "length");
}

/** Whether the policy puts candidates last that are copied from demonstrations. */
export function mindsCopies(score: Score): boolean {
  return score.type !== "none" && score.copied === "last";
}

/** One candidate at random goes first, an empty one only if all are: the paper's ICL baseline. */
export function pickRandom(candidates: readonly ScoredResponse[], random: () => number): ScoredResponse[] {
  const picked = Math.floor(random() * candidates.length);
  const rotated = [...candidates.slice(picked), ...candidates.slice(0, picked)];
  return [...rotated.filter(({ text }) => text !== ""), ...rotated.filter(({ text }) => text === "")];
}

export function compare(a: number, b: number): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
