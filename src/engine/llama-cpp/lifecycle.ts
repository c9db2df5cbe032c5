/** @module What llama.cpp does here runs in a supervised process, whatever it is for: its start, and how it is. */
import { cancelled, GatewayError, messageOf } from "../../types/error.ts";
import type { EngineLoad } from "../engine.ts";
import { type LlamaLifecycle, Supervisor, type SupervisorOptions } from "./supervisor.ts";

export type LlamaState = Omit<LlamaLifecycle, "status"> & {
  readonly status: LlamaLifecycle["status"] | "unresponsive";
} & Partial<EngineLoad>;

/** After so long without an account of its work, a running process is no longer ready. */
const loadReportMs = 1_000;

/** Loads the model. Throws "model_unavailable" when llama.cpp cannot load it, "cancelled" when the signal fires. */
export async function startSupervised(options: SupervisorOptions, signal?: AbortSignal): Promise<Supervisor> {
  const supervisor = new Supervisor(options);
  try {
    await supervisor.whenReady(signal);
  } catch (error) {
    await supervisor.close();
    if (signal?.aborted) throw cancelled(signal);
    throw new GatewayError(
      "model_unavailable",
      `The model ${options.modelPath} could not be loaded: ${messageOf(error)}`,
      { cause: error },
    );
  }
  return supervisor;
}

/** With the process's own account of its work. Never throws. */
export async function stateOf(supervisor: Supervisor): Promise<LlamaState> {
  if (supervisor.lifecycle.status !== "ready") return supervisor.lifecycle;
  try {
    const load = await supervisor.load(AbortSignal.timeout(loadReportMs));
    return { ...supervisor.lifecycle, ...load, threads: supervisor.within(load.threads) };
  } catch {
    return supervisor.lifecycle.status === "ready"
      ? { ...supervisor.lifecycle, status: "unresponsive" }
      : supervisor.lifecycle;
  }
}
