/** @module GET /health (the process lives) and /ready (engine and policies can answer). */
import type { Context } from "hono";
import { isTrusted } from "../../access/access.ts";
import type { KeysState } from "../../access/api-keys.ts";
import type { AppDependencies } from "../../gateway/dependencies.ts";
import type { Route } from "../../policy/policy.ts";

/** For so long an answer holds, in milliseconds: whoever asks all the time does not keep engines at it. */
const heldMs = 1_000;

/**
 * Asks once in a second, however many want to know; a failure is remembered as well. `isolated`: nobody waits for an
 * answer that another asked for, for where requests are apart it may never come.
 */
export function remembered<Value>(
  ask: () => Promise<Value>,
  now: () => number,
  isolated = false,
): () => Promise<Value> {
  let last: { readonly give: () => Promise<Value>; readonly until: number } | undefined;
  return () => {
    if (last !== undefined && now() < last.until) return last.give();
    const asked = ask();
    if (!isolated) last = { give: () => asked, until: Number.POSITIVE_INFINITY };
    const keep = (give: () => Promise<Value>): void => {
      last = { give, until: now() + heldMs };
    };
    asked.then(
      (value) => keep(() => Promise.resolve(value)),
      (error: unknown) => keep(() => Promise.reject(error)),
    );
    return asked;
  };
}

export function health(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => c.json({ status: "ok", ...(await details(c, dependencies)) });
}

export function ready(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const isClosing = dependencies.admission.isClosed;
    const isReady = !isClosing && (await stateOf(dependencies)).status === "ready";
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

/** Never throws: an engine that cannot even be asked is not ready. */
async function stateOf({ engineState, report }: AppDependencies): Promise<{ readonly status: string }> {
  try {
    return await engineState();
  } catch (error) {
    report(error);
    return { status: "unknown" };
  }
}

async function describe(dependencies: AppDependencies) {
  const { admission, policies, policyState, keysState, records, rewardStates, version } = dependencies;
  const { routes } = policies();
  const { loadedAt, reloads, error } = policyState();
  const requests = admission.admitted;
  return {
    version,
    requests,
    engine: await stateOf(dependencies),
    ...(rewardStates && { rewards: await rewardStates() }),
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
