/** @module Which routes a page shows. */
import type { Context } from "hono";
import { mayUse } from "../access/access.ts";
import type { PolicySet, Route } from "../policy/policy.ts";

/** Those that the caller may use. */
export function visibleRoutes(c: Context, { routes }: PolicySet): Route[] {
  return [...routes.values()].filter(({ name }) => mayUse(c.get("caller"), name));
}
