/** @module How engines are opened in Node: embedded ones in a process of their own, and servers over the network. */
import { LinkedSignal } from "../async/linked-signal.ts";
import { openConnections } from "../client/undici-fetch.ts";
import type { Capabilities, RunningEngine } from "../engine/engine.ts";
import { type EngineOpener, EnginePool, type PoolEvents } from "../engine/engine-pool.ts";
import { engineName, type ModelReference } from "../engine/engines.ts";
import { Cores } from "../engine/llama-cpp/cores.ts";
import { LlamaEngine, type LlamaEngineOptions } from "../engine/llama-cpp/index.ts";
import { openRemote } from "../engine/server/dialects.ts";
import { defaultModel } from "../models/catalog.ts";
import type { ModelStore } from "../models/model-store.ts";
import {
  declaredCapabilities,
  type EngineDefinitions,
  engineDefinition,
  type LlamaDefinition,
  parseEngines,
  type RemoteDefinition,
  remoteSettings,
  withDefault,
} from "../policy/engines-file.ts";
import { readText } from "../system/text-files.ts";
import { sha256Hex } from "../text/bytes.ts";
import type { Report } from "../types/operator.ts";
import type { Settings } from "./settings.ts";

export interface NodeEnginesOptions {
  readonly settings: Settings;
  readonly definitions: EngineDefinitions;
  readonly store: ModelStore;
  readonly report: Report;
  /** Ends the fetching and loading of models. */
  readonly signal?: AbortSignal | undefined;
  /**
   * How long an engine that is not needed any more stays after its last call: a request makes several, with pauses
   * between them.
   */
  readonly lingerMs?: number;
  /** The compiled module of an embedded engine's process. */
  readonly childModule?: URL;
  /** Shared with the reward models that are loaded here; absent: there are none. */
  readonly cores?: Cores;
}

export const usualLingerMs = 10_000;

/** None is begun yet. */
export function openEngines({ lingerMs = usualLingerMs, ...options }: NodeEnginesOptions): EnginePool {
  return new EnginePool(new NodeOpener(options), { report: options.report, lingerMs });
}

class NodeOpener implements EngineOpener {
  readonly #options: Omit<NodeEnginesOptions, "lingerMs">;
  /** Fires when the engines are closed, too. */
  readonly #signal: LinkedSignal;
  readonly #connections = openConnections();
  readonly #cores: Cores;

  constructor(options: Omit<NodeEnginesOptions, "lingerMs">) {
    this.#options = options;
    this.#cores = options.cores ?? new Cores();
    this.#signal = new LinkedSignal([options.signal]);
  }

  async open(model: ModelReference, { log, onRestart }: PoolEvents): Promise<RunningEngine> {
    const definition = engineDefinition(this.#options.definitions, model);
    if (definition.type !== "llama") return this.#openRemote(model, definition);
    const shared = { signal: this.#signal.signal, cores: this.#cores };
    return openLlama(definition, model.adapter, { ...this.#options, ...shared, report: log, onRestart });
  }

  declared(model: ModelReference): Capabilities {
    return declaredCapabilities(engineDefinition(this.#options.definitions, model));
  }

  async close(): Promise<void> {
    this.#signal.abort();
    await this.#connections.close();
  }

  #openRemote(model: ModelReference, definition: RemoteDefinition): RunningEngine {
    const { report, settings } = this.#options;
    const name = engineName(model);
    const log = (line: string): void => report(`${name}: ${line}`);
    const words = settings.ICDPO_LOG_TEXT && settings.ICDPO_LOG_LEVEL === "debug" ? log : undefined;
    const world = { fetch: this.#connections.fetch, now: () => performance.now(), log, words };
    return openRemote(definition.type, { ...remoteSettings(definition, model.adapter, process.env), name }, world);
  }
}

/** Throws "model_unavailable", or "cancelled" when the signal fires. */
export async function openLlama(
  definition: LlamaDefinition,
  adapter: string | undefined,
  {
    settings,
    store,
    report,
    signal,
    childModule,
    onRestart,
    cores,
  }: Omit<NodeEnginesOptions, "definitions" | "lingerMs"> & Pick<LlamaEngineOptions, "onRestart">,
): Promise<LlamaEngine> {
  const reference = definition.model ?? settings.ICDPO_MODEL;
  const model =
    reference === undefined ? await store.ensure(defaultModel, signal) : await store.ensureReference(reference, signal);
  const wearing =
    adapter === undefined ? undefined : await store.ensureReference(definition.adapters[adapter] as string, signal);
  report(`loading ${model.path}${wearing === undefined ? "" : ` with ${wearing.path}`}`);
  const chatTemplate = definition.chat_template && (await readText(definition.chat_template));
  const parts = [model.id, wearing?.id, chatTemplate && `template:${sha256Hex(chatTemplate).slice(0, 12)}`];
  const options: LlamaEngineOptions = {
    model: parts.filter((part) => part).join("+"),
    chatTemplate,
    modelPath: model.path,
    adapterPath: wearing?.path,
    contextSize: definition.context_size ?? settings.ICDPO_CONTEXT_SIZE ?? 0,
    sequences: definition.sequences ?? settings.ICDPO_SEQUENCES ?? 0,
    threads: definition.threads ?? settings.ICDPO_THREADS ?? 0,
    hangMs: settings.ICDPO_HANG_MS,
    cores,
    gpu: settings.ICDPO_GPU === "off" ? false : "auto",
    log: report,
    onRestart,
    ...(childModule !== undefined && { childModule }),
  };
  return LlamaEngine.start(options, signal);
}

/** The engines that the settings name. Throws "configuration". */
export async function readEngines(settings: Settings): Promise<EngineDefinitions> {
  const { enginesFile } = settings;
  if (enginesFile === null) return withDefault(new Map());
  return parseEngines(enginesFile, await readText(enginesFile), process.env);
}
