/** @module Pairwise accuracy: how often a scorer prefers the chosen response over the rejected one. */
import { measure } from "../icdpo/measure.ts";
import type { Policy } from "../policy/policy.ts";
import type { PromptFormat } from "../policy/schema.ts";
import type { Demonstration } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";

export const scorers = ["s_hat", "s", "likelihood"] as const;
export type Scorer = (typeof scorers)[number];

/** Score of the chosen response minus that of the rejected one, in nats: of sums, and of means per token. */
export interface PairMargins {
  readonly id: string;
  /** Neither response is over a tenth longer than the other, in characters. */
  readonly equallyLong: boolean;
  /** Tokens of both, the closing tokens among them. */
  readonly tokens: { readonly chosen: number; readonly rejected: number };
  readonly sum: Readonly<Record<Scorer, number>>;
  readonly token: Readonly<Record<Scorer, number>>;
}

export interface Accuracy {
  readonly pairs: number;
  readonly sum: Readonly<Record<Scorer, number>>;
  readonly token: Readonly<Record<Scorer, number>>;
}

const lengthTolerance = 1.1;

/** Scores one demonstration's own pair with the others as demonstrations. */
export async function leaveOneOut(policy: Policy, pair: Demonstration, format: PromptFormat, signal?: AbortSignal): Promise<PairMargins> {
  const { rejected: worse } = pair;
  if (worse === undefined)
    throw new GatewayError("invalid_request", `The demonstration "${pair.id}" has no rejected response to compare with.`);
  const { measured } = await measure(policy, {
    conversation: pair.messages,
    completions: [pair.chosen, worse],
    format,
    except: new Set([pair.id]),
    seed: 0,
    signal,
  });
  const [chosen, rejected] = measured.map(({ positive, s, sHat, tokens }) => ({
    tokens,
    scores: { s_hat: sHat, s, likelihood: positive },
  }));
  if (chosen === undefined || rejected === undefined) throw new Error("Two completions were not measured");
  const margin = (perToken: boolean) => (scorer: Scorer) => {
    const per = ({ scores, tokens }: typeof chosen): number => (scores[scorer] ?? Number.NaN) / (perToken ? tokens : 1);
    return per(chosen) - per(rejected);
  };
  return {
    id: pair.id,
    equallyLong: equallyLong(pair.chosen, worse),
    tokens: { chosen: chosen.tokens, rejected: rejected.tokens },
    sum: forEachScorer(margin(false)),
    token: forEachScorer(margin(true)),
  };
}

/** Share of pairs with a positive margin. */
export function accuracy(pairs: readonly PairMargins[]): Accuracy {
  const share = (kind: "sum" | "token") => (scorer: Scorer) => pairs.filter((pair) => pair[kind][scorer] > 0).length / pairs.length;
  return { pairs: pairs.length, sum: forEachScorer(share("sum")), token: forEachScorer(share("token")) };
}

function equallyLong(chosen: string, rejected: string): boolean {
  return Math.max(chosen.length, rejected.length) / Math.min(chosen.length, rejected.length) <= lengthTolerance;
}

function forEachScorer(value: (scorer: Scorer) => number): Record<Scorer, number> {
  return { s_hat: value("s_hat"), s: value("s"), likelihood: value("likelihood") };
}
