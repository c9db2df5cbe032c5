/** @module Policies and routes as they are in force, and what is wrong with the files. */
import type { PolicySet, Route } from "../policy/policy.ts";
import type { PolicyState } from "../policy/policy-store.ts";
import type { RunningRate } from "../policy/running-rate.ts";
import { Table, texts } from "./data-table.tsx";
import { Alert } from "./layout.tsx";

export function Policies({
  set,
  state,
  routes,
}: {
  readonly set: PolicySet;
  readonly state: PolicyState;
  readonly routes: readonly Route[];
}) {
  const served = new Set(
    routes.flatMap(({ policy, experiment }) => [policy, ...(experiment?.arms ?? []).map((arm) => arm.policy)]),
  );
  return (
    <>
      {state.error !== null && (
        <Alert>{`The files have changed, but are not in force; the policies below still are.\n${state.error.message}`}</Alert>
      )}
      <p class="quiet">
        In force since {new Date(state.loadedAt * 1000).toISOString().replace("T", " ").slice(0, 19)} UTC; reloaded{" "}
        {state.reloads} times.
      </p>
      <h2>Routes</h2>
      <Table
        columns={texts("Route", "Policy", "Also")}
        rows={routes.map((route) => [route.name, <Served route={route} />, alsoOf(set, route)])}
      />
      <h2>Policies</h2>
      {[...served].map(({ id, settings, sampler, demonstrations, rate }) => (
        <details class="card">
          <summary>
            <code>{id}</code> {settings.description}
          </summary>
          <p class="quiet">
            {demonstrations.length} demonstrations · prompt format {sampler.format}
            {rate !== undefined && ` · ${described(rate)}`}
          </p>
          <pre>{JSON.stringify(settings, null, 2)}</pre>
        </details>
      ))}
    </>
  );
}

/** What scores are less for each token, and how much that is founded on. */
function described({ totals: { nats, tokens } }: RunningRate): string {
  if (tokens === 0) return "β: no candidate yet";
  return `β: ${(nats / tokens).toFixed(4)} nats per token, over ${Math.round(tokens).toLocaleString("en")} tokens`;
}

function Served({ route: { policy, experiment } }: { readonly route: Route }) {
  if (experiment === null) return <code>{policy.id}</code>;
  return experiment.arms.map((arm) => (
    <div>
      {arm.name} ({arm.weight}) <code>{arm.policy.id}</code>
    </div>
  ));
}

function alsoOf(set: PolicySet, { name, experiment, allowOverrides, counterfactual }: Route): string {
  const aliases = [...set.aliases].filter(([, route]) => route === name).map(([alias]) => `alias ${alias}`);
  return [
    ...(set.defaultRoute === name ? ["default"] : []),
    ...aliases,
    ...(experiment !== null && experiment.ramp < 1 ? [`ramp ${experiment.ramp}`] : []),
    ...(allowOverrides ? ["overrides allowed"] : []),
    ...(counterfactual > 0 ? [`counterfactual ${counterfactual}`] : []),
  ].join(", ");
}
