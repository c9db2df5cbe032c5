/** @module Which way a request's answers are sampled, scored and chosen: by the policy, and by what is asked for. */
import type { SamplingParameters } from "../engine/engine.ts";
import { blocksFor } from "../policy/choice-misfits.ts";
import type { Blocks, Prune } from "../policy/choice-schema.ts";
import { competingAt, contrastOf } from "../policy/decoding.ts";
import type { Policy } from "../policy/policy.ts";
import type { Reasoning } from "../policy/reasoning-schema.ts";
import { mostCandidates } from "../policy/schema.ts";
import type { Contexts } from "./contexts.ts";
import type { IcdpoRequest } from "./pipeline.ts";
import type { ScoredResponse } from "./response.ts";
import type { Candidate } from "./sample.ts";
import type { TimeBudget } from "./time-budget.ts";
import type { TokenUsage } from "./token-usage.ts";

export type StrategyChoice =
  /** n whole candidates compete by their scores: `whole-answers.ts`. */
  | { readonly type: "scored" }
  /** The same, but the worst are dropped while they are sampled: `pruned-answers.ts`. */
  | { readonly type: "pruned"; readonly prune: Prune }
  /** Whole candidates, none of which is measured: `whole-answers.ts`. */
  | { readonly type: "unscored" }
  /** One answer, likewise, each of its tokens drawn by the contrast of C⁺ and C⁻ among C⁺'s `top` likeliest. */
  | { readonly type: "contrast"; readonly alpha: number; readonly top: number }
  /** The answer is chosen block by block: `blocks.ts`. */
  | { readonly type: "blocks"; readonly blocks: Blocks };

/** The last three steps of Algorithm 1, after the contexts of one request. */
export interface Strategy {
  /** Candidates as they end. Nothing is sampled before the first one is asked for. */
  sample(): AsyncIterable<Candidate>;
  /** `[candidates]`, by index, their sums in nats. */
  score(candidates: AsyncIterable<Candidate>): Promise<readonly ScoredResponse[]>;
  choose(scored: readonly ScoredResponse[]): Chosen;
}

export interface Chosen {
  /** Best first. */
  readonly ranked: readonly ScoredResponse[];
  /** The budget was spent before all had been sampled and measured. */
  readonly isSpent: boolean;
  /** β, where scores are less what their tokens add on average. */
  readonly natsPerToken: number | null;
  /** `[waves]`: how many candidates each had; null: their number is fixed. */
  readonly waves: readonly number[] | null;
  /** `[blocks]`: how many tokens each had; absent: the answer was not chosen by blocks. */
  readonly blocks?: readonly number[];
  /** `[checks]`: how many candidates went on after each; absent: none can be dropped. */
  readonly kept?: readonly number[];
}

/** One request under way, as its strategy needs it. */
export interface Run {
  readonly policy: Policy;
  readonly request: IcdpoRequest;
  readonly strategy: StrategyChoice;
  /** Null: the model does not think, or that is not known yet. */
  readonly reasoning: Reasoning | null;
  /** n; the most, where a policy samples in waves. */
  readonly count: number;
  readonly usage: TokenUsage;
  /** Fires when the request ends, or what it is done for has failed. */
  readonly signal: AbortSignal;
  /** Stops all that is done for the request. */
  readonly stop: AbortController;
  readonly budget: TimeBudget;
  /** In [0, 1), by the request's seed. */
  readonly random: () => number;
  readonly timings: Timings;
  /** Milliseconds since the last lap. */
  readonly lap: () => number;
}

/** In milliseconds. */
export interface Timings {
  retrieve: number;
  sample: number;
  score: number;
}

type Asked = Pick<IcdpoRequest, "sampling" | "answers" | "isStreamed" | "grammar" | "tools" | "topLogprobs">;

/**
 * Where samples go on in another call, a grammar or a penalty on what the answer holds already would begin anew, and
 * log-probabilities are of whole answers: neither blocks nor pruning count for such requests, nor blocks for several
 * answers.
 */
export function strategyChoice(policy: Policy, asked: Asked): StrategyChoice {
  const { settings } = policy;
  const { answers, isStreamed = false } = asked;
  const decode = contrastOf(settings);
  if (decode !== undefined) return { type: decode.type, alpha: decode.alpha, top: competingAt(settings) };
  if (settings.score.type === "none" || candidateCount(policy, asked) === 1) return { type: "unscored" };
  if (!goesOnInParts(asked)) return { type: "scored" };
  const blocks = blocksFor(policy, isStreamed);
  if (blocks !== null && answers === 1) return { type: "blocks", blocks };
  return settings.prune === undefined ? { type: "scored" } : { type: "pruned", prune: settings.prune };
}

function goesOnInParts({ grammar, tools = [], topLogprobs, sampling }: Asked): boolean {
  const { presencePenalty = 0, frequencyPenalty = 0 } = sampling;
  const isPlainText = grammar === undefined && tools.length === 0 && topLogprobs === undefined;
  return isPlainText && presencePenalty === 0 && frequencyPenalty === 0;
}

/**
 * n, the number of candidates: the policy's, or as many as answers are wanted; one where sampling is greedy. Of a policy
 * that samples in waves, the most that there may be.
 *
 * @example candidateCount(policy, { answers: 5, sampling }) // 5, where the policy has 3 candidates
 */
export function candidateCount(policy: Policy, asked: Pick<Asked, "sampling" | "answers">): number {
  return asked.sampling.temperature === 0 ? 1 : Math.max(mostCandidates(policy.settings.candidates), asked.answers);
}

/** Whether whole candidates compete. If not, each is an answer as it is sampled, and can be streamed. */
export function choosesAmong(policy: Policy, asked: Asked): boolean {
  const { type } = strategyChoice(policy, asked);
  return (
    type === "scored" ||
    type === "pruned" ||
    (type === "unscored" && candidateCount(policy, asked) > Math.max(1, asked.answers))
  );
}

/** The request's parameters: a response must fit after all of its contexts, or it could not be scored. */
export function samplingWithin({ request }: Run, contexts: Contexts): SamplingParameters {
  return { ...request.sampling, maxTokens: Math.min(request.sampling.maxTokens, contexts.room) };
}
