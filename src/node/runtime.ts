/** @module What commands run with: models alone, or with the policies that serve. */
import path from "node:path";
import { once } from "../async/once.ts";
import { retry } from "../async/retry.ts";
import type { EnginePool } from "../engine/engine-pool.ts";
import { Cores } from "../engine/llama-cpp/cores.ts";
import { embeddingModel } from "../models/catalog.ts";
import type { EmbeddingFolder } from "../models/embedding-folder.ts";
import { ModelStore } from "../models/model-store.ts";
import { PolicyBuilder } from "../policy/build.ts";
import { PolicyFolder } from "../policy/policy-files.ts";
import { PolicyStore } from "../policy/policy-store.ts";
import { rememberEmbeddings } from "../retrieval/embedding-file.ts";
import { openArtifacts } from "../retrieval/index-files.ts";
import { loadEmbedder } from "../retrieval/local-embedder.ts";
import { type EmbeddingModel, prefixed } from "../retrieval/retriever.ts";
import type { Rewards, RunningReward } from "../reward/reward-model.ts";
import type { RewardPool } from "../reward/reward-pool.ts";
import { cancelled, GatewayError, messageOf } from "../types/error.ts";
import type { Report } from "../types/operator.ts";
import { openEngines, readEngines } from "./open-engines.ts";
import { openLlamaReward, openNodeRewards, type RewardFile, readRewards } from "./open-reward-models.ts";
import type { Settings } from "./settings.ts";

/** Models, each begun when it is first asked for. */
export interface ModelRuntime {
  readonly engines: EnginePool;
  /** Reward models: files that are loaded here, and servers. */
  readonly rewards: Rewards;
  /** What they say of themselves, and which of them are needed. */
  readonly rewardPool: RewardPool;
  /** A file that no engines file names, which whoever opens it closes. Throws as `openLlamaReward` does. */
  readonly openReward: (file: RewardFile) => Promise<RunningReward>;
  /** Where policies come from. */
  readonly policyFolder: PolicyFolder;
  /** Loads the sentence-embedding model when it is first asked for; a load that failed is begun anew. */
  readonly embedder: () => Promise<EmbeddingModel>;
  /**
   * Opens what needs servers, and does it again while they cannot be reached: they may start later than the gateway.
   */
  whenReachable<Result>(open: () => Promise<Result>): Promise<Result>;
  close(): Promise<void>;
}

/** Models, and the policies that serve with them. */
export interface Runtime extends ModelRuntime {
  readonly policies: PolicyStore;
}

export function openModelStore(settings: Settings, report: Report): ModelStore {
  return new ModelStore({
    directory: settings.cacheDirectory,
    offline: settings.ICDPO_OFFLINE,
    ...(settings.HF_ENDPOINT !== undefined && { hubEndpoint: settings.HF_ENDPOINT }),
    ...(settings.HF_TOKEN !== undefined && { hubToken: settings.HF_TOKEN }),
    report,
    progress: progressReporter(report),
  });
}

/** Sentence embeddings, with those of demonstrations kept for good. */
export async function openKeptEmbedder(
  settings: Settings,
  store: ModelStore,
  report: Report,
  signal?: AbortSignal,
): Promise<EmbeddingModel> {
  return rememberEmbeddings(await openEmbedder(settings, store, signal), retrievalDirectory(settings), report);
}

function retrievalDirectory({ cacheDirectory }: Settings): string {
  return path.join(cacheDirectory, "retrieval");
}

/** Nothing is begun but what is asked for. Throws "configuration" where the engines file is wrong. */
export async function openModels(settings: Settings, report: Report, signal?: AbortSignal): Promise<ModelRuntime> {
  const store = openModelStore(settings, report);
  const shared = { settings, store, report, signal, cores: new Cores() };
  const engines = openEngines({ ...shared, definitions: await readEngines(settings) });
  const rewardPool = openNodeRewards(await readRewards(settings), shared);
  const close = async (): Promise<void> => {
    await Promise.all([engines.close(), rewardPool.close()]);
  };
  const folders = { policies: settings.policiesDirectory, demonstrations: settings.demonstrationsDirectory };
  return {
    engines,
    rewards: rewardPool.rewards,
    rewardPool,
    openReward: (file) => openLlamaReward(file, shared),
    policyFolder: new PolicyFolder(folders),
    embedder: once(() => openKeptEmbedder(settings, store, report, signal)),
    whenReachable: (open) => unlessAborted(whenReachable(open, report, signal), close, signal),
    close,
  };
}

/**
 * The policies that serve, and their engines. `also`: policies that are wanted whether or not they serve a route.
 * Throws "model_unavailable", "configuration" or "cancelled"; nothing is left running then.
 */
export async function openRuntime(
  settings: Settings,
  report: Report,
  signal?: AbortSignal,
  also: readonly string[] = [],
): Promise<Runtime> {
  const models = await openModels(settings, report, signal);
  const { engines, rewards, rewardPool, policyFolder, embedder } = models;
  try {
    const artifacts = openArtifacts(retrievalDirectory(settings), report);
    const builder = new PolicyBuilder({ engines, rewards, embedder, artifacts });
    const open = () =>
      PolicyStore.open({
        read: () => policyFolder.read(),
        build: (files) => builder.build(files, also),
        retain: (needed, neededRewards) => {
          engines.retain(needed);
          rewardPool.retain(neededRewards);
        },
        unixTime: () => Math.floor(Date.now() / 1000),
      });
    return { ...models, policies: await models.whenReachable(open) };
  } catch (error) {
    await models.close();
    throw error;
  }
}

/** Gives up when the signal fires, and throws "cancelled" then. */
async function unlessAborted<Result>(
  opening: Promise<Result>,
  giveUp: () => Promise<void>,
  signal?: AbortSignal,
): Promise<Result> {
  const onAbort = (): void => void giveUp();
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    const opened = await opening;
    if (signal?.aborted) throw cancelled(signal);
    return opened;
  } catch (error) {
    throw signal?.aborted ? cancelled(signal) : error;
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

const reachPauseMs = 5_000;

function whenReachable<Result>(open: () => Promise<Result>, report: Report, signal?: AbortSignal): Promise<Result> {
  let reported = "";
  const onFailure = (error: unknown): void => {
    const reason = messageOf(error);
    if (reason !== reported) report(`waiting: ${reason}`);
    reported = reason;
  };
  const mayPass = (error: unknown): boolean => error instanceof GatewayError && error.code === "engine_unavailable";
  return retry(open, { attempts: Number.POSITIVE_INFINITY, pauseMs: () => reachPauseMs, mayPass, onFailure, signal });
}

async function openEmbedder(settings: Settings, store: ModelStore, signal?: AbortSignal): Promise<EmbeddingModel> {
  const { ICDPO_EMBEDDING_MODEL: reference, ICDPO_EMBEDDING_POOLING: pooling } = settings;
  const { id, ...options } =
    reference === undefined
      ? await ownEmbeddings(store, signal)
      : await store.ensureEmbedding(reference, pooling, signal);
  return prefixed(await loadEmbedder(options, id), settings.ICDPO_EMBEDDING_PREFIX);
}

async function ownEmbeddings(store: ModelStore, signal?: AbortSignal): Promise<EmbeddingFolder> {
  const { path: folder, id } = await store.ensure(embeddingModel, signal);
  return { folder, weights: embeddingModel.weights, pooling: "mean", id };
}

/** A line for every tenth of a download. */
function progressReporter(
  report: Report,
): (progress: { readonly name: string; readonly received: number; readonly total: number | undefined }) => void {
  let last = "";
  return ({ name, received, total }) => {
    const done =
      total === undefined
        ? `${Math.floor(received / 10_000_000) * 10} MB`
        : `${Math.floor((received / total) * 10) * 10} %`;
    const line = `${name}: ${done}`;
    if (line !== last) report(line);
    last = line;
  };
}
