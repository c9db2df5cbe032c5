/** @module GET /health (the process lives) and /ready (engine and policies can answer). */
import type { Context } from "hono";
import type { AppDependencies } from "./dependencies.ts";

export function health(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => c.json({ status: "ok", ...(await describe(dependencies)) });
}

export function ready(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const described = await describe(dependencies);
    const isReady = described.engine.status === "ready";
    return c.json({ status: isReady ? "ready" : "not ready", ...described }, isReady ? 200 : 503);
  };
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
