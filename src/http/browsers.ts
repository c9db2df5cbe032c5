/** @module What browsers may do: other sites' pages nothing, unless their origin is allowed. */
import type { MiddlewareHandler } from "hono";
import { cors } from "hono/cors";
import { secureHeaders } from "hono/secure-headers";
import { GatewayError } from "../types/error.ts";

export interface BrowserSettings {
  /** Origins whose pages may call the API; "*": all. */
  readonly corsOrigins: readonly string[];
  /** Names by which the gateway may be called; null: any. */
  readonly allowedHosts: ReadonlySet<string> | null;
}

const exposedHeaders = [
  "x-request-id",
  "x-icdpo-route",
  "x-icdpo-policy",
  "x-icdpo-arm",
  "x-icdpo-candidates",
  "x-icdpo-score",
  "x-icdpo-tokens",
  "server-timing",
  "retry-after",
];

/** The gateway's own pages need their style sheet and their forms; nothing runs in them. */
const pagePolicy = {
  defaultSrc: ["'none'"],
  styleSrc: ["'self'"],
  imgSrc: ["'self'"],
  formAction: ["'self'"],
  baseUri: ["'none'"],
  frameAncestors: ["'none'"],
};

export function browserRules({ corsOrigins, allowedHosts }: BrowserSettings): MiddlewareHandler[] {
  const rules: MiddlewareHandler[] = [
    secureHeaders({ contentSecurityPolicy: pagePolicy, referrerPolicy: "same-origin" }),
    checkHost(allowedHosts),
  ];
  if (corsOrigins.length > 0)
    rules.push(cors({ origin: corsOrigins.includes("*") ? "*" : [...corsOrigins], exposeHeaders: exposedHeaders, maxAge: 600 }));
  return rules;
}

/** A page can make a name of its own site point to this machine; the request still says which name it was. */
function checkHost(allowed: ReadonlySet<string> | null): MiddlewareHandler {
  return async (c, next) => {
    const { hostname } = new URL(c.req.url);
    if (allowed !== null && !allowed.has(hostname.toLowerCase()))
      throw new GatewayError("forbidden_host", `The gateway is not called ${hostname}. Add the name to ICDPO_ALLOWED_HOSTS if it is.`);
    await next();
  };
}
