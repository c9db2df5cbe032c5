/** @module GET /health (the process lives) and /ready (engine and policies can answer). */
import type { Context } from "hono";
import { isTrusted } from "./access.ts";
import type { AppDependencies } from "./dependencies.ts";

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

/** Where there are keys, strangers learn no more than the status. */
async function details(c: Context, dependencies: AppDependencies) {
  return (await isTrusted(c, dependencies)) ? describe(dependencies) : {};
}

async function describe({ admission, policies, engineState, version }: AppDependencies) {
  const { routes } = policies();
  const requests = admission.admitted;
  return {
    version,
    requests,
    engine: await engineState(),
    routes: Object.fromEntries([...routes].map(([route, policy]) => [route, policy.id])),
  };
}
