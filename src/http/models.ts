/** @module GET /v1/models: the routes, as clients know them. */
import type { Context } from "hono";
import type { PolicySet } from "../policy/store.ts";
import { GatewayError } from "../types/error.ts";
import type { AppDependencies } from "./dependencies.ts";

export function listModels(dependencies: AppDependencies) {
  return (c: Context): Response => {
    const data = [...dependencies.policies().routes.keys()].map((id) => model(id, dependencies));
    return c.json({ object: "list", data });
  };
}

export function getModel(dependencies: AppDependencies) {
  return (c: Context): Response => {
    const id = c.req.param("id") ?? "";
    known(dependencies.policies(), id);
    return c.json(model(id, dependencies));
  };
}

/** A route or an alias; the default route's readiness to serve any name makes no model of it. */
function known(set: PolicySet, id: string): void {
  if (!set.routes.has(id) && !set.aliases.has(id))
    throw new GatewayError("model_not_found", `The model "${id}" does not exist.`, { param: "model" });
}

function model(id: string, { startedAt }: AppDependencies) {
  return { id, object: "model", created: startedAt, owned_by: "icdpo" };
}
