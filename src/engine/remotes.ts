/** @module Every kind of server that there is an engine for. */
import type { RunningEngine } from "./engine.ts";
import type { RemoteSettings, RemoteWorld } from "./engines.ts";

export type RemoteType = "vllm" | "llama-server" | "llama-cpp-python" | "openai";

export function openRemote(type: RemoteType, settings: RemoteSettings, world: RemoteWorld): RunningEngine {
  throw new Error(`${type}: ${settings.urls.join(", ")} ${world.now()}`);
}
