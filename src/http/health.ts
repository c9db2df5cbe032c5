/** @module GET /health (the process lives) and /ready (engine and policies can answer). */
import type { Context } from "hono";
import type { AppDependencies } from "./dependencies.ts";

export function health(dependencies: AppDependencies) {
  return (c: Context): Response => c.json({ status: "ok", ...describe(dependencies) });
}

export function ready(dependencies: AppDependencies) {
  return (c: Context): Response => {
    const isReady = dependencies.engineState().status === "ready";
    return c.json({ status: isReady ? "ready" : "not ready", ...describe(dependencies) }, isReady ? 200 : 503);
  };
}

function describe({ policies, engineState, version }: AppDependencies) {
  const { routes } = policies();
  return { version, engine: engineState(), routes: Object.fromEntries([...routes].map(([route, policy]) => [route, policy.id])) };
}
