/** @module What only shows among all candidates of a request: how much of their scores is their length. */
import type { Policy } from "../policy/policy.ts";
import { noTotals, type ScoreTotals, sumOfTotals } from "../policy/running-rate.ts";
import type { Score } from "../policy/schema.ts";

/** A candidate by its own sums alone. */
export interface Measured {
  /** By `scoreOf`; null where it was not measured. */
  readonly score: number | null;
  /** EOS counts. */
  readonly tokens: number;
}

export interface FinalScores {
  /** `[candidates]`. */
  readonly scores: readonly (number | null)[];
  /** β; null where the policy does not ask for it, or nothing was measured. */
  readonly natsPerToken: number | null;
}

/**
 * The scores by which candidates compete, in nats: `score − β·tokens` where the policy normalises by length, else
 * `score`. All candidates of a request have the same β; with them the policy's running mean has grown.
 */
export function finalScores(
  { settings, rate }: Pick<Policy, "settings" | "rate">,
  all: readonly Measured[],
): FinalScores {
  const own = totalsOf(all);
  const natsPerToken = natsPerTokenOf(settings.score, rate?.totals, own);
  rate?.add(own);
  return { scores: all.map((one) => finalScore(one, natsPerToken)), natsPerToken };
}

export function finalScore({ score, tokens }: Measured, natsPerToken: number | null): number | null {
  return score === null || natsPerToken === null ? score : score - natsPerToken * tokens;
}

/**
 * β = Σ score / Σ tokens, in nats per token, over the candidates before and those of the request itself; or what the
 * policy says. With y ~ C⁺ each token adds KL(π⁺ ‖ π⁻) ≥ 0 to Ŝ on average, whatever it says: that much is not merit.
 */
export function natsPerTokenOf(score: Score, before: ScoreTotals = noTotals, own: ScoreTotals): number | null {
  if (score.type === "none" || score.normalize !== "length") return null;
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
