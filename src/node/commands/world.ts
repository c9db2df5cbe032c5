/** @module What the commands get from the program. */
import type { Report, Runtime } from "../runtime.ts";
import { openRuntime } from "../runtime.ts";
import type { Settings } from "../settings.ts";

export interface World {
  readonly settings: () => Settings;
  /** A line on stderr. */
  readonly report: Report;
  readonly version: string;
}

/** Runs `work` with an engine and policies, and ends the engine whatever happens. SIGINT and SIGTERM cancel. */
export async function withRuntime<Result>(world: World, work: (runtime: Runtime, signal: AbortSignal) => Promise<Result>): Promise<Result> {
  const controller = new AbortController();
  const cancel = (): void => controller.abort();
  process.once("SIGINT", cancel).once("SIGTERM", cancel);
  try {
    const runtime = await openRuntime(world.settings(), world.report, controller.signal);
    try {
      return await work(runtime, controller.signal);
    } finally {
      await runtime.close();
    }
  } finally {
    process.off("SIGINT", cancel).off("SIGTERM", cancel);
  }
}
