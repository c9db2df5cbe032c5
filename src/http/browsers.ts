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
    checkOrigin(corsOrigins),
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

/** What asks for nothing but to be shown something, or whether it may ask. */
const harmless: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);

/** Another site's page may send what it cannot read the answer to, and that would be enough to keep the engine at work. */
function checkOrigin(allowed: readonly string[]): MiddlewareHandler {
  return async (c, next) => {
    if (!harmless.has(c.req.method) && !allowed.includes("*")) {
      const origin = c.req.header("origin");
      const isForeign =
        origin === undefined ? c.req.header("sec-fetch-site") === "cross-site" : !isOwn(origin, c.req.url) && !allowed.includes(origin);
      if (isForeign)
        throw new GatewayError(
          "forbidden_origin",
          `Pages of ${origin ?? "other sites"} may not use this gateway. Add the origin to ICDPO_CORS_ORIGINS if they may.`,
        );
    }
    await next();
  };
}

/** Whether it is the gateway's own page. In front of it a proxy may speak TLS: the host and port decide. */
function isOwn(origin: string, url: string): boolean {
  return URL.canParse(origin) && new URL(origin).host === new URL(url).host;
}
