/**
 * @module What each slot holds: the prefix cache. A slot is one of llama.cpp's sequences, under the same number. Tasks
 * run in the first slots; one that is given back keeps its tokens and their state. The others are cached slots: what a
 * slot holds is copied there before the slot is used for something else, the least recently used out. A new prompt
 * begins with the longest prefix of it that any slot holds, running ones included; of what another tenant's slot holds,
 * no further than where that tenant's own words begin.
 */
import { LRUCache } from "lru-cache";
import type { Token } from "../engine.ts";

/** What the cache needs of llama.cpp. All of it takes effect before the next step. */
export interface SequenceMemory {
  readonly sequences: number;
  /**
   * States can be cut to a beginning. Those of recurrent and hybrid models cannot: they are used whole or not at all.
   */
  readonly rewinds: boolean;
  /** The first `length` positions of the source become the target's; all of them, where states cannot be cut. */
  copy(source: number, target: number, length: number): Promise<void>;
  /** Only where states can be cut. */
  truncate(sequence: number, length: number): void;
  clear(sequence: number): void;
}

/** The first `length` tokens of what a slot holds. */
export interface Prefix {
  readonly slot: number;
  readonly length: number;
}

/**
 * Whose tokens a prompt holds, and those that follow it: the first `shared` are nobody's own, and may be the beginning
 * of anybody's prompt.
 */
export interface Ownership {
  readonly tenant: string;
  readonly shared: number;
}

/** There is one tenant only. */
export const undivided: Ownership = { tenant: "", shared: 0 };

/**
 * Fewer tokens are not worth a copy: llama.cpp copies a whole sequence, however little of it is in use (20 ms for 4,096
 * positions of 135M weights).
 */
const fewestWorthKeeping = 32;
/** A slot that differs less from another one is not worth a place beside it. */
const ownShareWorthKeeping = 1 / 4;

export class Slots {
  readonly #memory: SequenceMemory;
  readonly #held: Token[][];
  /** Of each slot: whose tokens it holds. */
  readonly #owners: Ownership[];
  /** Slots that nobody runs in, ascending. */
  readonly #free: number[];
  readonly #count: number;
  /** Cached slots that hold something. */
  readonly #cached: LRUCache<number, true> | null;

  /** `count`: slots that tasks run in. */
  constructor(memory: SequenceMemory, count: number) {
    this.#memory = memory;
    this.#count = count;
    this.#held = Array.from({ length: memory.sequences }, () => []);
    this.#owners = Array.from({ length: memory.sequences }, () => undivided);
    this.#free = Array.from({ length: count }, (_, slot) => slot);
    this.#cached = memory.sequences > count ? new LRUCache({ max: memory.sequences - count }) : null;
  }

  /** Those that tasks run in. */
  get count(): number {
    return this.#count;
  }

  /** Of those that tasks run in. */
  get freeCount(): number {
    return this.#free.length;
  }

  /** What a slot holds. */
  tokens(slot: number): readonly Token[] {
    return this.#tokens(slot);
  }

  /** Tokens in a slot. */
  length(slot: number): number {
    return this.#tokens(slot).length;
  }

  /**
   * Slots for a prompt: the lowest that are free, or the highest. The first holds what the cache had of the prompt, the
   * others nothing. The prompt's last token is never taken from the cache: it has to be fed for its logits.
   */
  async take(count: number, prompt: readonly Token[], end: "low" | "high", owner: Ownership): Promise<number[]> {
    const found = this.#longestPrefix(prompt.slice(0, -1), owner.tenant);
    const slots = this.#choose(count, end, found?.slot);
    const inPlace = slots.find((slot) => slot === found?.slot);
    const first = inPlace ?? (slots[0] as number);
    for (const slot of slots) {
      await this.#cache(slot, found);
      if (slot !== inPlace) this.#empty(slot);
    }
    for (const slot of slots) if (slot !== inPlace) this.#owners[slot] = owner;
    if (found !== undefined) await this.begin(first, found, owner);
    for (const slot of slots) this.#free.splice(this.#free.indexOf(slot), 1);
    return [first, ...slots.filter((slot) => slot !== first)];
  }

  /**
   * What other slots have of a prompt, where that is further than its slot has come and worth a copy. Changes nothing.
   */
  further(slot: number, prompt: readonly Token[]): Prefix | undefined {
    const found = this.#longestPrefix(prompt.slice(0, -1), this.#owner(slot).tenant);
    return found !== undefined && found.length - this.length(slot) >= fewestWorthKeeping ? found : undefined;
  }

  /**
   * The slot holds the prefix and nothing else, by a copy or by cutting what it holds; where that fails, it holds
   * nothing. It is the owner's then.
   */
  async begin(slot: number, { slot: source, length }: Prefix, owner = this.#owner(slot)): Promise<void> {
    if (source >= this.#count) this.#cached?.get(source);
    if (slot === source) this.truncate(slot, length);
    else await this.#copy(source, slot, length);
    this.#owners[slot] = owner;
  }

  /** The slot is free; what it holds is kept until the slot is needed. */
  release(slot: number): void {
    this.#free.push(slot);
    this.#free.sort((a, b) => a - b);
  }

  /** The state of a slot is not known any more. */
  forget(slot: number): void {
    this.#empty(slot);
  }

  /** Tokens have been decoded. */
  fed(slot: number, tokens: readonly Token[]): void {
    this.#tokens(slot).push(...tokens);
  }

  /** Only where `rewinds`, if it is shorter than what the slot holds. */
  truncate(slot: number, length: number): void {
    if (length === this.length(slot)) return;
    try {
      this.#memory.truncate(slot, length);
    } catch (error) {
      this.#empty(slot);
      throw error;
    }
    this.#tokens(slot).length = length;
  }

  /** A slot in the gap between `slots`, so that the highest of them can move there and they become neighbours. */
  gap(slots: readonly number[]): { readonly from: number; readonly to: number } | undefined {
    const from = Math.max(...slots);
    const to = this.#free.find((slot) => slot > Math.min(...slots) && slot < from);
    return to === undefined ? undefined : { from, to };
  }

  /** What runs in a slot goes on in a free one. */
  async move(from: number, to: number): Promise<void> {
    await this.#cache(to, undefined);
    await this.#copy(from, to, this.length(from));
    this.#empty(from);
    this.#free.splice(this.#free.indexOf(to), 1);
    this.release(from);
  }

  #choose(count: number, end: "low" | "high", source: number | undefined): number[] {
    if (count === 1 && source !== undefined && this.#free.includes(source)) return [source];
    return end === "low" ? this.#free.slice(0, count) : this.#free.slice(-count).reverse();
  }

  #longestPrefix(prompt: readonly Token[], tenant: string): Prefix | undefined {
    let best: Prefix | undefined;
    for (const slot of this.#held.keys()) {
      const length = this.#usable(slot, prompt, tenant);
      if (length > (best?.length ?? 0)) best = { slot, length };
    }
    return best;
  }

  /** How many of the first tokens of a tenant's prompt could be had of a slot. */
  #usable(slot: number, prompt: readonly Token[], tenant: string): number {
    const held = this.#tokens(slot);
    const owner = this.#owner(slot);
    const common = commonPrefix(held, prompt);
    const length = owner.tenant === tenant ? common : Math.min(common, owner.shared);
    return this.#memory.rewinds || length === held.length ? length : 0;
  }

  /**
   * Copies what a slot holds to a cached slot if it is worth it: if enough of it stands nowhere else. `kept` stays
   * where it is.
   */
  async #cache(slot: number, kept: Prefix | undefined): Promise<void> {
    const held = this.#tokens(slot);
    if (this.#cached === null || held.length < fewestWorthKeeping) return;
    const { tenant } = this.#owner(slot);
    const staying = kept?.slot === slot ? kept.length : 0;
    const elsewhere = this.#held.map((_, other) => (other === slot ? staying : this.#usable(other, held, tenant)));
    if (held.length - Math.max(...elsewhere) < held.length * ownShareWorthKeeping) return;
    const target = this.#cachedSlot(kept?.slot);
    if (target === undefined) return;
    await this.#copy(slot, target, held.length);
    this.#cached.set(target, true);
  }

  /** An empty cached slot, or the least recently used one. */
  #cachedSlot(kept: number | undefined): number | undefined {
    for (let slot = this.#count; slot < this.#memory.sequences; slot++) if (this.length(slot) === 0) return slot;
    for (const slot of this.#cached?.rkeys() ?? []) if (slot !== kept) return slot;
    return undefined;
  }

  /** Where it fails, the target holds nothing: what became of its state is not known. */
  async #copy(source: number, target: number, length: number): Promise<void> {
    try {
      await this.#memory.copy(source, target, length);
    } catch (error) {
      this.#empty(target);
      throw error;
    }
    this.#held[target] = this.#tokens(source).slice(0, length);
    this.#owners[target] = this.#owner(source);
  }

  #empty(slot: number): void {
    this.#memory.clear(slot);
    this.#held[slot] = [];
  }

  #owner(slot: number): Ownership {
    return this.#owners[slot] ?? undivided;
  }

  #tokens(slot: number): Token[] {
    const held = this.#held[slot];
    if (held === undefined) throw new RangeError(`There is no slot ${slot}`);
    return held;
  }
}

function commonPrefix(a: readonly Token[], b: readonly Token[]): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return i;
  return length;
}
