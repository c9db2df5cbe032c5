/** @module Which worse response of a demonstration stands in C⁻: the written one, or one of its near negatives. */
import type { Score } from "../policy/score-schema.ts";
import type { Demonstration } from "../types/conversation.ts";
import { candidateSeed, randomFrom } from "./seed.ts";

/**
 * The demonstration with the d⁻ that C⁻ shows as its `rejected`: the written one; or, where the score asks for near
 * negatives, one of them, each equally likely. `random` is uniform in [0, 1) and decides which. One context at a time
 * costs no more than the written ones do, and over requests no single sample of the model speaks for d⁻. Without near
 * negatives it has no d⁻ then.
 *
 * @example
 * const score = { type: "contrast", negative: "near", normalize: "sum" };
 * withShownNegative({ ...demonstration, near: ["One.", "Two."] }, score, () => 0.7).rejected; // "Two."
 */
export function withShownNegative(demonstration: Demonstration, score: Score, random: () => number): Demonstration {
  if (score.type !== "contrast" || score.negative !== "near") return demonstration;
  const { near = [] } = demonstration;
  return { ...demonstration, rejected: near[Math.floor(random() * near.length)] };
}

/** No candidate's place. */
const ownPlace = -1;

/**
 * What decides among a request's near negatives: a stream apart from the retriever's, so that demonstrations which are
 * given show what they showed where they were retrieved.
 */
export function negativesRandom(seed: number): () => number {
  return randomFrom(candidateSeed(seed, ownPlace));
}
