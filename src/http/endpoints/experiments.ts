/** @module GET /v1/experiments and /v1/experiments/{route}: what experiments show so far. */
import type { Context } from "hono";
import { mayUse } from "../../access/access.ts";
import type { ExperimentDescription } from "../../experiment/report.ts";
import type { AppDependencies } from "../../gateway/dependencies.ts";
import type { PolicySet, Route } from "../../policy/policy.ts";
import type { StoreState } from "../../records/record.ts";
import { GatewayError } from "../../types/error.ts";

export function listExperiments(dependencies: AppDependencies) {
  return (c: Context): Response => {
    const visible = experimentRoutes(dependencies.policies()).filter(({ name }) => mayUse(c.get("caller"), name));
    return c.json({ object: "list", data: visible.map((route) => describeExperiment(route)) });
  };
}

export function getExperiment(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const name = c.req.param("id") ?? "";
    const route = experimentRoutes(dependencies.policies()).find(
      (one) => one.name === name && mayUse(c.get("caller"), one.name),
    );
    if (route === undefined)
      throw new GatewayError("experiment_not_found", `There is no route "${name}" with an experiment.`, {
        param: "route",
      });
    const report = await dependencies.records.report(describeExperiment(route), c.req.raw.signal);
    return c.json({ object: "experiment", ...report, records: recordsState(c, dependencies) });
  };
}

/**
 * What of the records was lost, so that nobody trusts figures that lack something. Why they cannot be written is for
 * who runs the gateway.
 */
export function recordsState(c: Context, { records }: Pick<AppDependencies, "records">): StoreState {
  const state = records.state();
  return state.error === null || c.get("isAdmin") ? state : { ...state, error: "Records cannot be written now." };
}

export type ExperimentRoute = Route & { readonly experiment: NonNullable<Route["experiment"]> };

export function experimentRoutes({ routes }: PolicySet): ExperimentRoute[] {
  return [...routes.values()].filter((route): route is ExperimentRoute => route.experiment !== null);
}

export function describeExperiment({
  name: route,
  experiment,
}: ExperimentRoute): ExperimentDescription & { readonly ramp: number } {
  const { name, unit, arms, control, metrics, feedback: ranges, ramp } = experiment;
  return {
    name,
    route,
    unit,
    arms: arms.map((arm) => ({ name: arm.name, policy: arm.policy.id, weight: arm.weight })),
    control: control.name,
    metrics,
    ranges,
    ramp,
  };
}
