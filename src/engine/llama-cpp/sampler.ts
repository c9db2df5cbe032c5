/**
 * @module llama.cpp's samplers as node-llama-cpp's native context has them: how a request sets one up, and how
 * log-probabilities are read.
 */
import { noSuchToken } from "../characters.ts";
import type { SampleRequest, Token } from "../engine.ts";
import type { Logits } from "./backend.ts";

export interface NativeSampler {
  applyConfig(config: SamplerConfig): void;
}
export interface SamplerConfig {
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  seed?: number;
  repeatPenalty?: number;
  /** Penalties count the tokens that the sampler has sampled since they were set, and these. */
  repeatPenaltyTokens?: Uint32Array;
  repeatPenaltyMaxTokens?: number;
  repeatPenaltyPresencePenalty?: number;
  repeatPenaltyFrequencyPenalty?: number;
  tokenBiasKeys?: Uint32Array;
  tokenBiasValues?: Float32Array;
  grammarEvaluationState?: GrammarState;
}
export type GrammarState = object & { readonly __grammarState: never };

/** The native context's side of sampling. */
export interface TokenSampling {
  sampleToken(row: number, sampler: NativeSampler): Promise<Token>;
  sampleToken(
    row: number,
    sampler: NativeSampler,
    probabilities: false,
    confidence: false,
    logits: [tokens: readonly Token[], max: boolean, min: boolean, selected: boolean, top: number],
    totalWeight: true,
  ): Promise<[token: Token, probabilities: unknown, confidence: unknown, logits?: number[], totalWeight?: number]>;
}

/** What stands behind `Logits`. */
export interface NativeRow {
  readonly context: TokenSampling;
  readonly row: number;
}

export function asLogits(row: NativeRow): Logits {
  return row as unknown as Logits;
}

export function nativeRow(logits: Logits): NativeRow {
  return logits as unknown as NativeRow;
}

/** What a sampler's set-up must know of the model. */
export interface SamplerModel {
  readonly vocabularySize: number;
  /** Those that do not end a generation. */
  readonly controlTokens: readonly Token[];
  /** Those that do. */
  readonly endTokens: readonly Token[];
}

/** What is sampled next, and how. */
export interface SamplerSettings {
  readonly request: SampleRequest;
  /** What stands before the completion. */
  readonly prompt: readonly Token[];
  /** The completion so far. */
  readonly sampled: readonly Token[];
  /** The turn may end here. */
  readonly mayEnd: boolean;
}

/** Only what differs from the greedy choice of the raw logits' maximum. */
export function samplerConfig(settings: SamplerSettings, model: SamplerModel, contextSize: number): SamplerConfig {
  const { temperature, topK, topP, minP } = settings.request;
  const bias = biasOf(settings, model);
  return {
    ...(temperature > 0 && { temperature, topK, topP, ...(minP !== undefined && minP > 0 && { minP }) }),
    ...penalties(settings, contextSize),
    ...(bias.size > 0 && {
      tokenBiasKeys: Uint32Array.from(bias.keys()),
      tokenBiasValues: Float32Array.from(bias.values()),
    }),
  };
}

/** What is added to logits. Throws "invalid_request" for a token that the model does not have. */
export function biasOf(
  { request, mayEnd }: Pick<SamplerSettings, "request" | "mayEnd">,
  model: SamplerModel,
): Map<Token, number> {
  const bias = new Map(request.logitBias);
  for (const token of bias.keys())
    if (token >= model.vocabularySize) throw noSuchToken(token, model.vocabularySize, "logit_bias");
  // A control token's spelling may fit the grammar, but the token would end the turn.
  if (request.grammar !== undefined) for (const token of model.controlTokens) bias.set(token, Number.NEGATIVE_INFINITY);
  if (!mayEnd)
    for (const token of [...model.controlTokens, ...model.endTokens]) bias.set(token, Number.NEGATIVE_INFINITY);
  return bias;
}

/**
 * A repetition penalty looks at the prompt as well, OpenAI's two do not: llama.cpp has one list for all, so that only
 * one kind is taken (`penaltiesTogether` is what the engine lacks).
 */
function penalties({ request, prompt, sampled }: SamplerSettings, contextSize: number): SamplerConfig {
  const { presencePenalty = 0, frequencyPenalty = 0, repetitionPenalty = 1, repetitionWindow = contextSize } = request;
  const window = Math.min(repetitionWindow, contextSize);
  if (repetitionPenalty !== 1 && window > 0)
    return {
      repeatPenalty: repetitionPenalty,
      repeatPenaltyTokens: Uint32Array.from([...prompt, ...sampled].slice(-window)),
      repeatPenaltyMaxTokens: window,
    };
  if (presencePenalty === 0 && frequencyPenalty === 0) return {};
  return {
    repeatPenaltyTokens: Uint32Array.from(sampled),
    repeatPenaltyMaxTokens: contextSize,
    repeatPenaltyPresencePenalty: presencePenalty,
    repeatPenaltyFrequencyPenalty: frequencyPenalty,
  };
}

/**
 * log π of the given tokens and of the `top` likeliest: logit − max − log Σ exp(logit − max). The library's
 * `includeMax` does not work; "selected" of a greedy chain is the maximum.
 */
export async function readLogprobs(
  { context, row }: NativeRow,
  greedy: NativeSampler,
  tokens: readonly Token[],
  top: number,
): Promise<Map<Token, number>> {
  const [, , , pairs, totalWeight] = await context.sampleToken(
    row,
    greedy,
    false,
    false,
    [tokens, false, false, true, top],
    true,
  );
  if (pairs === undefined || totalWeight === undefined) throw new Error("llama.cpp returned no logits");
  const logits = paired(pairs);
  const logSum = Math.max(...logits.values()) + Math.log(totalWeight);
  return new Map([...logits].map(([token, logit]) => [token, logit - logSum]));
}

/** The logits of the `count` likeliest tokens. `sampler`: leaves these, and their logits as they are. */
export async function readTopLogits(
  { context, row }: NativeRow,
  sampler: NativeSampler,
  count: number,
): Promise<Map<Token, number>> {
  const [, , , pairs] = await context.sampleToken(row, sampler, false, false, [[], false, false, false, count], true);
  if (pairs === undefined || pairs.length < 2) throw new Error("llama.cpp returned no logits");
  return paired(pairs);
}

/** Of token and logit, one after another. */
function paired(pairs: readonly number[]): Map<Token, number> {
  const logits = new Map<Token, number>();
  for (let i = 0; i + 1 < pairs.length; i += 2) logits.set(pairs[i] as number, pairs[i + 1] as number);
  return logits;
}
