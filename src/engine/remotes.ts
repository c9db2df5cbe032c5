/** @module Every kind of server that there is an engine for. */
import type { RunningEngine } from "./engine.ts";
import type { RemoteSettings, RemoteWorld } from "./engines.ts";
import { openVllm } from "./vllm.ts";

export type RemoteType = "vllm" | "llama-server" | "llama-cpp-python" | "openai";

export function openRemote(type: RemoteType, settings: RemoteSettings, world: RemoteWorld): RunningEngine {
  if (type === "vllm") return openVllm(settings, world);
  throw new Error(`${type}: ${settings.urls.join(", ")} ${world.now()}`);
}
