/** @module GET /v1/models: the routes, as clients know them. */
import type { Context } from "hono";
import { type Caller, mayUse } from "../../access/access.ts";
import type { AppDependencies } from "../../gateway/dependencies.ts";
import type { PolicySet } from "../../policy/policy.ts";
import { GatewayError } from "../../types/error.ts";

export function listModels(dependencies: AppDependencies) {
  return (c: Context): Response => {
    const routes = [...dependencies.policies().routes.keys()].filter((route) => mayUse(c.get("caller"), route));
    const data = routes.map((id) => model(id, dependencies));
    return c.json({ object: "list", data });
  };
}

export function getModel(dependencies: AppDependencies) {
  return (c: Context): Response => {
    const id = c.req.param("id") ?? "";
    known(dependencies.policies(), id, c.get("caller"));
    return c.json(model(id, dependencies));
  };
}

/** A route or an alias; the default route's readiness to serve any name makes no model of it. */
function known(set: PolicySet, id: string, caller: Caller): void {
  const route = set.aliases.get(id) ?? id;
  if (!set.routes.has(route) || !mayUse(caller, route))
    throw new GatewayError("model_not_found", `The model "${id}" does not exist.`, { param: "model" });
}

function model(id: string, { startedAt }: AppDependencies) {
  return { id, object: "model", created: startedAt, owned_by: "icdpo" };
}
