/**
 * @module Addresses as clients put them together: whether their base URL ends in /v1 or not, has it twice, or a slash
 * too many, they come to the same endpoint. Doors, limits and metrics know the one address alone.
 */
import { getPath } from "hono/utils/url";
import { endpoints } from "./api.ts";

const version = "v1";
/** What may stand without /v1 before it. The page has experiments of its own. */
const bare: ReadonlySet<string | undefined> = new Set(
  endpoints.flatMap(({ path }) => {
    const [first, second] = partsOf(path);
    return first === version && second !== "experiments" ? [second] : [];
  }),
);

/** Most requests come to one of them as it stands. */
const known: ReadonlySet<string> = new Set(endpoints.map(({ path }) => path));

/** The path that a request is routed by. */
export function routedPath(request: Request): string {
  return canonical(getPath(request));
}

export function canonical(path: string): string {
  if (known.has(path)) return path;
  const parts = partsOf(path);
  const base = parts[0] === "routes" && parts.length > 2 ? parts.splice(0, 2) : [];
  while (parts[0] === version && parts[1] === version) parts.shift();
  if (bare.has(parts[0])) parts.unshift(version);
  return `/${[...base, ...parts].join("/")}`;
}

/** What may have been meant by an address that there is not. */
export function hint(path: string): string {
  const meant = endpoints.find((endpoint) => {
    const own = partsOf(endpoint.path).slice(1);
    return own.length > 0 && partsOf(path).slice(-own.length).join("/") === own.join("/");
  });
  return meant === undefined ? "The API's base URL ends in /v1." : `Did you mean ${name(meant)}?`;
}

function name({ method, path }: (typeof endpoints)[number]): string {
  return `${method.toUpperCase()} ${path}`;
}

function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "");
}
