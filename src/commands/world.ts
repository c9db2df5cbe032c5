/** @module What the commands get from the program. */
import path from "node:path";
import type { Engine } from "../engine/engine.ts";
import { openLlama } from "../node/open-engines.ts";
import { type ModelRuntime, openModelStore, openModels, openRuntime, type Runtime } from "../node/runtime.ts";
import type { Settings } from "../node/settings.ts";
import type { Report } from "../types/operator.ts";

export interface World {
  readonly settings: () => Settings;
  /** A line on stderr. */
  readonly report: Report;
  readonly version: string;
}

/** A set of demonstrations, by name in their folder, or by path. */
export function setFile({ settings }: World, set: string): string {
  return set.endsWith(".jsonl") ? set : path.join(settings().demonstrationsDirectory, `${set}.jsonl`);
}

/** Runs `work` with a signal that SIGINT and SIGTERM fire. */
export async function withSignal<Result>(work: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
  const controller = new AbortController();
  const cancel = (): void => controller.abort();
  process.once("SIGINT", cancel).once("SIGTERM", cancel);
  try {
    return await work(controller.signal);
  } finally {
    process.off("SIGINT", cancel).off("SIGTERM", cancel);
  }
}

/** Runs `work` with models, none of them begun yet, and ends them whatever happens. SIGINT and SIGTERM cancel. */
export function withModels<Result>(
  world: World,
  work: (models: ModelRuntime, signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  return withSignal((signal) =>
    closing(openModels(world.settings(), world.report, signal), (models) => work(models, signal)),
  );
}

/** The same with the policies that serve routes, and those in `also`. */
export function withRuntime<Result>(
  world: World,
  work: (runtime: Runtime, signal: AbortSignal) => Promise<Result>,
  also: readonly string[] = [],
): Promise<Result> {
  return withSignal((signal) =>
    closing(openRuntime(world.settings(), world.report, signal, also), (runtime) => work(runtime, signal)),
  );
}

async function closing<Opened extends ModelRuntime, Result>(
  opening: Promise<Opened>,
  work: (opened: Opened) => Promise<Result>,
): Promise<Result> {
  const opened = await opening;
  try {
    return await work(opened);
  } finally {
    await opened.close();
  }
}

/** Runs `work` with an engine that only tokenises, and no policies. */
export function withTokenizer<Result>(
  world: World,
  work: (engine: Engine, signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  return withSignal(async (signal) => {
    const settings = { ...world.settings(), ICDPO_SEQUENCES: 1, ICDPO_CONTEXT_SIZE: tokenizerContext };
    const { report } = world;
    const engine = await openLlama({ type: "llama", adapters: {} }, undefined, {
      settings,
      store: openModelStore(settings, report),
      report,
      signal,
    });
    try {
      return await work(engine, signal);
    } finally {
      await engine.close();
    }
  });
}

const tokenizerContext = 512;
