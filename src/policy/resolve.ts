/** @module Which route a request takes: the path names it, else the header, else the body's `model`. */
import { GatewayError } from "../types/error.ts";
import type { PolicySet, Route } from "./policy.ts";

export interface RouteNames {
  readonly path?: string | undefined;
  readonly header?: string | undefined;
  readonly model?: string | undefined;
}

/**
 * Throws "model_not_found"; a route that may not be used might as well not exist. The default route serves unknown
 * model names only: a path or header that names no route is a mistake.
 */
export function resolveRoute(
  set: PolicySet,
  names: RouteNames,
  mayUse: (route: string) => boolean = () => true,
): Route {
  const name = names.path ?? names.header ?? names.model ?? "";
  const known = [name, set.aliases.get(name)].find(
    (candidate) => candidate !== undefined && set.routes.has(candidate) && mayUse(candidate),
  );
  const byModel = names.path === undefined && names.header === undefined;
  const chosen = known ?? (byModel ? set.defaultRoute : undefined);
  const route = chosen === undefined || !mayUse(chosen) ? undefined : set.routes.get(chosen);
  const available = [...set.routes.keys()].filter(mayUse).join(", ");
  if (route === undefined)
    throw new GatewayError("model_not_found", `The model "${name}" does not exist. Available: ${available}.`, {
      param: "model",
    });
  return route;
}
