/** @module How reward models are opened in Node: files in a process of their own, and servers over the network. */
import { LinkedSignal } from "../async/linked-signal.ts";
import { openConnections } from "../client/undici-fetch.ts";
import { type LlamaRewardDefinition, parseRewards, type RewardDefinitions } from "../policy/engines-file.ts";
import { openRewards } from "../policy/open-rewards.ts";
import { LlamaReward } from "../reward/llama-reward.ts";
import type { RewardPool } from "../reward/reward-pool.ts";
import { readText } from "../system/text-files.ts";
import { GatewayError } from "../types/error.ts";
import { type NodeEnginesOptions, usualLingerMs } from "./open-engines.ts";
import type { Settings } from "./settings.ts";

/** The reward models that the settings name. Throws "configuration". */
export async function readRewards({ enginesFile }: Settings): Promise<RewardDefinitions> {
  return enginesFile === null ? new Map() : parseRewards(enginesFile, await readText(enginesFile), process.env);
}

/** The file, and how it is read. */
export type RewardFile = Omit<LlamaRewardDefinition, "type">;

/** What it takes of the program; `report`: about this one. */
export type NodeRewardOptions = Omit<NodeEnginesOptions, "definitions" | "lingerMs">;

/** Throws "model_unavailable" where it cannot be loaded, or has no ranking head; "cancelled" when the signal fires. */
export async function openLlamaReward(
  { model: reference, template, context_size: contextSize = 0, threads }: RewardFile,
  { settings, store, report, signal, childModule, cores }: NodeRewardOptions,
): Promise<LlamaReward> {
  const model = await store.ensureReference(reference, signal);
  report(`loading ${model.path}`);
  const options = {
    model: model.id,
    modelPath: model.path,
    template,
    contextSize,
    threads: threads ?? settings.ICDPO_THREADS ?? 0,
    hangMs: settings.ICDPO_HANG_MS,
    gpu: settings.ICDPO_GPU === "off" ? false : "auto",
    cores,
    log: report,
    ...(childModule !== undefined && { childModule }),
  } as const;
  return LlamaReward.start(options, signal);
}

/** None is called or loaded yet. */
export function openNodeRewards(definitions: RewardDefinitions, options: NodeRewardOptions): RewardPool {
  const connections = openConnections();
  /** Fires when they are closed, too. */
  const closing = new LinkedSignal([options.signal]);
  return openRewards(definitions, {
    environment: process.env,
    remote: { fetch: connections.fetch, now: () => performance.now(), log: options.report },
    embedded: (name, definition, report) =>
      openLlamaReward(definition, { ...options, report, signal: closing.signal }).catch((error: unknown) => {
        throw named(name, error);
      }),
    lingerMs: usualLingerMs,
    close: async () => {
      closing.abort();
      await connections.close();
    },
  });
}

/** So that whoever reads it knows which of the files is meant. */
function named(name: string, error: unknown): unknown {
  if (!(error instanceof GatewayError) || error.code !== "model_unavailable") return error;
  return new GatewayError(error.code, `reward ${name}: ${error.message}`, { cause: error });
}
