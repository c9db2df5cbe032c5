/** @module A reward model in GGUF with a ranking head: llama.cpp in a process of its own, as the embedded engine. */
import { type LlamaState, startSupervised, stateOf } from "../engine/llama-cpp/lifecycle.ts";
import type { Supervisor, SupervisorOptions } from "../engine/llama-cpp/supervisor.ts";
import type { Conversation } from "../types/conversation.ts";
import type { RunningReward } from "./reward-model.ts";

export interface LlamaRewardOptions extends Omit<SupervisorOptions, "adapterPath" | "sequences" | "ranking"> {
  /** How the model reads query and response, with {{query}} and {{document}}; absent: as its file says. */
  readonly template?: string | undefined;
}

export class LlamaReward implements RunningReward {
  readonly id: string;
  readonly #supervisor: Supervisor;

  private constructor({ model, template }: LlamaRewardOptions, supervisor: Supervisor) {
    this.id = JSON.stringify(["llama", model, template ?? null]);
    this.#supervisor = supervisor;
  }

  /**
   * Loads the model. Throws "model_unavailable" where llama.cpp cannot load it, or it has no ranking head; "cancelled"
   * when the signal fires.
   */
  static async start(options: LlamaRewardOptions, signal?: AbortSignal): Promise<LlamaReward> {
    const { template, ...others } = options;
    const supervised = { ...others, sequences: 1, ranking: { template } };
    return new LlamaReward(options, await startSupervised(supervised, signal));
  }

  /**
   * The head's raw output. Throws "context_length_exceeded" where the last message and the response do not fit,
   * "engine_unavailable" where the process ends meanwhile.
   */
  async reward(conversation: Conversation, response: string, signal?: AbortSignal): Promise<number> {
    return (await this.#supervisor.call({ type: "reward", conversation, response }, signal, { signal })) as number;
  }

  state(): Promise<LlamaState> {
    return stateOf(this.#supervisor);
  }

  /** Resolves when the process has ended. */
  close(): Promise<void> {
    return this.#supervisor.close();
  }
}
