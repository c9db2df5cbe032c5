/** @module The engines file's reward models, as policies open them. */
import type { RemoteWorld } from "../engine/engines.ts";
import { remoteReward } from "../reward/remote-reward.ts";
import type { RewardModel, Rewards } from "../reward/reward-model.ts";
import { type RewardDefinition, type RewardDefinitions, rewardSettings } from "./engines-file.ts";

/**
 * None is called yet. Each is opened once, for all policies: what is known of its servers stays known. Opening one
 * throws "configuration" where its key's variable is not set.
 */
export function openRewards(
  definitions: RewardDefinitions,
  environment: Readonly<Record<string, string | undefined>>,
  world: RemoteWorld,
): Rewards {
  const opened = new Map<string, RewardModel>();
  const open = (name: string, definition: RewardDefinition): RewardModel => {
    const log = (line: string): void => world.log(`reward ${name}: ${line}`);
    const reward =
      opened.get(name) ?? remoteReward(definition.type, rewardSettings(definition, environment), { ...world, log });
    opened.set(name, reward);
    return reward;
  };
  return new Map([...definitions].map(([name, definition]) => [name, () => open(name, definition)]));
}
