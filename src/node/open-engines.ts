/** @module The engines of this machine and those it reaches over the network, each begun when a policy first asks for it, and closed when none needs it. */

import { LinkedSignal } from "../async/linked-signal.ts";
import { openConnections } from "../client/undici-fetch.ts";
import type { Capabilities, EngineLoad, EngineState, RunningEngine } from "../engine/engine.ts";
import { type EnginesState, engineName, type ModelReference, type OwnedEngines } from "../engine/engines.ts";
import { HeldEngine } from "../engine/lease.ts";
import { Cores } from "../engine/llama-cpp/cores.ts";
import { LlamaEngine, type LlamaEngineOptions } from "../engine/llama-cpp/index.ts";
import { openRemote } from "../engine/server/dialects.ts";
import { defaultModel } from "../models/catalog.ts";
import type { ModelStore } from "../models/model-store.ts";
import {
  declaredCapabilities,
  type EngineDefinition,
  type EngineDefinitions,
  engineDefinition,
  type LlamaDefinition,
  parseEngines,
  remoteSettings,
  withDefault,
} from "../policy/engines-file.ts";
import { readText } from "../system/text-files.ts";
import type { Report } from "../types/operator.ts";
import type { Settings } from "./settings.ts";

export interface NodeEnginesOptions {
  readonly settings: Settings;
  readonly definitions: EngineDefinitions;
  readonly store: ModelStore;
  readonly report: Report;
  /** Ends the fetching and loading of models. */
  readonly signal?: AbortSignal | undefined;
  /** How long an engine that is not needed any more stays after its last call. */
  readonly lingerMs?: number;
  /** The compiled module of an embedded engine's process. */
  readonly childModule?: URL;
}

const usualLingerMs = 10_000;

export class NodeEngines implements OwnedEngines {
  readonly #options: NodeEnginesOptions;
  /** Fires when the engines are closed, too. */
  readonly #signal: LinkedSignal;
  readonly #connections = openConnections();
  /** By name. */
  readonly #held = new Map<string, HeldEngine>();
  /** Names; null: nobody has said yet. */
  #needed: ReadonlySet<string> | null = null;
  readonly #cores = new Cores();
  /** Of all engines that there have been. */
  #restarts = 0;

  constructor(options: NodeEnginesOptions) {
    this.#options = options;
    this.#signal = new LinkedSignal([options.signal]);
  }

  /** Stays the same for a model, whether the engine is closed meanwhile or not. It is kept until `retain` is called without it. */
  async open(model: ModelReference): Promise<HeldEngine> {
    const held = this.#holdOf(model);
    held.keep();
    await held.begun();
    return held;
  }

  async declared(model: ModelReference): Promise<Capabilities> {
    return declaredCapabilities(engineDefinition(this.#options.definitions, model));
  }

  retain(models: readonly ModelReference[]): void {
    this.#needed = new Set(models.map(engineName));
    for (const [name, held] of this.#held)
      if (this.#needed.has(name)) held.keep();
      else held.release();
  }

  /** Ready when all are that are needed. */
  async state(): Promise<EnginesState> {
    const counted = [...this.#held].filter(([name, held]) => this.#needed?.has(name) ?? held.isRunning);
    const states = await Promise.all(counted.map(async ([name, held]) => [name, await held.state()] as const));
    const all = states.map(([, state]) => state as EngineState & Partial<EngineLoad>);
    const total = (field: "active" | "waiting" | "freeSequences" | "threads"): number =>
      all.reduce((sum, state) => sum + (state[field] ?? 0), 0);
    const worst = all.find(({ status }) => status !== "ready");
    const counts = {
      restarts: this.#restarts,
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

  /** Whatever is under way fails. */
  async close(): Promise<void> {
    this.#signal.abort();
    await this.#connections.close();
    await Promise.all([...this.#held.values()].map((held) => held.close()));
  }

  /** Throws "configuration". */
  #holdOf(model: ModelReference): HeldEngine {
    const { definitions, report, lingerMs = usualLingerMs } = this.#options;
    const name = engineName(model);
    const known = this.#held.get(name);
    if (known !== undefined) return known;
    const definition = engineDefinition(definitions, model);
    const begin = () => this.#begin(name, definition, model.adapter);
    const held = new HeldEngine({ begin, lingerMs, log: (line) => report(`${name}: ${line}`) });
    this.#held.set(name, held);
    return held;
  }

  async #begin(name: string, definition: EngineDefinition, adapter: string | undefined): Promise<RunningEngine> {
    const { report } = this.#options;
    const log = (line: string): void => report(this.#held.size > 1 ? `${name}: ${line}` : line);
    const onRestart = (): void => {
      this.#restarts += 1;
    };
    const options = { ...this.#options, report: log, signal: this.#signal.signal, onRestart, cores: this.#cores };
    if (definition.type === "llama") return openLlama(definition, adapter, options);
    const { ICDPO_LOG_TEXT: withText, ICDPO_LOG_LEVEL: level } = this.#options.settings;
    return openRemote(
      definition.type,
      { ...remoteSettings(definition, adapter, process.env), name },
      {
        fetch: this.#connections.fetch,
        now: () => performance.now(),
        log: (line) => report(`${name}: ${line}`),
        words: withText && level === "debug" ? (line) => report(`${name}: ${line}`) : undefined,
      },
    );
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
  }: Omit<NodeEnginesOptions, "definitions" | "lingerMs"> & Pick<LlamaEngineOptions, "onRestart" | "cores">,
): Promise<LlamaEngine> {
  const reference = definition.model ?? settings.ICDPO_MODEL;
  const model = reference === undefined ? await store.ensure(defaultModel, signal) : await store.ensureReference(reference, signal);
  const wearing = adapter === undefined ? undefined : await store.ensureReference(definition.adapters[adapter] as string, signal);
  report(`loading ${model.path}${wearing === undefined ? "" : ` with ${wearing.path}`}`);
  const options: LlamaEngineOptions = {
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
