/** @module Algorithm 1 of the paper, from a conversation to its answers, best first. */
import type { SamplingParameters, TemplateVariables } from "../engine/engine.ts";
import { lacksDemonstrations, plainly } from "../policy/bypass.ts";
import type { Models, Policy } from "../policy/policy.ts";
import { expectedTokens } from "../policy/policy-sampling.ts";
import type { AskedReasoning, Reasoning } from "../policy/reasoning-schema.ts";
import type { Retrieved } from "../retrieval/retriever.ts";
import type { Conversation, Tool } from "../types/conversation.ts";
import { BlockwiseAnswer } from "./blocks.ts";
import { buildContexts, type Contexts, checkLength, type Tenancy } from "./contexts.ts";
import { type CopySources, sourcesOf } from "./copied.ts";
import { PrunedAnswers } from "./pruned-answers.ts";
import type { ResponseCheck, ScoredResponse } from "./response.ts";
import type { OnText } from "./sample.ts";
import { negativeOf } from "./score.ts";
import { ScoredAnswers } from "./scored-answers.ts";
import { randomFrom } from "./seed.ts";
import { negativesRandom, withShownNegative } from "./shown-negative.ts";
import {
  candidateCount,
  choosesAmong,
  type Run,
  type Strategy,
  samplingWithin,
  strategyChoice,
  type Timings,
} from "./strategy.ts";
import { contextsAfter, hasOwnThoughts, reasoningFor, shareThought, type Thought } from "./thought.ts";
import { TimeBudget } from "./time-budget.ts";
import { noUsage, type TokenUsage } from "./token-usage.ts";
import { unscoredAnswers } from "./whole-answers.ts";

/** Somebody who watches candidates that nobody is given. */
export interface Watch {
  /** A piece of a candidate's text as it is sampled. */
  readonly onText: (index: number, text: string) => void;
  /** A candidate has been measured, at its end or on the way. */
  readonly onStanding: (standing: Standing) => void;
}

export interface Standing {
  readonly index: number;
  /** All of it so far. */
  readonly text: string;
  /** Before normalisation; null: it has none. */
  readonly score: number | null;
  /** It is sampled no further. Absent: no. */
  readonly isDropped?: boolean;
}

export type Stage = "retrieve" | "queue" | "prefill" | "sample" | "score";

export interface IcdpoRequest extends Tenancy {
  readonly conversation: Conversation;
  readonly sampling: SamplingParameters;
  /** What the model may call. */
  readonly tools?: readonly Tool[] | undefined;
  /** What the chat template is told beside messages and tools. */
  readonly variables?: TemplateVariables | undefined;
  /** What the request says of thoughts before the answer: heeded by models that think. */
  readonly reasoning?: AskedReasoning | undefined;
  /** The client's own limit of tokens, for thought and answer together; absent: it gave none. */
  readonly within?: number | undefined;
  /** GBNF that responses keep to. */
  readonly grammar?: string | undefined;
  /** Whether a response fits all that is asked of it beside the grammar; null: that cannot be seen. */
  readonly check?: ResponseCheck | undefined;
  /** Details of each token, with so many alternatives. */
  readonly topLogprobs?: number | undefined;
  /** How many answers are wanted, best first. */
  readonly answers: number;
  /** The answer is read as it comes: a policy may choose it otherwise than one that is read whole. Absent: no. */
  readonly isStreamed?: boolean | undefined;
  /** Unsigned 32-bit; decides every chance in the request. */
  readonly seed: number;
  readonly signal?: AbortSignal | undefined;
  /** Fires when the policy's `budget_ms` is spent. */
  readonly budget?: AbortSignal | undefined;
  /** Milliseconds, from any origin. */
  readonly now: () => number;
  /** Everything that can be wrong with the request has been checked, demonstrations are at hand: sampling begins. */
  readonly onSampling?: ((beginning: Beginning) => void) | undefined;
  /** Text as it is sampled; called only where nothing is left to choose (`choosesAmong`). */
  readonly onText?: OnText | undefined;
  /** What is thought, as it is thought; `index`: of the answer, where each has a thought of its own, else null. */
  readonly onThought?: ((index: number | null, text: string) => void) | undefined;
  /** Shows candidates while they compete; what is chosen does not depend on it. */
  readonly watch?: Watch | undefined;
  /**
   * What is being done now; "queue" is waiting for the model to begin. "prefill" comes again with each part of the
   * prompt that has been fed.
   */
  readonly onStage?: ((stage: Stage) => void) | undefined;
  /**
   * Grows by what has been worked through, as soon as that is known: right also where the request fails or is
   * cancelled.
   */
  readonly usage?: TokenUsage | undefined;
}

/** How the answers come about: known once it is known which demonstrations there are. */
export interface Course {
  /** n; before sampling, of a policy that samples in waves: the most. */
  readonly candidates: number;
  /** Answers are given as they are sampled: nothing is left to choose. */
  readonly isAsSampled: boolean;
}

export interface Beginning extends Course {
  readonly retrieveMs: number;
  /** Tokens of C⁰, as a plain request would have them. */
  readonly basePromptTokens: number;
}

export interface IcdpoOutcome extends Course {
  /** Best first. */
  readonly ranked: readonly ScoredResponse[];
  readonly demonstrations: readonly Retrieved[];
  /** Tokens that an answer could have. */
  readonly maxTokens: number;
  /** Tokens of C⁰, as a plain request would have them. */
  readonly basePromptTokens: number;
  /** The hidden work: the request's `usage`, where there is one. */
  readonly tokens: Readonly<TokenUsage>;
  readonly timings: Readonly<Timings>;
  /** β, where scores are less what their tokens add on average: nats per token. */
  readonly natsPerToken: number | null;
  /** `[waves]`: how many candidates each had; null: their number is fixed. */
  readonly waves: readonly number[] | null;
  /** How the answer's tokens were drawn; null: from C⁺ alone. */
  readonly contrast: DrawnByContrast | null;
  /** `[blocks]`: how many tokens each had; absent: the answer was not chosen by blocks. */
  readonly blocks?: readonly number[] | undefined;
  /** `[checks]`: how many candidates went on after each; absent: none can be dropped. */
  readonly kept?: readonly number[] | undefined;
  readonly fallback: string | null;
  /** How a model that thinks has thought; absent: it does not. */
  readonly reasoning?: Reasoned | undefined;
}

export interface Reasoned extends Reasoning {
  /** That all candidates share; null: there is none, or each has its own. */
  readonly thought: Thought | null;
}

/** Tokens are drawn by the contrast of C⁺ and C⁻. */
export interface DrawnByContrast {
  /** α */
  readonly alpha: number;
  /** Of C⁺'s likeliest tokens, how many competed at each place. */
  readonly top: number;
  /** The mean of log π(token ∣ C⁺) − log π(token ∣ C⁻) over the answer's tokens, in nats; null where that is not known. */
  readonly meanLogRatio: number | null;
}

/**
 * Algorithm 1:
 *
 * 1. retrieve m demonstrations d for x;
 * 2. (a model that thinks: one thought after C⁺, which then follows every context;) sample y₁ … yₙ ~ π(· ∣ [d⁺; x]);
 * 3. score each, in nats: Ŝ(yᵢ) = log π(yᵢ ∣ [d⁺; x]) − log π(yᵢ ∣ [d⁻; x]) (Eq. 11), or what the policy's score is;
 * 4. choose arg maxᵢ Ŝ(yᵢ).
 *
 * Where the policy's number of candidates is not fixed, 2 and 3 are done in waves, until the best one leads by a margin.
 * Where the policy shows similar demonstrations only, and there are none, one plain sample is the answer. Where it
 * decodes by contrast, 2 draws one answer, token by token, from π⁺·(π⁺/π⁻)^α, and there is no 3.
 *
 * Throws a `GatewayError`: "context_length_exceeded" where the messages alone are too long, "invalid_request" where the
 * format cannot hold them, "cancelled" and "timeout" by the signal, and what an engine throws.
 *
 * @example
 * const sampling = { temperature: 1, topP: 0.8, topK: 50, maxTokens: 128, stop: [] };
 * const conversation = [{ role: "user", content: "How do magnets work?" }];
 * const request = { conversation, sampling, answers: 1, seed: 7, now: () => performance.now() };
 * const [best] = (await icdpo(policy, request)).ranked; // best.text, best.score = best.positive − best.negative
 */
export async function icdpo(policy: Policy, request: IcdpoRequest): Promise<IcdpoOutcome> {
  const begun = begin(policy, request);
  const retrieved = await retrieve(begun);
  const run = lacksDemonstrations(policy, retrieved) ? goingOn(begun, plainly(policy)) : begun;
  const reasoning = await reasoningFor(policy, request, begun.signal);
  const { contexts, thought } = await withThought(run, await encodeContexts(run, retrieved, reasoning), reasoning);
  const demonstrations = retrieved.slice(0, contexts.shots);
  const strategy = strategyOf(
    { ...run, reasoning },
    contexts,
    sourcesOf(demonstrations.map(({ demonstration }) => demonstration)),
  );
  const candidates = strategy.sample();
  const scored = await strategy.score(candidates);
  const { ranked, isSpent, natsPerToken, waves, blocks, kept } = strategy.choose(scored);
  return {
    ranked,
    demonstrations,
    maxTokens: samplingWithin(run, contexts).maxTokens,
    basePromptTokens: baseTokens(contexts, ranked[0]),
    tokens: run.usage,
    timings: run.timings,
    natsPerToken,
    waves,
    contrast: contrastOf(run, ranked[0]),
    blocks,
    kept,
    fallback: isSpent ? "budget" : run === begun ? contexts.fallback : "no-demonstration",
    ...(reasoning && { reasoning: { ...reasoning, thought } }),
    ...courseOf(run),
    ...(waves !== null && { candidates: ranked.length }),
  };
}

function begin(policy: Policy, request: IcdpoRequest): Run {
  const strategy = strategyChoice(policy, request);
  const stop = new AbortController();
  // Where nothing competes, nothing is done for the request that could fail beside what it waits for.
  const competes = strategy.type !== "unscored" && strategy.type !== "contrast";
  const signal = eitherOf(request.signal, competes ? stop.signal : undefined);
  return {
    policy,
    request,
    strategy,
    count: candidateCount(policy, request),
    usage: request.usage ?? noUsage(),
    signal,
    stop,
    budget: new TimeBudget(request.budget, signal),
    random: randomFrom(request.seed),
    reasoning: null,
    timings: { retrieve: 0, sample: 0, score: 0 },
    lap: stopwatch(request.now),
  };
}

/** The same run by another policy. */
function goingOn(run: Run, policy: Policy): Run {
  const { request } = run;
  return { ...run, policy, strategy: strategyChoice(policy, request), count: candidateCount(policy, request) };
}

function courseOf({ policy, request, count }: Run): Course {
  return { candidates: count, isAsSampled: !choosesAmong(policy, request) };
}

/** m demonstrations, most similar first, each with the d⁻ that C⁻ shows. */
async function retrieve(run: Run): Promise<readonly Retrieved[]> {
  const { policy, request, random, signal } = run;
  request.onStage?.("retrieve");
  const { sampler, scorer } = modelsOf(run);
  await checkLength([sampler, scorer], request, signal);
  const options = { shots: policy.settings.shots, random, tenant: request.tenant, signal };
  const retrieved = (await policy.retriever?.retrieve(request.conversation, options)) ?? [];
  const negatives = negativesRandom(request.seed);
  return retrieved.map(({ demonstration, ...found }) => ({
    ...found,
    demonstration: withShownNegative(demonstration, policy.settings.score, negatives),
  }));
}

/** C⁺ and what it is measured against. Everything that can be wrong with the request has been checked then. */
async function encodeContexts(
  run: Run,
  retrieved: readonly Retrieved[],
  reasoning: Reasoning | null,
): Promise<Contexts> {
  const { policy, request, strategy, signal, timings } = run;
  const { conversation, tools, variables, sampling, tenant, bringsOpening } = request;
  const { settings } = policy;
  const demonstrations = retrieved.map(({ demonstration }) => demonstration);
  const instructions = settings.instructions ?? null;
  const parts = { conversation, demonstrations, instructions, tools, variables, thinks: reasoning ?? undefined };
  const negative = strategy.type === "unscored" ? null : negativeOf(settings.score);
  const answer = Math.min(sampling.maxTokens, settings.sampling.max_tokens ?? expectedTokens);
  const reserve = answer + (reasoning?.thinks ? Math.min(reasoning.budget, expectedTokens) : 0);
  const contexts = await buildContexts(modelsOf(run), parts, {
    negative,
    ownThoughts: hasOwnThoughts(reasoning, run.count),
    reserve,
    tenant,
    bringsOpening,
    signal,
  });
  timings.retrieve = run.lap();
  request.onSampling?.({
    retrieveMs: timings.retrieve,
    basePromptTokens: contexts.base.prompt.tokens.length,
    ...courseOf(run),
  });
  request.onStage?.("queue");
  return contexts;
}

/** Where all candidates share a thought, the contexts after it. */
async function withThought(
  run: Run,
  contexts: Contexts,
  reasoning: Reasoning | null,
): Promise<{ readonly contexts: Contexts; readonly thought: Thought | null }> {
  if (!reasoning?.thinks || hasOwnThoughts(reasoning, run.count)) return { contexts, thought: null };
  const thought = await shareThought(run, contexts, reasoning);
  return { contexts: await contextsAfter(contexts, thought, reasoning, run.signal), thought };
}

/** Where nothing is scored, no other model than the one that samples takes part. */
function modelsOf({ policy, strategy }: Run): Models {
  const { sampler } = policy;
  return strategy.type === "unscored" ? { sampler, scorer: sampler, reference: null } : policy;
}

function strategyOf(run: Run, contexts: Contexts, sources: CopySources | null): Strategy {
  const { strategy } = run;
  switch (strategy.type) {
    case "scored":
      return new ScoredAnswers(run, contexts, sources);
    case "pruned":
      return new PrunedAnswers(run, contexts, sources, strategy.prune);
    case "unscored":
    case "contrast":
      return unscoredAnswers(run, contexts, sources);
    case "blocks":
      return new BlockwiseAnswer(run, contexts, sources, strategy.blocks);
  }
}

function contrastOf({ strategy }: Run, response: ScoredResponse | undefined): DrawnByContrast | null {
  if (strategy.type !== "contrast") return null;
  const { alpha, top } = strategy;
  const ratios = response?.sample?.logRatios ?? [];
  const meanLogRatio = ratios.length === 0 ? null : ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length;
  return { alpha, top, meanLogRatio };
}

/** Tokens of C⁰: as the server counted them, where that is what was sampled from and the engine only estimates. */
function baseTokens({ sampled, base }: Contexts, response: ScoredResponse | undefined): number {
  const counted = sampled === base ? response?.sample?.counted?.prompt : null;
  return counted ?? base.prompt.tokens.length;
}

function eitherOf(...signals: readonly (AbortSignal | undefined)[]): AbortSignal {
  const given = signals.filter((signal) => signal !== undefined);
  return given.length === 1 ? (given[0] as AbortSignal) : AbortSignal.any(given);
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
