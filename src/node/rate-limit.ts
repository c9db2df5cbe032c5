/** @module Requests and tokens a minute for each key, counted in this process. */
import { RateLimiterMemory, type RateLimiterRes } from "rate-limiter-flexible";
import type { Caller, KeyLimits, RateLimiter } from "../http/access.ts";
import { exhausted, type LimitKind, limitHeaders, limitOf } from "../http/rate-limit.ts";

const minute = 60;

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
      ...(requests && counted && limitHeaders("requests", requests.points, counted)),
      ...(tokens && limitHeaders("tokens", tokens.points, spent ?? { remainingPoints: tokens.points, msBeforeNext: 0 })),
    };
  }

  async spend(caller: Caller, tokens: number): Promise<void> {
    if (caller === null || tokens <= 0) return;
    await this.#limiter(caller, "tokens")?.penalty(caller.name, tokens);
  }

  #limiter(caller: NonNullable<Caller>, kind: LimitKind): RateLimiterMemory | undefined {
    const points = limitOf(caller, this.#defaults, kind);
    if (points === undefined) return undefined;
    const name = `${kind}:${points}`;
    const limiter = this.#limiters.get(name) ?? new RateLimiterMemory({ keyPrefix: name, points, duration: minute });
    this.#limiters.set(name, limiter);
    return limiter;
  }
}
