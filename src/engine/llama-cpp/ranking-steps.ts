/** @module How a ranking head reads texts: one after another, in steps that stay short where the model lets them. */
import { inOrder } from "../../async/in-order.ts";
import { cancelled, GatewayError } from "../../types/error.ts";
import type { EngineLoad, Token } from "../engine.ts";

/** The one sequence of a loaded model. */
export interface RankingContext {
  /** Tokens that one step takes. */
  readonly stepTokens: number;
  /** llama.cpp makes probabilities of the head's outputs, so that the first's is the model's yes. */
  readonly isNormalized: boolean;
  /** Feeds tokens after those before, from `position`. */
  feed(tokens: readonly Token[], position: number): Promise<void>;
  /** `[outputs]` of the head after so many tokens. */
  outputs(tokens: number): Float64Array;
  /** Forgets what was fed. */
  clear(): void;
}

/** Texts one after another: there is one sequence, which each has from its beginning. */
export class RankingSteps {
  readonly #native: RankingContext;
  readonly #threads: number;
  readonly #inTurn = inOrder();
  #asked = 0;
  /** When the step under way began; undefined: there is none. */
  #began: number | undefined;

  constructor(native: RankingContext, threads: number) {
    this.#native = native;
    this.#threads = threads;
  }

  get load(): EngineLoad {
    const active = this.#began === undefined ? 0 : 1;
    return {
      active,
      waiting: Math.max(0, this.#asked - active),
      freeSequences: 1 - active,
      stepMs: this.#began === undefined ? 0 : performance.now() - this.#began,
      threads: this.#threads,
    };
  }

  async reward(tokens: readonly Token[], signal: AbortSignal): Promise<number> {
    this.#asked += 1;
    try {
      return rewardOf(await this.#inTurn(() => this.#read(tokens, signal)), this.#native);
    } finally {
      this.#asked -= 1;
    }
  }

  async #read(tokens: readonly Token[], signal: AbortSignal): Promise<Float64Array> {
    const { stepTokens } = this.#native;
    this.#native.clear();
    for (let from = 0; from < tokens.length; from += stepTokens) {
      if (signal.aborted) throw cancelled(signal);
      this.#began = performance.now();
      try {
        await this.#native.feed(tokens.slice(from, from + stepTokens), from);
      } finally {
        this.#began = undefined;
      }
    }
    return this.#native.outputs(tokens.length);
  }
}

/** log(p / (1 − p)) of the first where the outputs are probabilities; else the only output. */
function rewardOf(outputs: Float64Array, { isNormalized }: Pick<RankingContext, "isNormalized">): number {
  const [first = Number.NaN] = outputs;
  if (outputs.length !== (isNormalized ? 2 : 1)) {
    const wanted = isNormalized ? "two (yes and no: of one alone, llama.cpp makes 1)" : "one";
    throw new GatewayError("configuration", `its head has ${outputs.length} outputs; a reward needs ${wanted}`);
  }
  const reward = isNormalized ? logit(first) : first;
  if (!Number.isFinite(reward))
    throw new GatewayError("engine_failure", `The reward model gave ${reward}, which is no reward.`);
  return reward;
}

/** At most ±36, where a probability can say no more. */
function logit(probability: number): number {
  const most = 36;
  return Math.max(-most, Math.min(most, Math.log(probability / (1 - probability))));
}
