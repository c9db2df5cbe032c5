/** @module Reward models of servers, replicas of them included. */

import { ServerError } from "../client/server-error.ts";
import type { RemoteSettings, RemoteWorld } from "../engine/engines.ts";
import type { RemoteServer } from "../engine/server/remote.ts";
import { Replicas } from "../engine/server/replicas.ts";
import { GatewayError } from "../types/error.ts";
import { type RunningReward, rewardProtocols } from "./reward-model.ts";

const probeTimeoutMs = 5_000;

/**
 * Asks one of the servers, and another or the same again where it failed for a reason that may pass, `retries` times.
 * Throws "engine_unavailable" or "overloaded" then, and "engine_failure" where it is no reward that came, or the server
 * does not take what it is asked: that is nothing a client could mend.
 */
export function remoteReward(
  type: keyof typeof rewardProtocols,
  settings: RemoteSettings,
  world: RemoteWorld,
): RunningReward {
  const { path, body, answer } = rewardProtocols[type];
  const replicas = new Replicas(settings, world, answersAtAll);
  const { model } = settings;
  const named = model === undefined ? {} : { model };
  return {
    id: JSON.stringify([type, model ?? null, replicas.servers[0]?.name]),
    reward: (conversation, response, signal) =>
      replicas
        .json({ path, body: { ...named, ...body(conversation, response) }, answer, signal })
        .catch((error: unknown) => {
          if (!(error instanceof GatewayError) || error.code !== "invalid_request") throw error;
          throw new GatewayError("engine_failure", `No reward: ${error.message}`, { cause: error, isInternal: true });
        }),
    state: () => replicas.state(),
    close: async () => {},
  };
}

/** There is no path that all of them have: whatever a server answers, it is there. */
async function answersAtAll(server: RemoteServer): Promise<void> {
  try {
    await server.text({ path: "/health", timeoutMs: probeTimeoutMs });
  } catch (error) {
    const isThere = error instanceof ServerError && error.fate === "refused" && error.code !== "engine_unavailable";
    if (!isThere) throw error;
  }
}
