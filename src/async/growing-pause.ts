/** @module Pauses between tries. */

/**
 * Milliseconds: twice as long after each try, `longestMs` at most, and never quite the same, so that callers do not
 * come back together.
 */
export function growingPause(tries: number, firstMs: number, longestMs: number): number {
  return Math.min(longestMs, firstMs * 2 ** tries) * (0.5 + Math.random() / 2);
}
