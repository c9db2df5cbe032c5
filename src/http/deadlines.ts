/** @module Time limits of a request's stages. */
import type { Stage } from "../icdpo/pipeline.ts";
import { GatewayError } from "../types/error.ts";

/** In milliseconds; absent: no limit. */
export type StageLimits = { readonly [Name in Stage]?: number };

/** What each stage does, and what its limit is called. */
const stages = {
  retrieve: ["retrieving demonstrations", "ICDPO_RETRIEVE_TIMEOUT_MS"],
  queue: ["waiting for the model", "ICDPO_QUEUE_TIMEOUT_MS"],
  sample: ["sampling", "ICDPO_TIMEOUT_MS"],
  score: ["scoring", "ICDPO_TIMEOUT_MS"],
} as const;

export class StageDeadlines {
  readonly #limits: StageLimits;
  readonly #controller = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(limits: StageLimits) {
    this.#limits = limits;
  }

  /** Fires with "timeout" when the present stage takes too long. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  enter(stage: Stage): void {
    this.close();
    const limit = this.#limits[stage];
    if (limit === undefined) return;
    const [what, setting] = stages[stage];
    const message = `The request spent more than ${limit} ms ${what} (${setting}). Retry it later.`;
    this.#timer = setTimeout(() => this.#controller.abort(new GatewayError("timeout", message)), limit);
  }

  /** The request is over. */
  close(): void {
    clearTimeout(this.#timer);
  }
}
