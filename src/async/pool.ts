/** @module Work done a few at once. */
import { LinkedSignal } from "./linked-signal.ts";

export interface PoolOptions {
  readonly concurrency: number;
  /** Ends everything. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * `[items]` in the items' order. The first failure begins nothing more, fires the signals of what is under way, so that
 * it begins no further call either, and is thrown when that has ended.
 */
export async function inPool<Item, Result>(
  items: readonly Item[],
  { concurrency, signal }: PoolOptions,
  work: (item: Item, signal: AbortSignal, index: number) => Promise<Result>,
): Promise<Result[]> {
  const results = new Array<Result>(items.length);
  const stop = new AbortController();
  let failure: { readonly error: unknown } | undefined;
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < items.length && failure === undefined; index = next++) {
      const link = new LinkedSignal([signal, stop.signal]);
      try {
        results[index] = await work(items[index] as Item, link.signal, index);
      } catch (error) {
        failure ??= { error };
        stop.abort(error);
      } finally {
        link.release();
      }
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, Math.min(concurrency, items.length)) }, worker));
  if (failure !== undefined) throw failure.error;
  return results;
}
