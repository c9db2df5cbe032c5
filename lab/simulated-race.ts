/**
 * @module Pruning told from a full pool: which of its answers would have been dropped, since the score of a beginning is
 * made of its tokens' log-probabilities alone.
 */
import {
  compareRace,
  finalScores,
  keptOf,
  type PolicySettings,
  type Prune,
  rank,
  scoreOf,
} from "icdpo-gateway/laboratory";
import type { TokenValues } from "./token-values.ts";

export interface PooledAnswer extends TokenValues {
  readonly text: string;
  readonly finish: "stop" | "length";
}

/** Of a policy that remembers nothing of other requests. */
export interface RacePolicy {
  readonly settings: PolicySettings;
}

export interface Race {
  /** Index of the answer that is chosen. */
  readonly chosen: number;
  /** Tokens sampled of all candidates, and fed after the context that the score is measured against. */
  readonly sampled: number;
  readonly scored: number;
}

/** An answer as far as it has come. */
interface Runner {
  readonly index: number;
  readonly answer: PooledAnswer;
  /** Tokens it was sampled to; infinite: to its end. */
  readonly reached: number;
}

/** Indices of all answers by the scores at their ends, the best first: the choice without pruning. */
export function fullRanking(pool: readonly PooledAnswer[], policy: RacePolicy): number[] {
  const runners = startOf(pool).map((one) => ({ ...one, reached: Number.POSITIVE_INFINITY }));
  return rank(standings(runners, policy), policy.settings.score).map(({ index }) => index);
}

/** An answer's own score, in nats, or as the policy normalises; null: it is empty. */
export function ownScore(answer: PooledAnswer, policy: RacePolicy): number | null {
  return measuredOf({ index: 0, answer, reached: Number.POSITIVE_INFINITY }, policy).score;
}

/** The race that a policy would run over the same samples, and what is sampled and scored until it is decided. */
export function simulateRace(pool: readonly PooledAnswer[], policy: RacePolicy, { every, keep }: Prune): Race {
  const { score } = policy.settings;
  const out: Runner[] = [];
  let [sampled, scored] = [0, 0];
  let race = startOf(pool);
  for (let round = 1; ; round++) {
    const after = keptOf(race.length, keep, 1) < race.length ? round * every : Number.POSITIVE_INFINITY;
    for (const runner of race.filter(goesOn)) {
      const tokens = partOf(runner, after);
      sampled += tokens;
      scored += fedOf(runner.answer, tokens, after);
    }
    race = race.map((one) => ({ ...one, reached: goesOnAfter(one.answer, after) ? after : Number.POSITIVE_INFINITY }));
    if (!race.some(goesOn)) break;
    const { kept, dropped, aside } = compareRace(standings(race, policy), after, { keep, answers: 1, score });
    out.push(...dropped.map(({ runner }) => runner.of), ...aside.map(({ of }) => of));
    race = kept.map(({ of }) => of);
  }
  // Those that were dropped count for β as far as they came.
  const whole = standings([...out, ...race], policy).filter(({ of }) => !goesOn(of));
  return { chosen: rank(whole, score)[0]?.index ?? 0, sampled, scored };
}

function startOf(pool: readonly PooledAnswer[]): Runner[] {
  return pool.map((answer, index) => ({ index, answer, reached: 0 }));
}

function goesOn({ reached }: Runner): boolean {
  return Number.isFinite(reached);
}

/** The end of an answer is seen when a token more could have been sampled, unless it was cut off there. */
function goesOnAfter(answer: PooledAnswer, tokens: number): boolean {
  const length = lengthOf(answer);
  return length > tokens || (length === tokens && answer.finish === "stop");
}

/** Without EOS. */
function lengthOf({ positive }: PooledAnswer): number {
  return positive.length - 1;
}

/** Tokens that are sampled to come so far. */
function partOf({ answer, reached }: Runner, after: number): number {
  return Math.min(lengthOf(answer), after) - Math.min(lengthOf(answer), reached);
}

/** Of a part of so many tokens: what is fed after the negative context, EOS where the answer ends. */
function fedOf(answer: PooledAnswer, part: number, after: number): number {
  if (answer.negative === null || answer.text === "") return 0;
  return goesOnAfter(answer, after) ? part : part + 1;
}

function standings(runners: readonly Runner[], policy: RacePolicy) {
  const measured = runners.map((one) => measuredOf(one, policy));
  const { scores } = finalScores(policy, measured);
  return runners.map((of, i) => ({
    index: of.index,
    text: of.answer.text,
    finish: goesOn(of) ? null : of.answer.finish,
    sample: null,
    score: scores[i] ?? null,
    of,
  }));
}

function measuredOf({ answer, reached }: Runner, { settings }: RacePolicy) {
  if (answer.text === "") return { score: null, tokens: 0 };
  const positives = answer.positive.slice(0, reached);
  const negatives = answer.negative?.slice(0, reached);
  const sums = { positive: total(positives), negative: negatives === undefined ? null : total(negatives) };
  return { score: scoreOf(settings.score, sums, positives.length), tokens: positives.length };
}

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
