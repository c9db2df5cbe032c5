/** @module Lines 10 to 15 of Algorithm 1: the candidate with the largest score. */
import type { ScoredResponse } from "./response.ts";

type Rankable = Pick<ScoredResponse, "index" | "text" | "fits" | "score" | "sample">;

/**
 * Candidates, best first: arg max of the score, in nats; ties: the lower index. An empty candidate wins only if all are
 * empty, one that does not fit what is asked of it only if none is known to do better; where a deadline came before some scores, scored ones go before unscored, and finished ones before those cut
 * off.
 *
 * @example const [best] = rank(scored);
 */
export function rank<Ranked extends Rankable>(candidates: readonly Ranked[]): Ranked[] {
  return candidates.toSorted(
    (a, b) =>
      Number(b.text !== "") - Number(a.text !== "") ||
      Number(b.fits !== false) - Number(a.fits !== false) ||
      Number(b.score !== null) - Number(a.score !== null) ||
      compare(b.score ?? 0, a.score ?? 0) ||
      Number(b.sample !== null) - Number(a.sample !== null) ||
      a.index - b.index,
  );
}

/** One candidate at random goes first, an empty one only if all are: the paper's ICL baseline. */
export function pickRandom(candidates: readonly ScoredResponse[], random: () => number): ScoredResponse[] {
  const picked = Math.floor(random() * candidates.length);
  const rotated = [...candidates.slice(picked), ...candidates.slice(0, picked)];
  return [...rotated.filter(({ text }) => text !== ""), ...rotated.filter(({ text }) => text === "")];
}

function compare(a: number, b: number): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
