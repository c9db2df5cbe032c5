/** @module Pairwise accuracy: how often a scorer prefers the chosen response over the rejected one. */
import type { Conversation } from "icdpo-gateway/laboratory";
import { type Arm, measured } from "./arms.ts";
import type { ResultCache } from "./cache.ts";
import { bootstrapMean, type Estimate, shareOf } from "./statistics.ts";

/** Ŝ; S; log π(y ∣ C⁺); log π(y ∣ C⁰), which needs no demonstrations. */
export const scorers = ["s_hat", "s", "likelihood", "base"] as const;
export type Scorer = (typeof scorers)[number];
/** Of sums of log-probabilities, or of their means per token. */
export const normalizations = ["sum", "token"] as const;
export type Normalization = (typeof normalizations)[number];

export interface Pair {
  readonly id: string;
  readonly messages: Conversation;
  readonly chosen: string;
  readonly rejected: string;
}

/** Score of the chosen response minus that of the rejected one, in nats; null where the policy has no such score. */
export interface PairMargins {
  readonly id: string;
  /** Neither response is over a tenth longer than the other, in characters. */
  readonly equallyLong: boolean;
  /** Tokens of both, the closing tokens among them. */
  readonly tokens: { readonly chosen: number; readonly rejected: number };
  readonly sum: Readonly<Record<Scorer, number | null>>;
  readonly token: Readonly<Record<Scorer, number | null>>;
  /** Demonstrations that did not fit the context, or were not similar enough. */
  readonly fallback: string | null;
}

export interface PairOptions {
  /** Decides random demonstrations. */
  readonly seed: number;
  readonly signal?: AbortSignal | undefined;
}

const lengthTolerance = 1.1;

export async function measurePair(
  arm: Arm,
  cache: ResultCache,
  pair: Pair,
  options: PairOptions,
): Promise<PairMargins> {
  const completions = [pair.chosen, pair.rejected];
  const measurement = await measured(arm, cache, { conversation: pair.messages, completions, ...options });
  const [chosen, rejected] = measurement.measured.map(({ positive, base, s, sHat, tokens }) => ({
    tokens,
    scores: { s_hat: sHat, s, likelihood: positive, base },
  }));
  if (chosen === undefined || rejected === undefined) throw new Error("Two completions were not measured");
  const margin = (normalization: Normalization) => (scorer: Scorer) => {
    const [better, worse] = [chosen.scores[scorer], rejected.scores[scorer]];
    if (better === null || worse === null) return null;
    return normalization === "sum" ? better - worse : better / chosen.tokens - worse / rejected.tokens;
  };
  return {
    id: pair.id,
    equallyLong: equallyLong(pair.chosen, pair.rejected),
    tokens: { chosen: chosen.tokens, rejected: rejected.tokens },
    sum: forEachScorer(margin("sum")),
    token: forEachScorer(margin("token")),
    fallback: measurement.fallback,
  };
}

/** 1: the chosen response scores higher; ½: the same; 0: lower; null: the pair has no such score. */
function agreement(pair: PairMargins, scorer: Scorer, normalization: Normalization): number | null {
  const margin = pair[normalization][scorer];
  return margin === null ? null : margin > 0 ? 1 : margin < 0 ? 0 : 0.5;
}

/**
 * Share of pairs whose chosen response scores higher, a tie counting half, of those with that score; the mean over data
 * sets where there are several.
 */
export function accuracy(
  sets: readonly (readonly PairMargins[])[],
  scorer: Scorer,
  normalization: Normalization,
): Estimate | null {
  const values = sets.map((pairs) => pairs.flatMap((pair) => agreement(pair, scorer, normalization) ?? []));
  return values.length === 1 ? shareOf(values[0] as number[]) : bootstrapMean(values);
}

/**
 * How much more often one arm is right than another on the same pairs: those, by their ids, that have the score in
 * both. Ids are unique in a set.
 */
export function accuracyDifference(
  sets: readonly { readonly of: readonly PairMargins[]; readonly than: readonly PairMargins[] }[],
  scorer: Scorer,
  normalization: Normalization,
): Estimate | null {
  const differences = sets.map(({ of, than }) => {
    const others = new Map(than.map((pair) => [pair.id, agreement(pair, scorer, normalization)]));
    return of.flatMap((pair) => {
      const [own, other] = [agreement(pair, scorer, normalization), others.get(pair.id) ?? null];
      return own === null || other === null ? [] : [own - other];
    });
  });
  return bootstrapMean(differences);
}

function equallyLong(chosen: string, rejected: string): boolean {
  return Math.max(chosen.length, rejected.length) / Math.min(chosen.length, rejected.length) <= lengthTolerance;
}

function forEachScorer<Value>(value: (scorer: Scorer) => Value): Record<Scorer, Value> {
  return { s_hat: value("s_hat"), s: value("s"), likelihood: value("likelihood"), base: value("base") };
}
