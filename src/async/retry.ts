/** @module Work that is done again where it failed for a reason that may pass. */
import { GatewayError } from "../types/error.ts";
import { pause as realPause } from "./pause.ts";

export interface RetryOptions {
  /** How often the work is done at most, the first time included. */
  readonly attempts: number;
  /** Milliseconds before the next attempt, after so many failures: 1 after the first. Default: none. */
  readonly pauseMs?: (failures: number) => number;
  /** Milliseconds: a failure may ask for a longer pause (`retryAfter`), up to this. Default: for none. */
  readonly longestMs?: number;
  /** Whether another attempt may help. Default: always. */
  readonly mayPass?: (error: unknown) => boolean;
  /** Told each failure that another attempt follows, before the pause. */
  readonly onFailure?: (error: unknown) => void;
  readonly signal?: AbortSignal | undefined;
  readonly pause?: (ms: number, signal?: AbortSignal) => Promise<void>;
}

/** Throws what the last attempt threw; "cancelled" or "timeout" where the signal fires in a pause. */
export async function retry<Result>(work: () => Promise<Result>, options: RetryOptions): Promise<Result> {
  const { attempts, pauseMs = () => 0, longestMs = 0, mayPass = () => true, signal, pause = realPause } = options;
  for (let failures = 1; ; failures++) {
    try {
      return await work();
    } catch (error) {
      if (failures >= attempts || signal?.aborted || !mayPass(error)) throw error;
      options.onFailure?.(error);
      const ms = Math.max(pauseMs(failures), Math.min(longestMs, askedFor(error)));
      if (ms > 0) await pause(ms, signal);
    }
  }
}

/** Milliseconds. */
function askedFor(error: unknown): number {
  return error instanceof GatewayError ? 1000 * (error.retryAfter ?? 0) : 0;
}
