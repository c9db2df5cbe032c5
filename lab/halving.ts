/**
 * @module Successive halving: rungs that cost the same; after each the better half goes on, with more prompts for each.
 */

/** What may be spent: each is compared with its own limit. Infinite: there is none. */
export interface Limit {
  /** Of work, in milliseconds. */
  readonly ms: number;
  /** Prompts, samples and completions that are scored, less what was found in a cache of prefixes. */
  readonly tokens: number;
}

export type Paid = Limit;

/** Of the limit: the rest is for the prompts that nothing is tuned on. */
export const tuningShare = 2 / 3;

/** What part of the limit something takes: of the scarcer of its two. `atOnce`: how many things are done at a time. */
export function shareOfLimit({ ms, tokens }: Paid, limit: Limit, atOnce: number): number {
  return Math.max(ms / atOnce / limit.ms, tokens / limit.tokens);
}

/** R = ⌈log₂ k⌉ of k that compete: the last two are compared on the most prompts. */
export function rungsOf(competing: number): number {
  return Math.max(1, Math.ceil(Math.log2(competing)));
}

/** What is lost to whole numbers by divisions. */
const tiny = 1e-9;

export interface RungNeeds {
  /** Shares of the limit: what is left for tuning, and what a prompt of all that are in the rung takes. */
  readonly left: number;
  readonly cost: number;
  /** This one and those to come, which are to have as much. */
  readonly rungs: number;
  /** Prompts that have not been asked. */
  readonly available: number;
}

/** How many prompts more a rung asks: one at least, where enough is left for it. */
export function promptsOfRung({ left, cost, rungs, available }: RungNeeds): number {
  if (left <= 0 || cost > left) return 0;
  return Math.min(available, cost === 0 ? available : Math.max(1, Math.floor(left / rungs / cost + tiny)));
}

/** Those that go on: ⌈k/2⌉ of k, the best by `compare`; equal ones in their order. */
export function betterHalf<Item>(items: readonly Item[], compare: (a: Item, b: Item) => number): Item[] {
  return items.toSorted(compare).slice(0, Math.ceil(items.length / 2));
}
