/** @module Work of which the parts are worth nothing without each other. */
import { LinkedSignal } from "./linked-signal.ts";

/**
 * All of the items' work, side by side. Where one of them fails, the others are stopped, and have stopped when its
 * error is thrown.
 */
export async function allOrNone<Item, Result>(
  items: readonly Item[],
  work: (item: Item, index: number, signal: AbortSignal) => Promise<Result>,
  signal: AbortSignal | undefined,
): Promise<Result[]> {
  const link = new LinkedSignal([signal]);
  const working = items.map((item, index) => work(item, index, link.signal));
  try {
    return await Promise.all(working);
  } catch (error) {
    link.abort(error);
    await Promise.allSettled(working);
    throw error;
  } finally {
    link.release();
  }
}
