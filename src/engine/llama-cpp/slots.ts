/**
 * @module What each of llama.cpp's sequences holds: the prefix cache. The first sequences are lanes, in which tasks run; a lane that is given
 * back keeps its tokens and their state. The others are the shelf: what a lane holds is copied there before the lane is used for something
 * else, the least recently used out. A new prompt begins with the longest prefix of it that any sequence holds, running ones included; of
 * what another tenant's sequence holds, no further than where that tenant's own words begin.
 */
import { LRUCache } from "lru-cache";
import type { Token } from "../engine.ts";

/** What the cache needs of llama.cpp. All of it takes effect before the next step. */
export interface SequenceMemory {
  readonly sequences: number;
  /** States can be cut to a beginning. Those of recurrent and hybrid models cannot: they are used whole or not at all. */
  readonly rewinds: boolean;
  /** The first `length` positions of the source become the target's; all of them, where states cannot be cut. */
  copy(source: number, target: number, length: number): Promise<void>;
  /** Only where states can be cut. */
  truncate(sequence: number, length: number): void;
  clear(sequence: number): void;
}

/** The first `length` tokens of what a sequence holds. */
export interface Prefix {
  readonly sequence: number;
  readonly length: number;
}

/** Whose tokens a prompt holds, and those that follow it: the first `shared` are nobody's own, and may be the beginning of anybody's prompt. */
export interface Ownership {
  readonly tenant: string;
  readonly shared: number;
}

/** There is one tenant only. */
export const undivided: Ownership = { tenant: "", shared: 0 };

/** Fewer tokens are not worth a copy: llama.cpp copies a whole sequence, however little of it is in use (20 ms for 4,096 positions of 135M weights). */
const fewestWorthKeeping = 32;
/** A sequence that differs less from another one is not worth a place beside it. */
const ownShareWorthKeeping = 1 / 4;

export class Sequences {
  readonly #memory: SequenceMemory;
  readonly #held: Token[][];
  /** Of each sequence: whose tokens it holds. */
  readonly #owners: Ownership[];
  /** Lanes that nobody runs in, ascending. */
  readonly #free: number[];
  readonly #laneCount: number;
  /** Sequences of the shelf that hold something. */
  readonly #shelf: LRUCache<number, true> | null;

  constructor(memory: SequenceMemory, laneCount: number) {
    this.#memory = memory;
    this.#laneCount = laneCount;
    this.#held = Array.from({ length: memory.sequences }, () => []);
    this.#owners = Array.from({ length: memory.sequences }, () => undivided);
    this.#free = Array.from({ length: laneCount }, (_, lane) => lane);
    this.#shelf = memory.sequences > laneCount ? new LRUCache({ max: memory.sequences - laneCount }) : null;
  }

  get laneCount(): number {
    return this.#laneCount;
  }

  get freeLanes(): number {
    return this.#free.length;
  }

  /** Tokens in a sequence. */
  length(sequence: number): number {
    return this.#tokens(sequence).length;
  }

  /**
   * Lanes for a prompt: the lowest that are free, or the highest. The first holds what the cache had of the prompt, the others nothing. The
   * prompt's last token is never taken from the cache: it has to be fed for its logits.
   */
  async take(count: number, prompt: readonly Token[], end: "low" | "high", owner: Ownership): Promise<number[]> {
    const found = this.#longestPrefix(prompt.slice(0, -1), owner.tenant);
    const lanes = this.#choose(count, end, found?.sequence);
    const inPlace = lanes.find((lane) => lane === found?.sequence);
    const first = inPlace ?? (lanes[0] as number);
    for (const lane of lanes) {
      await this.#shelve(lane, found);
      if (lane !== inPlace) this.#empty(lane);
    }
    for (const lane of lanes) if (lane !== inPlace) this.#owners[lane] = owner;
    if (found !== undefined) await this.begin(first, found, owner);
    for (const lane of lanes) this.#free.splice(this.#free.indexOf(lane), 1);
    return [first, ...lanes.filter((lane) => lane !== first)];
  }

  /** What other sequences have of a prompt, where that is further than its lane has come and worth a copy. Changes nothing. */
  further(lane: number, prompt: readonly Token[]): Prefix | undefined {
    const found = this.#longestPrefix(prompt.slice(0, -1), this.#owner(lane).tenant);
    return found !== undefined && found.length - this.length(lane) >= fewestWorthKeeping ? found : undefined;
  }

  /** The lane holds the prefix and nothing else, by a copy or by cutting what it holds; where that fails, it holds nothing. It is the owner's then. */
  async begin(lane: number, { sequence, length }: Prefix, owner = this.#owner(lane)): Promise<void> {
    if (sequence >= this.#laneCount) this.#shelf?.get(sequence);
    if (lane === sequence) this.truncate(lane, length);
    else await this.#copy(sequence, lane, length);
    this.#owners[lane] = owner;
  }

  /** The lane is free; what it holds is kept until the lane is needed. */
  release(lane: number): void {
    this.#free.push(lane);
    this.#free.sort((a, b) => a - b);
  }

  /** The state of a sequence is not known any more. */
  forget(sequence: number): void {
    this.#empty(sequence);
  }

  /** Tokens have been decoded. */
  fed(sequence: number, tokens: readonly Token[]): void {
    this.#tokens(sequence).push(...tokens);
  }

  /** Only where `rewinds`, if it is shorter than what the sequence holds. */
  truncate(sequence: number, length: number): void {
    if (length === this.length(sequence)) return;
    try {
      this.#memory.truncate(sequence, length);
    } catch (error) {
      this.#empty(sequence);
      throw error;
    }
    this.#tokens(sequence).length = length;
  }

  /** A lane in the gap between `lanes`, so that the highest of them can move there and they become neighbours. */
  gap(lanes: readonly number[]): { readonly from: number; readonly to: number } | undefined {
    const from = Math.max(...lanes);
    const to = this.#free.find((lane) => lane > Math.min(...lanes) && lane < from);
    return to === undefined ? undefined : { from, to };
  }

  /** What runs in a lane goes on in a free one. */
  async move(from: number, to: number): Promise<void> {
    await this.#shelve(to, undefined);
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
    for (const sequence of this.#held.keys()) {
      const length = this.#usable(sequence, prompt, tenant);
      if (length > (best?.length ?? 0)) best = { sequence, length };
    }
    return best;
  }

  /** How many of the first tokens of a tenant's prompt could be had of a sequence. */
  #usable(sequence: number, prompt: readonly Token[], tenant: string): number {
    const held = this.#tokens(sequence);
    const owner = this.#owner(sequence);
    const common = commonPrefix(held, prompt);
    const length = owner.tenant === tenant ? common : Math.min(common, owner.shared);
    return this.#memory.rewinds || length === held.length ? length : 0;
  }

  /** Copies what a lane holds to the shelf if it is worth it: if enough of it stands nowhere else. `kept` stays where it is. */
  async #shelve(lane: number, kept: Prefix | undefined): Promise<void> {
    const held = this.#tokens(lane);
    if (this.#shelf === null || held.length < fewestWorthKeeping) return;
    const { tenant } = this.#owner(lane);
    const staying = kept?.sequence === lane ? kept.length : 0;
    const elsewhere = this.#held.map((_, sequence) => (sequence === lane ? staying : this.#usable(sequence, held, tenant)));
    if (held.length - Math.max(...elsewhere) < held.length * ownShareWorthKeeping) return;
    const place = this.#place(kept?.sequence);
    if (place === undefined) return;
    await this.#copy(lane, place, held.length);
    this.#shelf.set(place, true);
  }

  /** An empty sequence of the shelf, or the least recently used one. */
  #place(kept: number | undefined): number | undefined {
    for (let sequence = this.#laneCount; sequence < this.#memory.sequences; sequence++) if (this.length(sequence) === 0) return sequence;
    for (const sequence of this.#shelf?.rkeys() ?? []) if (sequence !== kept) return sequence;
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

  #empty(sequence: number): void {
    this.#memory.clear(sequence);
    this.#held[sequence] = [];
  }

  #owner(sequence: number): Ownership {
    return this.#owners[sequence] ?? undivided;
  }

  #tokens(sequence: number): Token[] {
    const held = this.#held[sequence];
    if (held === undefined) throw new RangeError(`There is no sequence ${sequence}`);
    return held;
  }
}

function commonPrefix(a: readonly Token[], b: readonly Token[]): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return i;
  return length;
}
