/** @module Waiting for what others wait for as well, until one's own signal fires. */
import { cancelled } from "../types/error.ts";

/** Throws "cancelled" or "timeout" when the signal fires; the work goes on for the others. */
export async function untilAborted<Value>(work: Promise<Value>, signal: AbortSignal | undefined): Promise<Value> {
  if (signal === undefined) return work;
  if (signal.aborted) {
    work.catch(() => {}); // told to the others
    throw cancelled(signal);
  }
  let leave = (): void => {};
  const left = new Promise<never>((_, reject) => {
    leave = () => reject(cancelled(signal));
    signal.addEventListener("abort", leave, { once: true });
  });
  return Promise.race([work, left]).finally(() => signal.removeEventListener("abort", leave));
}
