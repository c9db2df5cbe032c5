/** @module GET /health (the process lives) and /ready (engine and policies can answer). */
import type { Context } from "hono";
import type { Route } from "../policy/policy.ts";
import { isTrusted } from "./access.ts";
import type { AppDependencies } from "./dependencies.ts";
import type { KeysState } from "./keys.ts";

export function health(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => c.json({ status: "ok", ...(await details(c, dependencies)) });
}

export function ready(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const isClosing = dependencies.admission.isClosed;
    const isReady = !isClosing && (await dependencies.engineState()).status === "ready";
    return c.json(
      { status: isReady ? "ready" : isClosing ? "shutting down" : "not ready", ...(await details(c, dependencies)) },
      isReady ? 200 : 503,
    );
  };
}

/** Who does not run the gateway learns no more than the status. */
async function details(c: Context, dependencies: AppDependencies) {
  return (await isTrusted(c, dependencies)) ? describe(dependencies) : {};
}

async function describe({ admission, policies, policyState, keysState, engineState, records, version }: AppDependencies) {
  const { routes } = policies();
  const { loadedAt, reloads, error } = policyState();
  const requests = admission.admitted;
  return {
    version,
    requests,
    engine: await engineState(),
    routes: Object.fromEntries([...routes].map(([name, route]) => [name, describeRoute(route)])),
    records: records.state(),
    policies: { loaded_at: loadedAt, reloads, error: error?.message ?? null },
    ...(keysState && { keys: describeKeys(keysState()) }),
  };
}

function describeKeys({ loadedAt, reloads, error }: KeysState) {
  return { loaded_at: loadedAt, reloads, error };
}

/** The policy's hash; an experiment's arms with theirs. */
function describeRoute({ policy, experiment }: Route): string | Record<string, string> {
  return experiment === null ? policy.id : Object.fromEntries(experiment.arms.map((arm) => [arm.name, arm.policy.id]));
}
