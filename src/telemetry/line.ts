/** @module The line that a log holds of a request. */
import type { RequestRecord } from "../gateway/observation.ts";
import { isMeant } from "../types/error.ts";

export function levelOf({ status, error }: Pick<RequestRecord, "status" | "error">): "info" | "warn" | "error" {
  return status >= 500 && !isMeant(error) ? "error" : status >= 400 ? "warn" : "info";
}

/** Everything but what only traces need; milliseconds with one decimal. */
export function lineOf(
  { stages, texts, startedAt, traceparent, ms, firstByteMs, ...facts }: RequestRecord,
  withText: boolean,
) {
  return {
    ...facts,
    ms: rounded(ms),
    ...(firstByteMs !== undefined && { first_byte_ms: rounded(firstByteMs) }),
    stages_ms: stageTimes(stages),
    ...(withText && texts),
  };
}

/** Of a stage that was entered more than once, by a second try, the sum. */
function stageTimes(stages: RequestRecord["stages"]): Record<string, number> {
  const sums = new Map<string, number>();
  for (const { stage, ms } of stages) sums.set(stage, (sums.get(stage) ?? 0) + ms);
  return Object.fromEntries([...sums].map(([stage, ms]) => [stage, rounded(ms)]));
}

function rounded(ms: number): number {
  return Math.round(ms * 10) / 10;
}
