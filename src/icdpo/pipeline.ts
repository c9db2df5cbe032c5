/** @module Algorithm 1 of the paper, from a conversation to its answers, best first. */
import type { SamplingParameters } from "../engine/engine.ts";
import type { Models, Policy } from "../policy/policy.ts";
import type { Retrieved } from "../retrieval/retriever.ts";
import type { Conversation, Tool } from "../types/conversation.ts";
import { answerByBlocks } from "./blocks.ts";
import { pickRandom, rank } from "./choose.ts";
import { buildContexts, type Contexts, checkLength, type Tenancy } from "./contexts.ts";
import type { ContextParts } from "./prompt.ts";
import { type Candidate, type OnText, sampleCandidates } from "./sample.ts";
import { negativeOf, type Response, type ScoredResponse, Scorer, scoreCandidates, tokenizeResponse, unscored } from "./score.ts";
import { randomFrom } from "./seed.ts";
import { noUsage, type TokenUsage } from "./token-usage.ts";

export type Stage = "retrieve" | "queue" | "prefill" | "sample" | "score";

export interface IcdpoRequest extends Tenancy {
  readonly conversation: Conversation;
  readonly sampling: SamplingParameters;
  /** What the model may call. */
  readonly tools?: readonly Tool[] | undefined;
  /** GBNF that responses keep to. */
  readonly grammar?: string | undefined;
  /** Details of each token, with so many alternatives. */
  readonly topLogprobs?: number | undefined;
  /** How many answers are wanted, best first. */
  readonly answers: number;
  /** Unsigned 32-bit; decides every chance in the request. */
  readonly seed: number;
  readonly signal?: AbortSignal | undefined;
  /** Fires when the policy's `budget_ms` is spent. */
  readonly budget?: AbortSignal | undefined;
  /** Milliseconds, from any origin. */
  readonly now: () => number;
  /** Everything that can be wrong with the request has been checked, demonstrations are at hand: sampling begins. */
  readonly onSampling?: ((beginning: Beginning) => void) | undefined;
  /** Text as it is sampled; only where nothing is left to choose (`choosesAmong`). */
  readonly onText?: OnText | undefined;
  /** What is being done now; "queue" is waiting for the model to begin. "prefill" comes again with each part of the prompt that has been fed. */
  readonly onStage?: ((stage: Stage) => void) | undefined;
  /** Grows by what has been worked through, as soon as that is known: right also where the request fails or is cancelled. */
  readonly usage?: TokenUsage | undefined;
}

export interface Beginning {
  readonly retrieveMs: number;
  /** Tokens of C⁰, as a plain request would have them. */
  readonly basePromptTokens: number;
}

export interface IcdpoOutcome {
  /** Best first. */
  readonly ranked: readonly ScoredResponse[];
  readonly demonstrations: readonly Retrieved[];
  /** Tokens of C⁰, as a plain request would have them. */
  readonly basePromptTokens: number;
  /** The hidden work: the request's `work`, where there is one. */
  readonly tokens: Readonly<TokenUsage>;
  readonly timings: { readonly retrieve: number; readonly sample: number; readonly score: number };
  readonly fallback: string | null;
}

/** n, the number of candidates: the policy's, or as many as answers are wanted; one where sampling is greedy. */
export function candidateCount(policy: Policy, request: Pick<IcdpoRequest, "sampling" | "answers">): number {
  return request.sampling.temperature === 0 ? 1 : Math.max(policy.settings.candidates, request.answers);
}

/** Whether candidates compete. If not, each is an answer as it is sampled, and can be streamed. */
export function choosesAmong(
  policy: Policy,
  request: Pick<IcdpoRequest, "sampling" | "answers" | "grammar" | "tools" | "topLogprobs">,
): boolean {
  const count = candidateCount(policy, request);
  if (answersInBlocks(policy, request)) return false;
  return count > 1 && (policy.settings.score.type !== "none" || count > request.answers);
}

/** Whether the answer is chosen block by block. Several answers, grammars and log-probabilities are about whole ones. */
export function answersInBlocks(
  { settings }: Policy,
  request: Pick<IcdpoRequest, "sampling" | "answers" | "grammar" | "tools" | "topLogprobs">,
): boolean {
  const { answers, grammar, tools = [], topLogprobs, sampling } = request;
  const isPlainText = grammar === undefined && tools.length === 0 && topLogprobs === undefined;
  return settings.block !== undefined && settings.candidates > 1 && sampling.temperature > 0 && answers === 1 && isPlainText;
}

export async function icdpo(policy: Policy, request: IcdpoRequest): Promise<IcdpoOutcome> {
  const { settings } = policy;
  const { sampling, seed, budget, grammar, topLogprobs, tenant, bringsOpening, onText, onStage, usage = noUsage() } = request;
  const stop = new AbortController();
  const inBlocks = answersInBlocks(policy, request);
  const competes = inBlocks || (choosesAmong(policy, request) && settings.score.type !== "none");
  const signal = eitherOf(request.signal, competes ? stop.signal : undefined);
  const random = randomFrom(seed);
  const lap = stopwatch(request.now);

  onStage?.("retrieve");
  const models = competes ? policy : alone(policy);
  await checkLength([models.sampler, models.scorer], request, signal);
  // Generation: retrieve m demonstrations d; sample n responses from π(y ∣ [d; x])
  const retrieved = (await policy.retriever?.retrieve(request.conversation, { shots: settings.shots, random, tenant, signal })) ?? [];
  const parts = { ...contextParts(policy, request.conversation, retrieved), tools: request.tools };
  const reserve = Math.min(sampling.maxTokens, settings.sampling.max_tokens);
  const needs = { negative: competes ? negativeOf(settings.score) : null, reserve, tenant, bringsOpening, signal };
  const contexts = await buildContexts(models, parts, needs);
  const timings = { retrieve: lap(), sample: 0, score: 0 };
  const basePromptTokens = contexts.base.prompt.tokens.length;
  request.onSampling?.({ retrieveMs: timings.retrieve, basePromptTokens });
  onStage?.("queue");
  // A response must fit after both contexts, or it could not be scored.
  const parameters = { ...sampling, maxTokens: Math.min(sampling.maxTokens, contexts.room) };
  const count = candidateCount(policy, request);
  const common = {
    basePromptTokens,
    tokens: usage,
    demonstrations: retrieved.slice(0, contexts.shots),
    timings,
  };
  const onPrefill = (): void => onStage?.("prefill");
  if (settings.block !== undefined && inBlocks) {
    const options = { score: settings.score, tokens: settings.block.tokens, count, parameters, seed, usage, signal, budget, onText };
    const answering = answerByBlocks(contexts, { ...options, onPrefill, onBegin: () => onStage?.("sample") });
    const { response, isSpent } = await answering.catch((error: unknown) => {
      stop.abort(error); // what else is done for the request
      throw error;
    });
    timings.sample = lap();
    return { ...common, ranked: [response], fallback: isSpent ? "budget" : contexts.fallback };
  }
  const scorer = new Scorer(contexts, settings.score, { usage, signal: eitherOf(signal, budget) });
  const onBegin = (): void => {
    onStage?.("sample");
    if (competes) scorer.begin();
  };
  // Sampled log-probabilities are of use only where the same model scores.
  const logprobs = competes && contexts.positive === contexts.sampled;
  const options = { parameters, count, seed, logprobs, topLogprobs, grammar, usage, signal, budget, onPrefill, onBegin, onText };
  const candidates = whenDone(sampleCandidates(contexts.sampled, options), () => {
    timings.sample = lap();
    if (competes) onStage?.("score");
  });

  // Scoring: estimate S or Ŝ of each response as it ends; the largest wins
  const scoring = [contexts.sampled, contexts.positive, ...(contexts.negative === null ? [] : [contexts.negative])] as const;
  const tokenize = (candidate: Candidate) => tokenizeResponse(candidate, scoring, signal);
  const isSpent = (): boolean => budget?.aborted === true && !signal?.aborted;
  const scored = competes
    ? await scoreCandidates(candidates, scorer, tokenize, isSpent, stop)
    : await unscoredCandidates(candidates, tokenize);
  const ranked = settings.score.type === "none" && settings.score.pick === "random" ? pickRandom(scored, random) : rank(scored);

  timings.score = lap();
  const spent = scored.some((response) => response.sample === null || (competes && response.score === null && response.text !== ""));
  return { ...common, basePromptTokens: baseTokens(contexts, ranked[0]), ranked, fallback: spent ? "budget" : contexts.fallback };
}

/** Where nothing is scored, no other model takes part. */
function alone({ sampler }: Policy): Models {
  return { sampler, scorer: sampler, reference: null };
}

/** Tokens of C⁰: as the server counted them, where that is what was sampled from and the engine only estimates. */
function baseTokens({ sampled, base }: Contexts, response: Response | undefined): number {
  const counted = sampled === base ? response?.sample?.counted?.prompt : null;
  return counted ?? base.prompt.tokens.length;
}

function contextParts(policy: Policy, conversation: Conversation, retrieved: readonly Pick<Retrieved, "demonstration">[]): ContextParts {
  const demonstrations = retrieved.map(({ demonstration }) => demonstration);
  return { conversation, demonstrations, instructions: policy.settings.instructions ?? null };
}

async function unscoredCandidates(
  candidates: AsyncIterable<Candidate>,
  tokenize: (candidate: Candidate) => Promise<Response>,
): Promise<ScoredResponse[]> {
  const responses: Response[] = [];
  for await (const candidate of candidates) responses.push(await tokenize(candidate));
  return responses.map(unscored).toSorted((a, b) => a.index - b.index);
}

function eitherOf(...signals: readonly (AbortSignal | undefined)[]): AbortSignal {
  const given = signals.filter((signal) => signal !== undefined);
  return given.length === 1 ? (given[0] as AbortSignal) : AbortSignal.any(given);
}

async function* whenDone<Item>(items: AsyncIterable<Item>, onDone: () => void): AsyncGenerator<Item> {
  yield* items;
  onDone();
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
