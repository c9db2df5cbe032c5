/** @module The engines of a worker: servers, reached over the network. */
import type { EngineState, RunningEngine } from "../engine/engine.ts";
import { engineName, type OwnedEngines, type RemoteWorld } from "../engine/engines.ts";
import { openRemote } from "../engine/server/dialects.ts";
import { declaredBy, engineDefinition, parseEngines, remoteSettings } from "../policy/engines-file.ts";
import { GatewayError } from "../types/error.ts";

type Variables = Readonly<Record<string, string>>;

/** A server that says nothing of itself for so long is not ready. */
const stateMs = 1_000;

export interface WorkerEngines extends OwnedEngines {
  /** Ready when all are that are needed, each by its name. Never throws. */
  state(): Promise<EngineState & { readonly engines: Readonly<Record<string, EngineState>> }>;
}

/** `text`: the engines file's. Throws "configuration". */
export function openEngines(text: string, variables: Variables, world: RemoteWorld): WorkerEngines {
  const definitions = parseEngines("engines.yaml", text, variables);
  const opened = new Map<string, RunningEngine>();
  let needed: ReadonlySet<string> = new Set();
  return {
    async open({ engine, adapter }) {
      const name = engineName({ engine, adapter });
      const known = opened.get(name);
      if (known !== undefined) return known;
      const definition = engineDefinition(definitions, { engine, adapter });
      if (definition.type === "llama")
        throw new GatewayError(
          "configuration",
          `the engine "${engine}" is an embedded one: a worker needs one that it reaches over the network`,
        );
      const log = (line: string): void => world.log(`${name}: ${line}`);
      const begun = openRemote(definition.type, { ...remoteSettings(definition, adapter, variables), name }, { ...world, log });
      opened.set(name, begun);
      return begun;
    },
    declared: declaredBy(definitions),
    // Nothing of a server runs here: who holds it still goes on with it, and it is forgotten.
    retain(models) {
      needed = new Set(models.map(engineName));
      for (const name of opened.keys()) if (!needed.has(name)) opened.delete(name);
    },
    async state() {
      const counted = [...opened].filter(([name]) => needed.has(name));
      const states = await Promise.all(counted.map(async ([name, engine]) => [name, await stateOf(engine)] as const));
      const worst = states.find(([, { status }]) => status !== "ready");
      return { status: worst?.[1].status ?? "ready", engines: Object.fromEntries(states) };
    },
  };
}

function stateOf(engine: RunningEngine): Promise<EngineState> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<EngineState>((resolve) => {
    timer = setTimeout(() => resolve({ status: "unresponsive" }), stateMs);
  });
  return Promise.race([engine.state(), late]).finally(() => clearTimeout(timer));
}
