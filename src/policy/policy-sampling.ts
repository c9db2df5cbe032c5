/** @module How a policy's answers are sampled where the request says nothing else. */
import type { SamplingParameters } from "../engine/engine.ts";
import type { PolicySettings } from "./schema.ts";

/**
 * Tokens of an answer that competes with others, where nobody says how many: nobody sees it before the choice, and a
 * model that does not come to an end would take the whole context for each.
 */
export const competingTokens = 1_024;

/** Tokens that an answer is expected to take, where nobody says: what contexts leave to it, and keys are asked for. */
export const expectedTokens = 512;

type Given = { readonly [Name in keyof SamplingParameters]?: SamplingParameters[Name] | undefined };

/**
 * The request's own parameters win over the policy's. `maxTokens` is infinite where neither says it: contexts have an
 * end.
 */
export function samplingWith(given: Given, { sampling }: PolicySettings): SamplingParameters {
  return {
    ...given,
    temperature: given.temperature ?? sampling.temperature,
    topP: given.topP ?? sampling.top_p,
    topK: given.topK ?? sampling.top_k,
    minP: given.minP ?? sampling.min_p,
    repetitionPenalty: given.repetitionPenalty ?? sampling.repetition_penalty,
    repetitionWindow: given.repetitionWindow ?? sampling.repeat_last_n,
    minTokens: given.minTokens ?? sampling.min_tokens,
    maxTokens: given.maxTokens ?? sampling.max_tokens ?? Number.POSITIVE_INFINITY,
    stop: given.stop ?? [],
  };
}

/** The policy's own. */
export function boundedSampling(settings: PolicySettings): SamplingParameters {
  return samplingWith({ maxTokens: settings.sampling.max_tokens ?? competingTokens }, settings);
}
