/** @module What a policy's reward model says of candidates. */
import type { Policy } from "../policy/policy.ts";
import { rewardAsked } from "../policy/score-schema.ts";
import type { Conversation } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";

/** The reward of a text as answer, in the reward model's units: the larger, the better. Throws what the model throws. */
export type Rewarder = (text: string) => Promise<number>;

/**
 * Of answers to the conversation as the client has it, without demonstrations; null: the policy asks no reward model.
 * Throws "configuration" where it asks for one, and was built without.
 */
export function rewarder(
  { settings, reward }: Pick<Policy, "settings" | "reward">,
  conversation: Conversation,
  signal?: AbortSignal,
): Rewarder | null {
  if (rewardAsked(settings.score) === null) return null;
  if (reward === undefined)
    throw new GatewayError("configuration", "This policy was built without the reward model that it needs.");
  return (text) => reward.reward(conversation, text, signal);
}

/**
 * `[texts]`: the reward of each; null for empty ones, which nobody is asked about. Texts that occur twice are judged
 * once. None where the policy asks no reward model. Throws as `rewarder` does, and what the model throws.
 */
export async function rewardsOf(
  texts: readonly string[],
  policy: Pick<Policy, "settings" | "reward">,
  conversation: Conversation,
  signal?: AbortSignal,
): Promise<(number | null)[]> {
  const rewardOf = rewarder(policy, conversation, signal);
  if (rewardOf === null) return [];
  const distinct = [...new Set(texts)].filter((text) => text !== "");
  const rewards = await Promise.all(distinct.map(rewardOf));
  const byText = new Map(distinct.map((text, i) => [text, rewards[i] as number]));
  return texts.map((text) => byText.get(text) ?? null);
}
