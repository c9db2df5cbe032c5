/** @module What each key has used in a minute, counted in this process. */
import { RateLimiterMemory } from "rate-limiter-flexible";
import type { KeyLimits } from "./access.ts";
import { type Count, KeyLimiter, type LimitKind, type UsageCounts, type Uses } from "./key-limits.ts";

const minute = 60;

export class MemoryCounts implements UsageCounts {
  /** They count; what is too much is said elsewhere, and may change while a minute runs. */
  readonly #counters: { readonly [Kind in LimitKind]: RateLimiterMemory } = {
    requests: new RateLimiterMemory({ keyPrefix: "requests", points: Number.MAX_SAFE_INTEGER, duration: minute }),
    tokens: new RateLimiterMemory({ keyPrefix: "tokens", points: Number.MAX_SAFE_INTEGER, duration: minute }),
  };
  readonly #underWay = new Map<string, Set<string>>();

  async add(name: string, uses: Uses): Promise<{ readonly [Kind in LimitKind]?: Count }> {
    const counts: { [Kind in LimitKind]?: Count } = {};
    for (const kind of ["requests", "tokens"] as const) {
      const points = uses[kind];
      if (points === undefined) continue;
      const now = Date.now();
      const { consumedPoints: used, msBeforeNext: msLeft } = await this.#counters[kind].penalty(name, points);
      // The minute is not over before then, if it is over a little later.
      counts[kind] = { used, msLeft, minute: now + msLeft };
    }
    return counts;
  }

  async giveBack(name: string, tokens: number, minute: number): Promise<void> {
    if (Date.now() < minute) await this.#counters.tokens.reward(name, tokens);
  }

  async enter(name: string, request: string, most: number): Promise<boolean> {
    const underWay = this.#underWay.get(name) ?? new Set();
    if (underWay.size >= most) return false;
    this.#underWay.set(name, underWay.add(request));
    return true;
  }

  async leave(name: string, request: string): Promise<void> {
    const underWay = this.#underWay.get(name);
    underWay?.delete(request);
    if (underWay?.size === 0) this.#underWay.delete(name);
  }
}

export class MemoryRateLimiter extends KeyLimiter {
  constructor(defaults: KeyLimits) {
    let requests = 0;
    super(new MemoryCounts(), defaults, () => String(requests++));
  }
}
