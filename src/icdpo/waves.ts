/**
 * @module Adaptive effort: candidates come in waves, and more are sampled only where the choice among those at hand is
 * not clear.
 */
import type { PolicySettings } from "../policy/schema.ts";
import type { Score } from "../policy/score-schema.ts";
import { demerits, type Rankable } from "./choose.ts";

export interface Wave {
  /** Index of its first candidate. */
  readonly first: number;
  readonly count: number;
}

/**
 * The waves that there may be, of `most` candidates in all. A fixed number is one wave. Otherwise the first has the
 * policy's least number, or as many as `answers` are wanted, and each further one doubles what there is. Candidates of a
 * wave are sampled side by side: a request waits for ⌈log₂(max / min)⌉ + 1 waves at most, where one more at a time would
 * make it wait for max − min + 1.
 *
 * @example wavesOf({ min: 2, max: 6, margin: 2 }, 1, 6) // 2, 2 and 2 candidates, the first ones of index 0, 2 and 4
 */
export function wavesOf(
  candidates: PolicySettings["candidates"],
  answers: number,
  most: number,
): readonly [Wave, ...Wave[]] {
  const least = typeof candidates === "number" ? most : Math.min(most, Math.max(candidates.min, answers));
  const later: Wave[] = [];
  for (let first = least; first < most; first *= 2) later.push({ first, count: Math.min(first, most - first) });
  return [{ first: 0, count: least }, ...later];
}

/**
 * Whether the best of ranked candidates leads the second by `margin`, in the score's unit. The second is the best one
 * that says something else: where all say the same, there is nothing to choose. Candidates that go last whatever their
 * score (empty ones, those that do not fit, those that the policy puts last) neither lead nor follow, so that one
 * that stands alone leads nobody.
 *
 * @example isClear(rank(scored, setting), 2, setting) // true for scores of 5.1 and 3 nats, false for 5.1 and 3.2
 */
export function isClear(ranked: readonly Rankable[], margin: number, setting: Score): boolean {
  const [best] = ranked;
  if (best === undefined || !competes(best, setting)) return false;
  const others = ranked.filter(({ text }) => text !== best.text);
  if (others.length === 0) return true;
  const second = others.find((one) => competes(one, setting));
  return second !== undefined && (best.score ?? 0) - (second.score ?? 0) >= margin;
}

function competes(candidate: Rankable, setting: Score): boolean {
  const { text, fits, score } = candidate;
  return text !== "" && fits !== false && score !== null && demerits(candidate, setting) === 0;
}
