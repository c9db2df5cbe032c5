/** @module Waiting: for a while, and no longer than a while. */
import { cancelled } from "../types/error.ts";

/** Resolves after so many milliseconds. Throws "cancelled" or "timeout" as soon as the signal fires. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const leave = (): void => {
      clearTimeout(timer);
      reject(cancelled(signal as AbortSignal));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", leave);
      resolve();
    }, ms);
    signal?.addEventListener("abort", leave, { once: true });
    if (signal?.aborted) leave();
  });
}

/** What the work comes to, or what `late` returns or throws where it takes longer; the work goes on then. */
export async function inTime<Result>(work: Promise<Result>, ms: number, late: () => Result): Promise<Result> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  work.catch(() => {}); // it may fail when nobody waits any more
  return Promise.race([work, over.then(late)]).finally(() => clearTimeout(timer));
}
