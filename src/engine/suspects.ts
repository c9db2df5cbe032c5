/**
 * @module Calls that may have ended a server. One that was alone under way when a server ended by itself, and one that
 * was there at two ends, is not sent again for a while, to no replica. The others are sent once more, those that had
 * not begun to be answered one at a time: the next end tells which it was.
 */
import { pause } from "../async/pause.ts";
import { sha256Hex } from "../text/bytes.ts";
import { GatewayError } from "../types/error.ts";

/** A call to a server, for as long as it is under way. */
export interface SentCall {
  /** What is sent, but for its seeds: who sends it again means the same. Only asked for where a server has ended. */
  readonly content: () => string;
  /** Calls with one owner are one request's. */
  readonly owner: unknown;
  /** Something has come in answer. */
  hasBegun: boolean;
}

/**
 * How a server ended: by a fault of its own code, for certain; by itself or by somebody, as far as can be told from
 * here; by somebody, or by something that says nothing of what it was doing.
 */
export type End = "fault" | "unknown" | "outside";

interface Suspect {
  /** How often it was under way when a server ended. */
  readonly ends: number;
  readonly isConvicted: boolean;
  /** While it is sent again, other suspects wait: until an answer begins, until its end, or not at all. */
  readonly apart: "beginning" | "whole" | "no";
  /** It is forgotten then. */
  readonly until: number;
}

const rememberedMs = 300_000;
const mostRemembered = 1_000;
const pollMs = 5;
/** Who is under way at so many ends is no chance; */
const endsOfGuilt = 2;
/** who had begun to be answered each time, at so many. */
const endsOfLateGuilt = 3;

export class Suspects {
  readonly #now: () => number;
  /** By a hash of what was sent; the oldest first. */
  readonly #known = new Map<string, Suspect>();
  /** Suspects that are under way apart from others. */
  readonly #onTrial = new Map<SentCall, Suspect["apart"]>();

  /** `now`: milliseconds, from any origin. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /**
   * Resolves when the call may be sent; costs nothing where no server has ended lately. Throws "engine_unavailable"
   * where it may not.
   */
  async admit(call: SentCall, signal: AbortSignal | undefined): Promise<void> {
    for (;;) {
      this.check(call);
      const apart = this.#suspectOf(call)?.apart ?? "no";
      if (apart === "no") return;
      // Each looks for itself whether it is its turn: some runtimes forbid one request to wake another.
      const others = [...this.#onTrial].some(
        ([{ owner, hasBegun }, until]) => owner !== call.owner && (until === "whole" || !hasBegun),
      );
      if (!others || signal?.aborted) {
        this.#onTrial.set(call, apart);
        return;
      }
      await pause(pollMs);
    }
  }

  /** Throws "engine_unavailable" where the call is taken to end servers. */
  check(call: SentCall): void {
    const suspect = this.#suspectOf(call);
    if (!suspect?.isConvicted) return;
    const seconds = Math.max(1, Math.ceil((suspect.until - this.#now()) / 1000));
    const message = `This request was under way when the engine ended, and may be why. It is not tried again for ${seconds} s; others are. Change it, or ask who runs the gateway.`;
    throw new GatewayError("engine_unavailable", message, { isFinal: true, isPublic: true, retryAfter: seconds });
  }

  /** The call is over. `isWell`: it has been answered to its end. */
  leave(call: SentCall, isWell: boolean): void {
    this.#onTrial.delete(call);
    if (isWell && this.#known.size > 0) this.#known.delete(keyOf(call));
  }

  /** A server ended with these calls under way. */
  blame(calls: readonly SentCall[], end: End): void {
    const waiting = calls.filter(({ hasBegun }) => !hasBegun);
    const likely = waiting.length > 0 ? waiting : calls;
    const likelyKeys = new Set(likely.map(keyOf));
    // A fault is that of the only one whose answer had not begun; elsewhere somebody may have ended a server that was
    // at work for many.
    const isCertain = end !== "outside" && ownersOf(end === "fault" ? likely : calls) === 1;
    for (const key of new Set(calls.map(keyOf))) {
      const isLikely = likelyKeys.has(key);
      const ends = (this.#known.get(key)?.ends ?? 0) + 1;
      const isConvicted = (isCertain && isLikely) || ends >= (isLikely ? endsOfGuilt : endsOfLateGuilt);
      const apart = isLikely ? (end === "fault" ? "whole" : "beginning") : "no";
      this.#known.delete(key);
      this.#known.set(key, { ends, isConvicted, apart, until: this.#now() + rememberedMs });
    }
    this.#forget();
  }

  #suspectOf(call: SentCall): Suspect | undefined {
    if (this.#known.size > 0) this.#forget();
    return this.#known.size === 0 ? undefined : this.#known.get(keyOf(call));
  }

  #forget(): void {
    const now = this.#now();
    for (const [key, { until }] of this.#known) {
      if (until > now && this.#known.size <= mostRemembered) return;
      this.#known.delete(key);
    }
  }
}

function ownersOf(calls: readonly SentCall[]): number {
  return new Set(calls.map(({ owner }) => owner)).size;
}

/** Not the content itself: nobody's words are kept. */
function keyOf({ content }: SentCall): string {
  return sha256Hex(content());
}

/** JSON of what is sent, without what differs when the same is sent again. */
export function contentOf(...parts: readonly unknown[]): string {
  return JSON.stringify(parts, (key, value: unknown) => {
    if (key === "seed" || key === "seeds") return undefined;
    return value instanceof Map ? [...value] : value;
  });
}
