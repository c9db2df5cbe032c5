/**
 * @module Lines 3 to 9 of Algorithm 1: how much more likely the model finds a response under C⁺ than under the negative
 * context, Eq. 8 and 11.
 */
import type { Sample, Token } from "../engine/engine.ts";
import { rewardAsked, type Score } from "../policy/score-schema.ts";
import { GatewayError } from "../types/error.ts";
import type { Negative } from "./contexts.ts";

/** What a score is computed from, in nats; null where it was not measured. */
export interface Sums {
  /** log π(y ∣ C⁺). */
  readonly positive: number | null;
  /** log π(y ∣ C⁻), log π(y ∣ C⁰) or log π_ref(y ∣ C⁺). */
  readonly negative: number | null;
  /** What a reward model says, in its own units; absent: nobody asks. */
  readonly reward?: number | null;
}

/** The context that a policy's score is measured against. */
export function negativeOf(score: Score): Negative {
  return score.type === "contrast" ? score.negative : null;
}

/**
 * A response's score, in nats:
 *
 * - Ŝ = log π(y ∣ C⁺) − log π(y ∣ C⁻) (Eq. 11), S = log π(y ∣ C⁺) − log π(y ∣ C⁰) (Eq. 8), or log π(y ∣ C⁺) − log
 *   π_ref(y ∣ C⁺), by what `sums.negative` is;
 * - log π(y ∣ C⁺) alone, where the policy's score is the likelihood;
 * - a reward model's reward alone, in its own units, where the policy says so.
 *
 * Divided by `tokens`, EOS among them, where the policy says so: nats per token. What a policy takes off for length shows
 * among all candidates only: see `finalScores`, which also adds a reward that is mixed in. Null where a sum is missing, or
 * the reward. Throws "engine_failure" for NaN.
 *
 * @example
 * const sHat = { type: "contrast", negative: "rejected", normalize: "sum" };
 * scoreOf(sHat, { positive: -12, negative: -20 }, 4); // 8
 */
export function scoreOf(score: Score, sums: Sums, tokens: number): number | null {
  if (rewardAsked(score) !== null && (sums.reward ?? null) === null) return null;
  if (score.type === "reward") return sums.reward ?? null;
  if (score.type === "none" || sums.positive === null) return null;
  if (score.type === "contrast" && sums.negative === null) return null;
  const difference = score.type === "contrast" ? sums.positive - (sums.negative as number) : sums.positive;
  if (Number.isNaN(difference)) throw unscorable();
  return score.normalize === "token" ? difference / tokens : difference;
}

/**
 * log π(y ∣ C⁺) by sampled log-probabilities, in nats, without a second pass: where the ids are a beginning of what was
 * sampled, and the log-probability of ending there is known. Else null.
 */
export function sampledSum(sample: Sample | null, idsWithEos: readonly Token[]): number | null {
  const length = idsWithEos.length - 1;
  const end = sample?.endLogprobs[length];
  if (sample === null || end === undefined || end === null) return null;
  for (let i = 0; i < length; i++) if (sample.tokens[i] !== idsWithEos[i]) return null;
  return sumOf([...sample.logprobs.slice(0, length), end]);
}

/** In nats. Throws "engine_failure" where one is not a number. */
export function sumOf(logprobs: readonly number[]): number {
  const total = logprobs.reduce((subtotal, value) => subtotal + value, 0);
  if (Number.isNaN(total)) throw unscorable();
  return total;
}

export function unscorable(): GatewayError {
  return new GatewayError("engine_failure", "The engine returned no log-probability for a token of a completion.");
}
