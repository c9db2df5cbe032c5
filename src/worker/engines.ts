/** @module The engines of a worker: servers, reached over the network. */
import { z } from "zod";
import type { EngineState, RunningEngine } from "../engine/engine.ts";
import type { Engines, RemoteSettings, RemoteWorld } from "../engine/engines.ts";
import { openVllm } from "../engine/vllm.ts";
import { parseYaml } from "../policy/parse.ts";
import { GatewayError } from "../types/error.ts";

const openers = { vllm: openVllm } as const;

const enginesSchema = z.strictObject({
  engines: z.record(
    z.string(),
    z.strictObject({
      type: z.enum(Object.keys(openers) as [keyof typeof openers], "a worker reaches engines over the network: vllm"),
      urls: z.array(z.url()).min(1),
      model: z.string().min(1).optional(),
      key_variable: z.string().min(1).optional(),
      context_size: z.int().min(1).optional(),
      timeout_ms: z.int().min(1).default(60_000),
      retries: z.int().min(0).default(2),
    }),
  ),
});

const stateMs = 1_000;

export interface WorkerEngines extends Engines {
  /** "ready" where all that were asked for are. Never throws. */
  state(): Promise<EngineState & { readonly engines: Readonly<Record<string, EngineState>> }>;
}

/** `text`: the engines file's. Throws "configuration". */
export function openEngines(text: string, variables: Readonly<Record<string, string>>, world: RemoteWorld): WorkerEngines {
  const { engines } = parseYaml("engines", text, enginesSchema);
  const opened = new Map<string, RunningEngine>();
  return {
    async open({ engine: name }) {
      const settings = engines[name];
      if (settings === undefined) throw new GatewayError("configuration", `There is no engine "${name}".`);
      const engine = opened.get(name) ?? openers[settings.type](remoteSettings(settings, variables), world);
      opened.set(name, engine);
      return engine;
    },
    async state() {
      const states = await Promise.all([...opened].map(async ([name, engine]) => [name, await stateOf(engine)] as const));
      const status = states.find(([, { status }]) => status !== "ready")?.[1].status ?? "ready";
      return { status, engines: Object.fromEntries(states) };
    },
  };
}

type EngineSettings = z.output<typeof enginesSchema>["engines"][string];

function remoteSettings(settings: EngineSettings, variables: Readonly<Record<string, string>>): RemoteSettings {
  const { urls, model, key_variable: key, context_size: contextSize, timeout_ms: timeoutMs, retries } = settings;
  return { urls, model, apiKey: key === undefined ? undefined : variables[key], contextSize, timeoutMs, retries };
}

/** One that says nothing of itself is not ready. */
async function stateOf(engine: RunningEngine): Promise<EngineState> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<EngineState>((resolve) => {
    timer = setTimeout(() => resolve({ status: "unresponsive" }), stateMs);
  });
  return Promise.race([engine.state(), late]).finally(() => clearTimeout(timer));
}
