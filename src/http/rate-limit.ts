/** @module Limits a minute as clients are told of them. Where uses are counted is the runtime's concern. */
import { GatewayError } from "../types/error.ts";
import type { Caller, KeyLimits } from "./access.ts";

export type LimitKind = "requests" | "tokens";

export interface LimitState {
  readonly remainingPoints: number;
  readonly msBeforeNext: number;
}

/** A key's own limit, or that of all keys. */
export function limitOf({ limits }: NonNullable<Caller>, defaults: KeyLimits, kind: LimitKind): number | undefined {
  const field = kind === "requests" ? "requestsPerMinute" : "tokensPerMinute";
  return limits[field] ?? defaults[field];
}

/** As OpenAI names them. */
export function limitHeaders(kind: LimitKind, limit: number, { remainingPoints, msBeforeNext }: LimitState): Record<string, string> {
  return {
    [`x-ratelimit-limit-${kind}`]: String(limit),
    [`x-ratelimit-remaining-${kind}`]: String(Math.max(0, remainingPoints)),
    [`x-ratelimit-reset-${kind}`]: `${Math.ceil(msBeforeNext / 1000)}s`,
  };
}

export function exhausted({ name }: NonNullable<Caller>, kind: LimitKind, limit: number, { msBeforeNext }: LimitState): GatewayError {
  const retryAfter = Math.max(1, Math.ceil(msBeforeNext / 1000));
  return new GatewayError("rate_limited", `The key "${name}" may use ${limit} ${kind} a minute. Retry in ${retryAfter} s.`, { retryAfter });
}
