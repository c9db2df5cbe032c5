/**
 * @module Results kept by what they were computed from, so that a run that was killed repeats nothing, and arms share
 * what they have in common.
 */
import { sha256Hex } from "icdpo-gateway/laboratory";
import type { z } from "zod";

/** What kind of result it is. A new `version` makes older ones count no more. */
export interface Kind<Value> {
  readonly name: string;
  readonly version: number;
  readonly schema: z.ZodType<Value>;
  /** Which values are worth keeping; absent: all. */
  readonly keeps?: (value: Value) => boolean;
}

/** A line of the cache's file. */
export interface CacheEntry {
  readonly kind: string;
  readonly key: string;
  readonly value: unknown;
}

export interface CacheOptions {
  /** What earlier runs kept. */
  readonly entries: readonly CacheEntry[];
  /** Resolves when the entry is safe. */
  readonly add: (entry: CacheEntry) => Promise<void>;
}

export class ResultCache {
  readonly #known = new Map<string, unknown>();
  readonly #underWay = new Map<string, Promise<unknown>>();
  readonly #add: CacheOptions["add"];
  #hits = 0;

  constructor({ entries, add }: CacheOptions) {
    this.#add = add;
    for (const { kind, key, value } of entries) this.#known.set(`${kind} ${key}`, value);
  }

  /** How many results were not computed again. */
  get hits(): number {
    return this.#hits;
  }

  /**
   * What is known of it; a value that is not of the kind's form counts as unknown. `parts` is everything the value
   * depends on.
   */
  get<Value>(kind: Kind<Value>, parts: unknown): Value | undefined {
    const parsed = kind.schema.safeParse(this.#known.get(`${kind.name} ${keyOf(kind, parts)}`));
    if (!parsed.success) return undefined;
    this.#hits += 1;
    return parsed.data;
  }

  async put<Value>(kind: Kind<Value>, parts: unknown, value: Value): Promise<void> {
    const entry = { kind: kind.name, key: keyOf(kind, parts), value };
    this.#known.set(`${entry.kind} ${entry.key}`, value);
    await this.#add(entry);
  }

  /**
   * The value, computed unless it is known; once, however many ask at the same time. A failure is not kept, nor what
   * the kind does not keep.
   */
  async recall<Value>(kind: Kind<Value>, parts: unknown, compute: () => Promise<Value>): Promise<Value> {
    const name = `${kind.name} ${keyOf(kind, parts)}`;
    const underWay = this.#underWay.get(name);
    if (underWay !== undefined) return underWay as Promise<Value>;
    const known = this.get(kind, parts);
    if (known !== undefined) return known;
    const computed = (async () => {
      const value = await compute();
      if (kind.keeps?.(value) ?? true) await this.put(kind, parts, value);
      return value;
    })();
    this.#underWay.set(name, computed);
    try {
      return await computed;
    } finally {
      this.#underWay.delete(name);
    }
  }
}

function keyOf({ version }: Pick<Kind<unknown>, "version">, parts: unknown): string {
  return contentHash([version, parts]);
}

/** SHA-256 of JSON, in hex. Keys of objects count in the order they are written in. */
export function contentHash(value: unknown): string {
  return sha256Hex(JSON.stringify(value));
}
