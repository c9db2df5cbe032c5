/**
 * @module What a key may use: requests and tokens a minute, requests at once. Where uses are counted is the runtime's
 * concern.
 */
import { GatewayError } from "../types/error.ts";
import type { Caller, KeyLimits, RateLimiter, Reservation } from "./access.ts";

export type LimitKind = "requests" | "tokens";

/** What a key has used in a minute that began with its first use. */
export interface Count {
  readonly used: number;
  /** Which minute it is: no other one of the same key is called so. */
  readonly minute: number;
  /** Milliseconds until it is over. */
  readonly msLeft: number;
}

/** Counts what keys use, each by its name. */
export interface UsageCounts {
  /** Adds to what was used in the present minute; 0 only asks. */
  add(name: string, uses: Uses): Promise<{ readonly [Kind in LimitKind]?: Count }>;
  /** Takes tokens back, unless the minute that they were counted in is over. */
  giveBack(name: string, tokens: number, minute: number): Promise<void>;
  /** Notes that a request is under way, unless `most` of its key are. */
  enter(name: string, request: string, most: number): Promise<boolean>;
  leave(name: string, request: string): Promise<void>;
}

export type Uses = { readonly [Kind in LimitKind]?: number };

/** There is no limit that tokens would be counted for. */
export function uncounted(settle: Reservation["settle"]): Reservation {
  return { tokens: Number.POSITIVE_INFINITY, extend: async (tokens) => tokens, settle };
}

const none = uncounted(async () => {});
/** For a gateway that counts nothing. */
export const noLimits: RateLimiter = { admit: async () => ({}), reserve: async () => none };
/** Another request of the key may end at any moment. */
const parallelRetrySeconds = 1;

/** Holds keys to their limits, or to the defaults where they have none of their own. */
export class KeyLimiter implements RateLimiter {
  readonly #counts: UsageCounts;
  readonly #defaults: KeyLimits;
  readonly #newId: () => string;

  constructor(counts: UsageCounts, defaults: KeyLimits, newId: () => string) {
    this.#counts = counts;
    this.#defaults = defaults;
    this.#newId = newId;
  }

  async admit(caller: NonNullable<Caller>): Promise<Record<string, string>> {
    const limits = this.#limitsOf(caller);
    if (limits.requests === undefined && limits.tokens === undefined) return {};
    const uses = {
      ...(limits.requests !== undefined && { requests: 1 }),
      ...(limits.tokens !== undefined && { tokens: 0 }),
    };
    const { requests, tokens } = await this.#counts.add(caller.name, uses);
    if (limits.tokens !== undefined && tokens && tokens.used >= limits.tokens)
      throw exhausted(caller, "tokens", limits.tokens, tokens);
    if (limits.requests !== undefined && requests && requests.used > limits.requests)
      throw exhausted(caller, "requests", limits.requests, requests);
    return { ...headers("requests", limits.requests, requests), ...headers("tokens", limits.tokens, tokens) };
  }

  async reserve(caller: Caller, tokens: () => Promise<number>, isBackground = false): Promise<Reservation> {
    if (caller === null) return none;
    const { tokens: limit, parallel } = this.#limitsOf(caller);
    const leave = parallel === undefined || isBackground ? async () => {} : await this.#enter(caller, parallel);
    if (limit === undefined) return uncounted(leave);
    try {
      const reserved = await tokens();
      return this.#counted(caller, limit, reserved, await this.#take(caller, reserved, limit), leave);
    } catch (error) {
      await leave();
      throw error;
    }
  }

  #counted(
    { name }: NonNullable<Caller>,
    limit: number,
    taken: number,
    minuteTaken: number,
    leave: () => Promise<void>,
  ): Reservation {
    let [reserved, minute] = [taken, minuteTaken];
    return {
      get tokens() {
        return reserved;
      },
      extend: async (more) => {
        const { tokens } = await this.#counts.add(name, { tokens: more });
        const over = Math.min(more, Math.max(0, (tokens?.used ?? 0) - limit));
        if (tokens !== undefined && over > 0) await this.#counts.giveBack(name, over, tokens.minute);
        [reserved, minute] = [reserved + more - over, tokens?.minute ?? minute];
        return more - over;
      },
      settle: async (worked) => {
        await Promise.all([leave(), this.#correct(name, worked - reserved, minute)]);
      },
    };
  }

  async #enter(caller: NonNullable<Caller>, most: number): Promise<() => Promise<void>> {
    const request = this.#newId();
    if (await this.#counts.enter(caller.name, request, most)) return () => this.#counts.leave(caller.name, request);
    const message = `The key "${caller.name}" may have ${most} requests under way at once. Retry when one of them has ended.`;
    throw new GatewayError("rate_limited", message, { retryAfter: parallelRetrySeconds });
  }

  /** Counts tokens before they are worked through; returns the minute that they are counted in. */
  async #take(caller: NonNullable<Caller>, reserved: number, limit: number): Promise<number> {
    if (reserved > limit) throw neverFits(caller, reserved, limit);
    const { tokens } = await this.#counts.add(caller.name, { tokens: reserved });
    if (tokens === undefined || tokens.used <= limit) return tokens?.minute ?? 0;
    await this.#counts.giveBack(caller.name, reserved, tokens.minute);
    throw exhausted(caller, "tokens", limit, tokens, ` This request may take ${reserved}.`);
  }

  /** What was taken beyond the reservation counts in the present minute. */
  async #correct(name: string, more: number, minute: number): Promise<void> {
    if (more > 0) await this.#counts.add(name, { tokens: more });
    else if (more < 0) await this.#counts.giveBack(name, -more, minute);
  }

  #limitsOf({ limits }: NonNullable<Caller>) {
    const defaults = this.#defaults;
    return {
      requests: limits.requestsPerMinute ?? defaults.requestsPerMinute,
      tokens: limits.tokensPerMinute ?? defaults.tokensPerMinute,
      parallel: limits.parallel ?? defaults.parallel,
    };
  }
}

/** As OpenAI names them. */
function headers(kind: LimitKind, limit: number | undefined, count: Count | undefined): Record<string, string> {
  if (limit === undefined || count === undefined) return {};
  return {
    [`x-ratelimit-limit-${kind}`]: String(limit),
    [`x-ratelimit-remaining-${kind}`]: String(Math.max(0, limit - count.used)),
    [`x-ratelimit-reset-${kind}`]: `${Math.ceil(count.msLeft / 1000)}s`,
  };
}

function exhausted(
  { name }: NonNullable<Caller>,
  kind: LimitKind,
  limit: number,
  { msLeft }: Count,
  more = "",
): GatewayError {
  const retryAfter = Math.max(1, Math.ceil(msLeft / 1000));
  const message = `The key "${name}" may use ${limit} ${kind} a minute.${more} Retry in ${retryAfter} s.`;
  return new GatewayError("rate_limited", message, { retryAfter });
}

/** To come back later would not help. */
function neverFits({ name }: NonNullable<Caller>, tokens: number, limit: number): GatewayError {
  return new GatewayError(
    "invalid_request",
    `The request may take ${tokens} tokens, and the key "${name}" may use ${limit} a minute: it never fits. Ask for less, by max_tokens, n, or shorter texts.`,
  );
}
