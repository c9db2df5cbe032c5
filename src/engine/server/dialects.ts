/** @module Every kind of server that there is an engine for. */
import type { RunningEngine } from "../engine.ts";
import type { RemoteSettings, RemoteWorld } from "../engines.ts";
import { openLlamaCppPython } from "../llama-cpp-python/index.ts";
import { openLlamaServer } from "../llama-server/index.ts";
import { openOpenAi } from "../openai/index.ts";
import { openVllm } from "../vllm/index.ts";

export type RemoteType = "vllm" | "llama-server" | "llama-cpp-python" | "openai";

export function openRemote(type: RemoteType, settings: RemoteSettings, world: RemoteWorld): RunningEngine {
  switch (type) {
    case "vllm":
      return openVllm(settings, world);
    case "llama-server":
      return openLlamaServer(settings, world);
    case "llama-cpp-python":
      return openLlamaCppPython(settings, world);
    case "openai":
      return openOpenAi(settings, world);
  }
}
