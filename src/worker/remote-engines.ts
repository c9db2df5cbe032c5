/** @module How engines are opened in a worker: servers, reached over the network. */
import { type EngineOpener, EnginePool } from "../engine/engine-pool.ts";
import { engineName, type RemoteWorld } from "../engine/engines.ts";
import { openRemote } from "../engine/server/dialects.ts";
import {
  declaredCapabilities,
  engineDefinition,
  parseEngines,
  parseRewards,
  remoteSettings,
} from "../policy/engines-file.ts";
import { openRewards } from "../policy/open-rewards.ts";
import type { RewardPool } from "../reward/reward-pool.ts";
import { GatewayError } from "../types/error.ts";

type Variables = Readonly<Record<string, string>>;

/** How complaints name it. */
const fileName = "engines.yaml";

/** A server that says nothing of itself for so long is not ready. */
const stateMs = 1_000;

/** `text`: the engines file's. Throws "configuration". */
export function openEngines(text: string, variables: Variables, world: RemoteWorld): EnginePool {
  const definitions = parseEngines(fileName, text, variables);
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

/** The reward models of the same file. Throws "configuration". */
export function openRemoteRewards(text: string, variables: Variables, world: RemoteWorld): RewardPool {
  return openRewards(parseRewards(fileName, text, variables), {
    environment: variables,
    remote: world,
    embedded: (name) => {
      const needs = "a file: a worker needs one that it reaches over the network, of type http or classify";
      throw new GatewayError("configuration", `the reward model "${name}" is ${needs}`);
    },
    lingerMs: null,
    close: async () => {},
  });
}
