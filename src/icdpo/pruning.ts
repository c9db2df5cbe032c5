/**
 * @module Which candidates a policy that prunes drops: the plan, apart from what is sampled. As in Speculative Rejection
 * (NeurIPS 2024).
 */
import { keptOf } from "../policy/choice-schema.ts";
import type { Score } from "../policy/score-schema.ts";
import { type Rankable, rank } from "./choose.ts";

/** Why a candidate was dropped: it was at `place` (1: the best) of so many, after so many tokens. */
export interface Dropped {
  readonly after: number;
  readonly place: number;
  readonly among: number;
}

export interface Rules {
  /** The share that stays in the race, rounded up. */
  readonly keep: number;
  /** As many stay at least. */
  readonly answers: number;
  readonly score: Score;
}

/** Whose `finish` is null goes on. */
export interface Comparison<Runner extends Rankable> {
  /** They stay in the race, best first. */
  readonly kept: readonly Runner[];
  /** They would go on, and must not. */
  readonly dropped: readonly { readonly runner: Runner; readonly why: Dropped }[];
  /** They have ended: they compete at the end, but stand in nobody's way before. */
  readonly aside: readonly Runner[];
}

/**
 * Compares a race whose candidates have `after` tokens each, or have ended: the best ⌈keep·n⌉ of n by their scores so
 * far stay in it, in the order in which a policy ranks whole answers (ties: the lower index).
 *
 * @example compareRace(eight, 32, { keep: 0.5, answers: 1, score }).dropped[0]?.why // { after: 32, place: 5, among: 8 }
 */
export function compareRace<Runner extends Rankable>(
  race: readonly Runner[],
  after: number,
  { keep, answers, score }: Rules,
): Comparison<Runner> {
  const among = race.length;
  const count = keptOf(among, keep, answers);
  const ranked = rank(race, score);
  const passed = ranked.slice(count).map((runner, i) => ({ runner, why: { after, place: count + i + 1, among } }));
  return {
    kept: ranked.slice(0, count),
    dropped: passed.filter(({ runner }) => runner.finish === null),
    aside: passed.map(({ runner }) => runner).filter(({ finish }) => finish !== null),
  };
}
