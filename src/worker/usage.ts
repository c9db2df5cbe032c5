/** @module What each API key uses in a minute, counted in one place for all isolates: a Durable Object for each key. */
import { DurableObject } from "cloudflare:workers";
import type { Caller, KeyLimits, RateLimiter } from "../http/access.ts";
import { exhausted, type LimitKind, type LimitState, limitHeaders, limitOf } from "../http/rate-limit.ts";

const minuteMs = 60_000;

export interface Limits {
  readonly requests: number | undefined;
  readonly tokens: number | undefined;
}

/** What is left of each limit there is, and which one is reached, if any. */
export interface Usage {
  readonly states: { readonly [Kind in LimitKind]?: LimitState };
  readonly reached: LimitKind | null;
}

export interface KeyUsageStub {
  admit(limits: Limits): Promise<Usage>;
  spend(tokens: number): Promise<void>;
}

/** In memory: a minute begins anew where the object is moved or the worker is deployed. One that nobody asks is dropped after its minute is over. */
export class KeyUsage extends DurableObject implements KeyUsageStub {
  readonly #used: Record<LimitKind, { count: number; until: number }> = {
    requests: { count: 0, until: 0 },
    tokens: { count: 0, until: 0 },
  };

  async admit(limits: Limits): Promise<Usage> {
    const tokens = this.#state("tokens", limits.tokens);
    if (tokens !== undefined && tokens.remainingPoints <= 0) return { states: { tokens }, reached: "tokens" };
    if (limits.requests !== undefined) this.#count("requests", 1);
    const requests = this.#state("requests", limits.requests);
    const reached = requests !== undefined && requests.remainingPoints < 0 ? "requests" : null;
    return { states: { ...(requests && { requests }), ...(tokens && { tokens }) }, reached };
  }

  async spend(tokens: number): Promise<void> {
    this.#count("tokens", tokens);
  }

  #count(kind: LimitKind, points: number): void {
    const now = Date.now();
    const used = this.#used[kind];
    if (used.until <= now) this.#used[kind] = { count: points, until: now + minuteMs };
    else used.count += points;
  }

  #state(kind: LimitKind, limit: number | undefined): LimitState | undefined {
    if (limit === undefined) return undefined;
    const { count, until } = this.#used[kind];
    const msBeforeNext = Math.max(0, until - Date.now());
    return { remainingPoints: limit - (msBeforeNext === 0 ? 0 : count), msBeforeNext };
  }
}

/** Where the count cannot be had, requests are let through: limits are no lock. */
export function usageLimiter(
  usage: { getByName(name: string): KeyUsageStub },
  defaults: KeyLimits,
  report: (line: string) => void,
): RateLimiter {
  const limitsOf = (caller: NonNullable<Caller>): Limits => ({
    requests: limitOf(caller, defaults, "requests"),
    tokens: limitOf(caller, defaults, "tokens"),
  });
  return {
    async admit(caller) {
      const limits = limitsOf(caller);
      if (limits.requests === undefined && limits.tokens === undefined) return {};
      const found = await usage
        .getByName(caller.name)
        .admit(limits)
        .catch((error: unknown) => report(`Limits cannot be counted: ${error}`));
      if (!found) return {};
      const { states, reached } = found;
      if (reached !== null)
        throw exhausted(caller, reached, limits[reached] ?? 0, states[reached] ?? { remainingPoints: 0, msBeforeNext: 0 });
      return {
        ...(states.requests && limitHeaders("requests", limits.requests ?? 0, states.requests)),
        ...(states.tokens && limitHeaders("tokens", limits.tokens ?? 0, states.tokens)),
      };
    },
    async spend(caller, tokens) {
      if (caller === null || tokens <= 0 || limitsOf(caller).tokens === undefined) return;
      await usage
        .getByName(caller.name)
        .spend(tokens)
        .catch((error: unknown) => report(`Tokens cannot be counted: ${error}`));
    },
  };
}
