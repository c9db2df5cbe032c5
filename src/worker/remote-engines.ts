/** @module How engines are opened in a worker: servers, reached over the network. */
import { type EngineOpener, EnginePool } from "../engine/engine-pool.ts";
import { engineName, type RemoteWorld } from "../engine/engines.ts";
import { openRemote } from "../engine/server/dialects.ts";
import { declaredCapabilities, engineDefinition, parseEngines, remoteSettings } from "../policy/engines-file.ts";
import { GatewayError } from "../types/error.ts";

type Variables = Readonly<Record<string, string>>;

/** A server that says nothing of itself for so long is not ready. */
const stateMs = 1_000;

/** `text`: the engines file's. Throws "configuration". */
export function openEngines(text: string, variables: Variables, world: RemoteWorld): EnginePool {
  const definitions = parseEngines("engines.yaml", text, variables);
  const opener: EngineOpener = {
    open(model) {
      const { engine, adapter } = model;
      const name = engineName(model);
      const definition = engineDefinition(definitions, model);
      if (definition.type === "llama") {
        const needs = "an embedded one: a worker needs one that it reaches over the network";
        throw new GatewayError("configuration", `the engine "${engine}" is ${needs}`);
      }
      const log = (line: string): void => world.log(`${name}: ${line}`);
      return openRemote(
        definition.type,
        { ...remoteSettings(definition, adapter, variables), name },
        { ...world, log },
      );
    },
    declared: (model) => declaredCapabilities(engineDefinition(definitions, model)),
    close: async () => {},
  };
  return new EnginePool(opener, { report: world.log, lingerMs: null, stateMs });
}
