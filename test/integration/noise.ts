/** @module How far a sum of log-probabilities may lie from the same sum computed in batches of another shape. */
import { f32Model } from "../needs.ts";

/**
 * For quantised weights llama.cpp rounds activations to 8 bits, with other kernels for other shapes of a batch. Of 360
 * pairs of sums on the default model (completions of up to 121 tokens; alone, together, beside other requests, after
 * prefills in other chunks) a token's log-probability moved by 0.024 nat (root mean square) and by 0.25 at most. What
 * moves the state of a prompt moves all tokens after it, so the moves of a sum may all go one way. On F32 weights no
 * sum moved at all.
 */
const largestMove = 0.25;

/** Nats, of a sum over so many tokens of the default model. */
export function quantisedNoise(tokens: number): number {
  return largestMove * tokens;
}

/** Nats, of a sum over so many tokens of the F32 copy where there is one, else of the default model. */
export function noiseOf(tokens: number): number {
  return f32Model === undefined ? quantisedNoise(tokens) : 0.05;
}

/** For a gateway whose sums are compared: exact weights, where there are any. */
export const exactWeights: Readonly<Record<string, string>> = f32Model === undefined ? {} : { ICDPO_MODEL: f32Model };
