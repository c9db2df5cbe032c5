/** @module The engines file's reward models, as policies open them. */
import type { RemoteWorld } from "../engine/engines.ts";
import { remoteReward } from "../reward/remote-reward.ts";
import type { RunningReward } from "../reward/reward-model.ts";
import { type OpenReward, RewardPool } from "../reward/reward-pool.ts";
import { type LlamaRewardDefinition, type RewardDefinitions, rewardSettings } from "./engines-file.ts";

export interface RewardWorld {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly remote: RemoteWorld;
  /** Opens a reward model of a file. Throws "configuration" where none can run here. */
  readonly embedded: (
    name: string,
    definition: LlamaRewardDefinition,
    log: (line: string) => void,
  ) => RunningReward | Promise<RunningReward>;
  /** As `RewardPool` has them. */
  readonly lingerMs: number | null;
  readonly close: () => Promise<void>;
}

/**
 * None is called or loaded yet. Each is opened once, for all policies: what is known of its servers stays known. Opening
 * one throws "configuration" where its key's variable is not set.
 */
export function openRewards(
  definitions: RewardDefinitions,
  { environment, remote, embedded, lingerMs, close }: RewardWorld,
): RewardPool {
  const openers = new Map<string, OpenReward>();
  for (const [name, definition] of definitions) {
    const log = (line: string): void => remote.log(`reward ${name}: ${line}`);
    openers.set(name, () =>
      definition.type === "llama"
        ? embedded(name, definition, log)
        : remoteReward(definition.type, rewardSettings(definition, environment), { ...remote, log }),
    );
  }
  return new RewardPool(openers, { report: remote.log, lingerMs, close });
}
