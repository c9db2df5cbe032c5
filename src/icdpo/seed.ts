/**
 * @module Randomness that a request's seed decides: candidates differ from each other, and the same seed gives the same
 * ones again.
 */

/** A 32-bit finaliser (murmur3's): neighbouring inputs give unrelated outputs. */
function mix(value: number): number {
  let hash = value >>> 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** The seed of candidate `index`, an unsigned 32-bit integer. */
export function candidateSeed(seed: number, index: number): number {
  return mix(mix(seed) + Math.imul(index + 1, 0x9e3779b9));
}

/** Uniform numbers in [0, 1) that the seed decides. */
export function randomFrom(seed: number): () => number {
  let drawn = 0;
  return () => candidateSeed(seed ^ 0x5bd1e995, drawn++) / 2 ** 32;
}
