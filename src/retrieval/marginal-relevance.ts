/**
 * @module Maximal marginal relevance (Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering
 * documents and producing summaries", SIGIR 1998): what is like the question, and not like what has been chosen.
 */

/**
 * Indices of `k` items, in the order in which they are chosen:
 *
 *     arg max over d not in S of  λ·sim(d, q) − (1 − λ)·max over d′ in S of sim(d, d′)
 *
 * The first is the most similar one: S is empty then. Ties: the lower index. `similarities`: `[items]`, cosines with
 * the question; `between`: the cosine of two items. λ in (0, 1]; 1 is the order of similarity.
 *
 * @example marginallyRelevant([0.9, 0.9, 0.5], (a, b) => (a + b === 1 ? 1 : 0), 2, 0.5) // [0, 2]: 1 is a copy of 0
 */
export function marginallyRelevant(
  similarities: readonly number[],
  between: (a: number, b: number) => number,
  k: number,
  lambda: number,
): number[] {
  const left = new Set(similarities.keys());
  /** `[items]`: max over d′ in S of sim(d, d′). */
  const likeness = similarities.map(() => Number.NEGATIVE_INFINITY);
  const chosen: number[] = [];
  while (chosen.length < k && left.size > 0) {
    const relevance = (item: number): number =>
      chosen.length === 0
        ? (similarities[item] as number)
        : lambda * (similarities[item] as number) - (1 - lambda) * (likeness[item] as number);
    const [first = 0, ...others] = left;
    const best = others.reduce((leader, item) => (relevance(item) > relevance(leader) ? item : leader), first);
    left.delete(best);
    chosen.push(best);
    for (const item of left) likeness[item] = Math.max(likeness[item] as number, between(item, best));
  }
  return chosen;
}
