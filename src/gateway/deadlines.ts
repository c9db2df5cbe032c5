/**
 * @module When the work for a request is to stop: somebody left, or it takes too long, as a whole or in one of its
 * stages.
 */
import { LinkedSignal } from "../async/linked-signal.ts";
import type { Stage } from "../icdpo/pipeline.ts";
import { GatewayError } from "../types/error.ts";

/** In milliseconds; absent: no limit. */
export type StageLimits = { readonly [Name in Stage]?: number };

/** What each stage does, and what its limit is called. */
const stages = {
  retrieve: ["retrieving demonstrations", "ICDPO_RETRIEVE_TIMEOUT_MS"],
  queue: ["waiting for the model", "ICDPO_QUEUE_TIMEOUT_MS"],
  prefill: ["without progress on its prompt", "ICDPO_PREFILL_TIMEOUT_MS"],
  sample: ["sampling", "ICDPO_TIMEOUT_MS"],
  score: ["scoring", "ICDPO_TIMEOUT_MS"],
} as const;

export class StageDeadlines {
  readonly #limits: StageLimits;
  readonly #linked: LinkedSignal;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `until`: what else ends the work. */
  constructor(limits: StageLimits, until: readonly AbortSignal[]) {
    this.#limits = limits;
    this.#linked = new LinkedSignal(until);
  }

  /** Fires with "timeout" when the present stage takes too long. */
  get signal(): AbortSignal {
    return this.#linked.signal;
  }

  /** Entering the same stage again is progress: its limit begins anew. */
  enter(stage: Stage): void {
    clearTimeout(this.#timer);
    const limit = this.#limits[stage];
    if (limit === undefined) return;
    this.#timer = setTimeout(() => {
      const [what, setting] = stages[stage];
      const message = `The request spent more than ${limit} ms ${what} (${setting}). Retry it later.`;
      this.#linked.abort(new GatewayError("timeout", message));
    }, limit);
  }

  /** The client has left. */
  leave(): void {
    this.#linked.abort();
  }

  /** The request is over. */
  close(): void {
    clearTimeout(this.#timer);
    this.#linked.release();
  }
}
