/** @module Algorithm 1 of the paper, from a conversation to its answers, best first. */
import type { Engine, SamplingParameters } from "../engine/engine.ts";
import type { Policy } from "../policy/store.ts";
import type { Retrieved } from "../retrieval/retriever.ts";
import type { Conversation } from "../types/conversation.ts";
import { isCancellation } from "../types/error.ts";
import { pickRandom, rank } from "./choose.ts";
import { buildContexts, type Contexts } from "./contexts.ts";
import type { ContextParts } from "./prompt.ts";
import { sampleCandidates } from "./sample.ts";
import {
  closeResponses,
  negativeOf,
  type Response,
  type ScoredResponse,
  type ScoringWork,
  scoredByNotes,
  scoreResponses,
  unscored,
} from "./score.ts";
import { randomFrom } from "./seed.ts";

export interface IcdpoRequest {
  readonly conversation: Conversation;
  readonly sampling: SamplingParameters;
  /** How many answers are wanted, best first. */
  readonly answers: number;
  /** Unsigned 32-bit; decides every chance in the request. */
  readonly seed: number;
  readonly signal?: AbortSignal | undefined;
  /** Fires when the policy's `budget_ms` is spent. */
  readonly budget?: AbortSignal | undefined;
  /** Milliseconds, from any origin. */
  readonly now: () => number;
  /** Everything that can be wrong with the request has been checked, demonstrations are at hand (after so many ms): sampling begins. */
  readonly onSampling?: ((retrieveMs: number) => void) | undefined;
  /** Text as it is sampled; only where nothing is left to choose (`choosesAmong`). */
  readonly onText?: ((index: number, text: string) => void) | undefined;
}

export interface IcdpoOutcome {
  /** Best first. */
  readonly ranked: readonly ScoredResponse[];
  readonly demonstrations: readonly Retrieved[];
  /** Tokens of C⁰, as a plain request would have them. */
  readonly basePromptTokens: number;
  /** Hidden work, in tokens. */
  readonly tokens: { readonly prompt: number; readonly sampled: number; readonly scored: number; readonly cached: number };
  readonly timings: { readonly retrieve: number; readonly sample: number; readonly score: number };
  readonly fallback: string | null;
}

/** n, the number of candidates: the policy's, or as many as answers are wanted; one where sampling is greedy. */
export function candidateCount(policy: Policy, request: Pick<IcdpoRequest, "sampling" | "answers">): number {
  return request.sampling.temperature === 0 ? 1 : Math.max(policy.settings.candidates, request.answers);
}

/** Whether candidates compete. If not, each is an answer as it is sampled, and can be streamed. */
export function choosesAmong(policy: Policy, request: Pick<IcdpoRequest, "sampling" | "answers">): boolean {
  const count = candidateCount(policy, request);
  return count > 1 && (policy.settings.score.type !== "none" || count > request.answers);
}

export async function icdpo(engine: Engine, policy: Policy, request: IcdpoRequest): Promise<IcdpoOutcome> {
  const { settings, format } = policy;
  const { sampling, seed, signal, budget, onText } = request;
  const competes = choosesAmong(policy, request) && settings.score.type !== "none";
  const random = randomFrom(seed);
  const lap = stopwatch(request.now);

  // Generation: retrieve m demonstrations d; sample n responses from π(y ∣ [d; x])
  const retrieved = (await policy.retriever?.retrieve(request.conversation, { shots: settings.shots, random, signal })) ?? [];
  const parts = contextParts(policy, request.conversation, retrieved);
  const reserve = Math.min(sampling.maxTokens, settings.sampling.max_tokens);
  const contexts = await buildContexts(engine, format, parts, { negative: competes ? negativeOf(settings.score) : null, reserve, signal });
  const retrieve = lap();
  request.onSampling?.(retrieve);
  const count = candidateCount(policy, request);
  // A response must fit after both contexts, or it could not be scored.
  const parameters = { ...sampling, maxTokens: Math.min(sampling.maxTokens, contexts.room) };
  const options = { parameters, count, seed, logprobs: competes, signal, budget, onText };
  const candidates = await sampleCandidates(engine, contexts.positive, format, options);
  const sample = lap();

  // Scoring: estimate S or Ŝ of each response; the largest wins
  const responses = await closeResponses(engine, format, candidates, contexts.positive.end, signal);
  const work = { prompt: contexts.positive.tokens.length, scored: 0 };
  const scored = competes ? await scoreWithinBudget(engine, contexts, responses, { policy, work, request }) : responses.map(unscored);
  const ranked = settings.score.type === "none" && settings.score.pick === "random" ? pickRandom(scored, random) : rank(scored);

  const sampled = candidates.reduce((total, candidate) => total + (candidate.sample?.tokens.length ?? 0), 0);
  const spent = scored.some((response) => response.sample === null || (competes && response.score === null && response.text !== ""));
  return {
    ranked,
    demonstrations: retrieved.slice(0, contexts.shots),
    basePromptTokens: contexts.base.tokens.length,
    tokens: { ...work, sampled, cached: 0 },
    timings: { retrieve, sample, score: lap() },
    fallback: spent ? "budget" : contexts.fallback,
  };
}

function contextParts(policy: Policy, conversation: Conversation, retrieved: readonly Pick<Retrieved, "demonstration">[]): ContextParts {
  const demonstrations = retrieved.map(({ demonstration }) => demonstration);
  return { conversation, demonstrations, instructions: policy.settings.instructions ?? null };
}

interface BudgetedScoring {
  readonly policy: Policy;
  readonly work: ScoringWork;
  readonly request: IcdpoRequest;
}

/** A spent budget leaves responses with what was noted while sampling; any other failure to score is an error. */
async function scoreWithinBudget(
  engine: Engine,
  contexts: Contexts,
  responses: readonly Response[],
  { policy, work, request }: BudgetedScoring,
): Promise<ScoredResponse[]> {
  const { signal, budget } = request;
  try {
    const within = AbortSignal.any([signal, budget].filter((given) => given !== undefined));
    return await scoreResponses(engine, contexts, responses, { score: policy.settings.score, work, signal: within });
  } catch (error) {
    if (!budget?.aborted || signal?.aborted || !isCancellation(error)) throw error;
    return responses.map((response) => scoredByNotes(response, policy.settings.score));
  }
}

/** Milliseconds since the last lap, or since it was made. */
function stopwatch(now: () => number): () => number {
  let last = now();
  return () => {
    const since = last;
    last = now();
    return last - since;
  };
}
