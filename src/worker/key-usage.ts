/** @module What each API key uses in a minute, counted in one place for all isolates: a Durable Object for each key. */
import { DurableObject } from "cloudflare:workers";
import type { Count, LimitKind, UsageCounts, Uses } from "../access/key-limits.ts";

const minuteMs = 60_000;

export type Counts = { readonly [Kind in LimitKind]?: Count };

export interface KeyUsageStub {
  add(uses: Uses): Promise<Counts>;
  giveBack(tokens: number, minute: number): Promise<void>;
  enter(request: string, most: number, forMs: number): Promise<boolean>;
  leave(request: string): Promise<void>;
}

/**
 * In memory: a minute begins anew where the object is moved or the worker is deployed. One that nobody asks is dropped
 * after its minute is over.
 */
export class KeyUsage extends DurableObject implements KeyUsageStub {
  readonly #used: Record<LimitKind, { count: number; until: number }> = {
    requests: { count: 0, until: 0 },
    tokens: { count: 0, until: 0 },
  };
  /** Requests under way, and until when each of them may be. */
  readonly #underWay = new Map<string, number>();

  async add(uses: Uses): Promise<Counts> {
    return {
      ...(uses.requests !== undefined && { requests: this.#count("requests", uses.requests) }),
      ...(uses.tokens !== undefined && { tokens: this.#count("tokens", uses.tokens) }),
    };
  }

  async giveBack(tokens: number, minute: number): Promise<void> {
    const used = this.#used.tokens;
    if (used.until === minute && minute > Date.now()) used.count -= tokens;
  }

  async enter(request: string, most: number, forMs: number): Promise<boolean> {
    const now = Date.now();
    for (const [other, until] of this.#underWay) if (until <= now) this.#underWay.delete(other);
    if (this.#underWay.size >= most) return false;
    this.#underWay.set(request, now + forMs);
    return true;
  }

  async leave(request: string): Promise<void> {
    this.#underWay.delete(request);
  }

  #count(kind: LimitKind, points: number): Count {
    const now = Date.now();
    const used = this.#used[kind];
    if (used.until <= now) this.#used[kind] = { count: points, until: now + minuteMs };
    else used.count += points;
    const { count, until } = this.#used[kind];
    return { used: count, minute: until, msLeft: until - now };
  }
}

/**
 * Where the count cannot be had, requests are let through: limits are no lock. An isolate may end without saying that
 * its requests have: none is taken to be under way for longer than `longestMs`.
 */
export function usageCounts(
  usage: { getByName(name: string): KeyUsageStub },
  longestMs: number,
  report: (line: string) => void,
): UsageCounts {
  const orElse = async <Result>(found: Promise<Result>, otherwise: Result): Promise<Result> =>
    found.catch((error: unknown) => {
      report(`Limits cannot be counted: ${error}`);
      return otherwise;
    });
  return {
    add: (name, uses) => orElse(usage.getByName(name).add(uses), {}),
    giveBack: (name, tokens, minute) => orElse(usage.getByName(name).giveBack(tokens, minute), undefined),
    enter: (name, request, most) => orElse(usage.getByName(name).enter(request, most, longestMs), true),
    leave: (name, request) => orElse(usage.getByName(name).leave(request), undefined),
  };
}
