/** @module Routes and experiments from policies/routes.yaml. */
import { feedbackRanges, verdictMetrics } from "./feedback-metrics.ts";
import { complaintAt, parseYaml } from "./parse.ts";
import type { Arm, Policy, Route } from "./policy.ts";
import { type Routes, routesSchema } from "./routes-schema.ts";

/** Throws "configuration" where a route names what is not there. `policies`: by name. */
export function parseRoutes(text: string, policies: ReadonlyMap<string, string>): Routes {
  const file = "policies/routes.yaml";
  const parsed = parseYaml(file, text, routesSchema) as Routes;
  const knownPolicy = (path: readonly string[], name: string | undefined): void => {
    if (name !== undefined && !policies.has(name))
      throw complaintAt(file, text, path, `there is no policy "${name}" (policies/${name}.yaml)`);
  };
  for (const [route, { policy, experiment }] of Object.entries(parsed.routes)) {
    knownPolicy(["routes", route, "policy"], policy);
    for (const [arm, of] of Object.entries(experiment?.arms ?? {}))
      knownPolicy(["routes", route, "experiment", "arms", arm, "policy"], of.policy);
  }
  const knownRoute = (path: readonly string[], route: string): void => {
    if (!Object.hasOwn(parsed.routes, route)) throw complaintAt(file, text, path, `there is no route "${route}"`);
  };
  if (parsed.default !== undefined) knownRoute(["default"], parsed.default);
  for (const [alias, route] of Object.entries(parsed.aliases)) knownRoute(["aliases", alias], route);
  checkExperimentNames(file, text, parsed);
  return parsed;
}

/** Names of the policies that serve some route. */
export function policiesOf({ routes }: Routes): string[] {
  return Object.values(routes).flatMap(({ policy, experiment }) => [
    ...(policy === undefined ? [] : [policy]),
    ...Object.values(experiment?.arms ?? {}).map((arm) => arm.policy),
  ]);
}

/** Two routes cannot write into one experiment: their arms would be mixed up. */
function checkExperimentNames(file: string, text: string, { routes }: Routes): void {
  const seen = new Map<string, string>();
  for (const [route, { experiment }] of Object.entries(routes)) {
    if (experiment === undefined) continue;
    const name = experiment.name ?? route;
    const other = seen.get(name);
    if (other !== undefined)
      throw complaintAt(
        file,
        text,
        ["routes", route, "experiment", "name"],
        `the route "${other}" has an experiment "${name}" as well`,
      );
    seen.set(name, route);
  }
}

export function buildRoute(
  name: string,
  route: Routes["routes"][string],
  policies: ReadonlyMap<string, Policy>,
): Route {
  const { experiment: given, allow_overrides: allowOverrides, counterfactual } = route;
  const policyOf = (policy: string): Policy => policies.get(policy) as Policy;
  if (given === undefined)
    return { name, policy: policyOf(route.policy as string), experiment: null, allowOverrides, counterfactual };
  const arms = Object.entries(given.arms).map(
    ([arm, { policy, weight }]): Arm => ({ name: arm, policy: policyOf(policy), weight }),
  );
  const wanted = given.control ?? "control";
  const control = arms.find((arm) => arm.name === wanted) ?? (arms.at(-1) as Arm);
  const experiment = {
    name: given.name ?? name,
    unit: given.unit,
    arms,
    control,
    ramp: route.ramp,
    metrics: verdictMetrics(given.metrics),
    feedback: feedbackRanges(given.metrics),
  };
  return { name, policy: control.policy, experiment, allowOverrides, counterfactual };
}
