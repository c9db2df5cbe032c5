/**
 * @module What only shows among all candidates of a request: how much of their scores is their length, and how far they
 * agree.
 */
import type { Policy } from "../policy/policy.ts";
import { noTotals, type ScoreTotals, sumOfTotals } from "../policy/running-rate.ts";
import { isBySums, type Score } from "../policy/score-schema.ts";

/** A candidate by its own sums alone. */
export interface Measured {
  /** By `scoreOf`; null where it was not measured. */
  readonly score: number | null;
  /** EOS counts. */
  readonly tokens: number;
  /** By `consensusOf`; null or absent: it does not count. */
  readonly consensus?: number | null;
  /** A reward model's; null or absent: it does not count. */
  readonly reward?: number | null;
}

export interface FinalScores {
  /** `[candidates]`. */
  readonly scores: readonly (number | null)[];
  /** β; null where the policy does not ask for it, or nothing was measured. */
  readonly natsPerToken: number | null;
}

/**
 * The scores by which candidates compete, in nats: `score − β·tokens + λ·consensus + μ·reward`, with β = 0 where the
 * policy does not normalise by length, λ = 0 where it says nothing of a consensus, and μ = 0 where it mixes no reward
 * in. All candidates of a request have the same β.
 */
export function finalScores(
  { settings, rate }: Pick<Policy, "settings" | "rate">,
  all: readonly Measured[],
): FinalScores {
  const own = totalsOf(all);
  const natsPerToken = natsPerTokenOf(settings.score, rate?.totals, own);
  return { scores: all.map((one) => finalScore(settings.score, one, natsPerToken)), natsPerToken };
}

export function finalScore(
  setting: Score,
  { score, tokens, consensus, reward }: Measured,
  natsPerToken: number | null,
): number | null {
  if (score === null || !isBySums(setting)) return score;
  const agreed = (setting.consensus ?? 0) * (consensus ?? 0);
  return score - (natsPerToken ?? 0) * tokens + agreed + (setting.reward?.weight ?? 0) * (reward ?? 0);
}

/**
 * β = Σ score / Σ tokens, in nats per token, over the candidates before and those of the request itself; or what the
 * policy says. With y ~ C⁺ each token adds KL(π⁺ ‖ π⁻) ≥ 0 to Ŝ on average, whatever it says: that much is not merit.
 */
export function natsPerTokenOf(score: Score, before: ScoreTotals = noTotals, own: ScoreTotals): number | null {
  if (!isBySums(score) || score.normalize !== "length") return null;
  const { nats, tokens } = sumOfTotals(before, own);
  return score.nats_per_token ?? (tokens === 0 ? null : nats / tokens);
}

/** Of what was measured, and is not impossible. */
export function totalsOf(candidates: readonly Measured[]): ScoreTotals {
  return candidates
    .filter(({ score }) => score !== null && Number.isFinite(score))
    .map(({ score, tokens }) => ({ nats: score as number, tokens }))
    .reduce(sumOfTotals, noTotals);
}
