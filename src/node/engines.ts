/** @module The engines of this machine and those it reaches over the network, each begun when a policy first asks for it. */
import { readFile } from "node:fs/promises";
import type { Capabilities, EngineState, RunningEngine } from "../engine/engine.ts";
import type { Engines, ModelReference } from "../engine/engines.ts";
import { openRemote } from "../engine/remotes.ts";
import {
  declaredCapabilities,
  type EngineDefinitions,
  engineDefinition,
  type LlamaDefinition,
  parseEngines,
  remoteSettings,
  withDefault,
} from "../policy/engines.ts";
import { GatewayError } from "../types/error.ts";
import { fetchWithUndici } from "./fetch.ts";
import { Cores } from "./llama/cores.ts";
import { LlamaEngine } from "./llama/engine.ts";
import type { EngineLoad } from "./llama/protocol.ts";
import { defaultModel } from "./models/catalog.ts";
import type { ModelStore } from "./models/store.ts";
import type { Report } from "./runtime.ts";
import type { Settings } from "./settings.ts";

export interface NodeEnginesOptions {
  readonly settings: Settings;
  readonly definitions: EngineDefinitions;
  readonly store: ModelStore;
  readonly report: Report;
  /** Ends the fetching of models. */
  readonly signal?: AbortSignal | undefined;
}

/** What the engines say of themselves together, and each by its name. */
export type EnginesState = EngineState &
  Partial<EngineLoad> & { readonly restarts: number; readonly engines: Readonly<Record<string, EngineState & Partial<EngineLoad>>> };

export class NodeEngines implements Engines {
  readonly #options: NodeEnginesOptions;
  /** By engine and adapter. */
  readonly #opening = new Map<string, Promise<RunningEngine>>();
  readonly #running = new Map<string, RunningEngine>();
  readonly #cores = new Cores();

  constructor(options: NodeEnginesOptions) {
    this.#options = options;
  }

  open({ engine, adapter }: ModelReference): Promise<RunningEngine> {
    const name = adapter === undefined ? engine : `${engine}+${adapter}`;
    const opening = this.#opening.get(name) ?? this.#begin(name, { engine, adapter });
    this.#opening.set(name, opening);
    opening.catch(() => this.#opening.delete(name));
    return opening;
  }

  async declared(model: ModelReference): Promise<Capabilities> {
    return declaredCapabilities(engineDefinition(this.#options.definitions, model));
  }

  /** Ready when all are. */
  async state(): Promise<EnginesState> {
    const states = await Promise.all([...this.#running].map(async ([name, engine]) => [name, await engine.state()] as const));
    const all = states.map(([, state]) => state as EngineState & Partial<EngineLoad> & { readonly restarts?: number });
    const total = (field: "restarts" | "active" | "waiting" | "freeSequences" | "threads"): number =>
      all.reduce((sum, state) => sum + (state[field] ?? 0), 0);
    const worst = all.find(({ status }) => status !== "ready");
    const counts = {
      restarts: total("restarts"),
      active: total("active"),
      waiting: total("waiting"),
      freeSequences: total("freeSequences"),
      threads: total("threads"),
    };
    return {
      ...all[0],
      ...counts,
      status: worst?.status ?? (all.length === 0 ? "starting" : "ready"),
      engines: Object.fromEntries(states),
    };
  }

  async close(): Promise<void> {
    const opened = await Promise.allSettled(this.#opening.values());
    await Promise.all(opened.map((outcome) => (outcome.status === "fulfilled" ? outcome.value.close() : undefined)));
  }

  async #begin(name: string, model: ModelReference): Promise<RunningEngine> {
    const { definitions, settings, store, report, signal } = this.#options;
    const definition = engineDefinition(definitions, model);
    const log = (line: string): void => report(this.#running.size + this.#opening.size > 1 ? `${name}: ${line}` : line);
    const engine =
      definition.type === "llama"
        ? await openLlama(definition, model.adapter, settings, store, log, signal, this.#cores)
        : openRemote(definition.type, remoteSettings(definition, model.adapter, process.env), {
            fetch: fetchWithUndici,
            now: () => performance.now(),
            log: (line) => report(`${name}: ${line}`),
          });
    this.#running.set(name, engine);
    return engine;
  }
}

/** Throws "model_unavailable". */
export async function openLlama(
  definition: LlamaDefinition,
  adapter: string | undefined,
  settings: Settings,
  store: ModelStore,
  report: Report,
  signal?: AbortSignal,
  cores?: Cores,
): Promise<LlamaEngine> {
  const reference = definition.model ?? settings.ICDPO_MODEL;
  const model = reference === undefined ? await store.ensure(defaultModel, signal) : await store.ensureReference(reference, signal);
  const wearing = adapter === undefined ? undefined : await store.ensureReference(definition.adapters[adapter] as string, signal);
  report(`loading ${model.path}${wearing === undefined ? "" : ` with ${wearing.path}`}`);
  return LlamaEngine.start({
    model: wearing === undefined ? model.id : `${model.id}+${wearing.id}`,
    modelPath: model.path,
    adapterPath: wearing?.path,
    contextSize: definition.context_size ?? settings.ICDPO_CONTEXT_SIZE ?? 0,
    sequences: definition.sequences ?? settings.ICDPO_SEQUENCES ?? 0,
    threads: definition.threads ?? settings.ICDPO_THREADS ?? 0,
    hangMs: settings.ICDPO_HANG_MS,
    cores,
    gpu: settings.ICDPO_GPU === "off" ? false : "auto",
    log: report,
  });
}

/** The engines that the settings name. Throws "configuration". */
export async function readEngines(settings: Settings): Promise<EngineDefinitions> {
  const { enginesFile } = settings;
  if (enginesFile === null) return withDefault(new Map());
  const text = await readFile(enginesFile, "utf8").catch((error: Error) => {
    throw new GatewayError("configuration", `${enginesFile} cannot be read: ${error.message}`, { cause: error });
  });
  return parseEngines(enginesFile, text, process.env);
}
