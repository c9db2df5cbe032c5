/**
 * @module Reward models: how good a response is, a number for each; and what servers of them are asked, by POST, and
 * answer.
 */
import { z } from "zod";
import type { EngineState } from "../engine/engine.ts";
import type { Conversation } from "../types/conversation.ts";

export interface RewardModel {
  /** The same id, the same rewards. */
  readonly id: string;
  /** Larger is better; in units of its own. Throws what keeps it from answering, and "cancelled" by the signal. */
  reward(conversation: Conversation, response: string, signal?: AbortSignal): Promise<number>;
}

/** A reward model that runs as long as somebody needs it, or is reached over the network as long. */
export interface RunningReward extends RewardModel {
  /** For /health and /ready; "ready": it can answer. Never throws. */
  state(): Promise<EngineState>;
  close(): Promise<void>;
}

/**
 * By name: each is opened when a policy first asks for it. Opening throws "configuration", and "model_unavailable"
 * where it is a file that cannot be loaded.
 */
export type Rewards = ReadonlyMap<string, () => RewardModel | Promise<RewardModel>>;

export interface RewardProtocol {
  /** Behind the server's URL. */
  readonly path: string;
  body(conversation: Conversation, response: string): Readonly<Record<string, unknown>>;
  /** The reward in what comes back. */
  readonly answer: z.ZodType<number>;
}

/** `{messages, response}` → `{reward}`, at the URL itself. */
const plainReward: RewardProtocol = {
  path: "",
  body: (conversation, response) => ({ messages: turnsOf(conversation), response }),
  answer: z.object({ reward: z.number() }).transform(({ reward }) => reward),
};

/** vLLM's /classify, asked for raw logits: the only class's, or the second's less the first's. */
const classification: RewardProtocol = {
  path: "/classify",
  body: (conversation, response) => ({
    messages: [...turnsOf(conversation), { role: "assistant", content: response }],
    add_generation_prompt: false,
    use_activation: false,
  }),
  answer: z
    .object({ data: z.tuple([z.object({ probs: z.array(z.number()).min(1).max(2) })]) })
    .transform(({ data: [{ probs }] }) => {
      const [first = 0, second] = probs;
      return second === undefined ? first : second - first;
    }),
};

export const rewardProtocols = { http: plainReward, classify: classification } as const;

function turnsOf(conversation: Conversation) {
  return conversation.map(({ role, content }) => ({ role, content }));
}
