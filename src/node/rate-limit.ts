/** @module Requests and tokens a minute for each key, counted in this process. */
import { RateLimiterMemory, type RateLimiterRes } from "rate-limiter-flexible";
import type { Caller, KeyLimits, RateLimiter } from "../http/access.ts";
import { GatewayError } from "../types/error.ts";

const minute = 60;

type Kind = "requests" | "tokens";

export class MemoryRateLimiter implements RateLimiter {
  /** For keys that have no limits of their own. */
  readonly #defaults: KeyLimits;
  readonly #limiters = new Map<string, RateLimiterMemory>();

  constructor(defaults: KeyLimits) {
    this.#defaults = defaults;
  }

  async admit(caller: NonNullable<Caller>): Promise<Record<string, string>> {
    const tokens = this.#limiter(caller, "tokens");
    const spent = await tokens?.get(caller.name);
    if (tokens !== undefined && spent && spent.remainingPoints <= 0) throw exhausted(caller, "tokens", tokens.points, spent);
    const requests = this.#limiter(caller, "requests");
    const counted = requests && (await requests.consume(caller.name).catch((state: RateLimiterRes) => state));
    if (requests && counted && counted.consumedPoints > requests.points) throw exhausted(caller, "requests", requests.points, counted);
    return {
      ...(requests && counted && headers("requests", requests.points, counted)),
      ...(tokens && headers("tokens", tokens.points, spent ?? { remainingPoints: tokens.points, msBeforeNext: 0 })),
    };
  }

  async spend(caller: Caller, tokens: number): Promise<void> {
    if (caller === null || tokens <= 0) return;
    await this.#limiter(caller, "tokens")?.penalty(caller.name, tokens);
  }

  #limiter(caller: NonNullable<Caller>, kind: Kind): RateLimiterMemory | undefined {
    const field = kind === "requests" ? "requestsPerMinute" : "tokensPerMinute";
    const points = caller.limits[field] ?? this.#defaults[field];
    if (points === undefined) return undefined;
    const name = `${kind}:${points}`;
    const limiter = this.#limiters.get(name) ?? new RateLimiterMemory({ keyPrefix: name, points, duration: minute });
    this.#limiters.set(name, limiter);
    return limiter;
  }
}

type State = Pick<RateLimiterRes, "remainingPoints" | "msBeforeNext">;

function headers(kind: Kind, limit: number, { remainingPoints, msBeforeNext }: State): Record<string, string> {
  return {
    [`x-ratelimit-limit-${kind}`]: String(limit),
    [`x-ratelimit-remaining-${kind}`]: String(Math.max(0, remainingPoints)),
    [`x-ratelimit-reset-${kind}`]: `${Math.ceil(msBeforeNext / 1000)}s`,
  };
}

function exhausted({ name }: NonNullable<Caller>, kind: Kind, limit: number, state: State): GatewayError {
  const retryAfter = Math.max(1, Math.ceil(state.msBeforeNext / 1000));
  return new GatewayError("rate_limited", `The key "${name}" may use ${limit} ${kind} a minute. Retry in ${retryAfter} s.`, { retryAfter });
}
