/** @module What the commands get from the program. */
import type { Engine } from "../engine/engine.ts";
import { openLlama } from "../node/open-engines.ts";
import type { Runtime } from "../node/runtime.ts";
import { openModelStore, openRuntime } from "../node/runtime.ts";
import type { Settings } from "../node/settings.ts";
import type { Report } from "../types/operator.ts";

export interface World {
  readonly settings: () => Settings;
  /** A line on stderr. */
  readonly report: Report;
  readonly version: string;
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

/** Runs `work` with policies (those that serve routes, and those in `also`) and their engines, and ends the engines whatever happens. SIGINT and SIGTERM cancel. */
export function withRuntime<Result>(
  world: World,
  work: (runtime: Runtime, signal: AbortSignal) => Promise<Result>,
  also: readonly string[] = [],
): Promise<Result> {
  return withSignal(async (signal) => {
    const runtime = await openRuntime(world.settings(), world.report, signal, also);
    try {
      return await work(runtime, signal);
    } finally {
      await runtime.close();
    }
  });
}

/** Runs `work` with an engine that only tokenises, and no policies. */
export function withTokenizer<Result>(world: World, work: (engine: Engine, signal: AbortSignal) => Promise<Result>): Promise<Result> {
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
