/** @module What browsers may do: other sites' pages nothing, unless their origin is allowed. */
import type { MiddlewareHandler } from "hono";
import { cors } from "hono/cors";
import { secureHeaders } from "hono/secure-headers";
import { GatewayError } from "../types/error.ts";

export interface BrowserSettings {
  /** Origins whose pages may call the API; "*": all. */
  readonly corsOrigins: readonly string[];
  /** Names by which the gateway may be called, beside addresses; null: any. */
  readonly allowedHosts: ReadonlySet<string> | null;
}

const exposedHeaders = [
  "x-request-id",
  "request-id",
  "x-icdpo-route",
  "x-icdpo-policy",
  "x-icdpo-arm",
  "x-icdpo-candidates",
  "x-icdpo-score",
  "x-icdpo-tokens",
  "x-icdpo-schema",
  "x-icdpo-tools",
  "x-icdpo-ignored",
  "server-timing",
  "retry-after",
];

/** The gateway's own pages need their style sheet, their forms, and the playground's script, which asks the gateway. */
const pagePolicy = {
  defaultSrc: ["'none'"],
  styleSrc: ["'self'"],
  imgSrc: ["'self'"],
  scriptSrc: ["'self'"],
  connectSrc: ["'self'"],
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
    rules.push(
      cors({ origin: corsOrigins.includes("*") ? "*" : [...corsOrigins], exposeHeaders: exposedHeaders, maxAge: 600 }),
    );
  return rules;
}

/**
 * A page can make a name of its own site point to this machine; the request still says which name it was. An address
 * nobody can make point elsewhere.
 */
function checkHost(allowed: ReadonlySet<string> | null): MiddlewareHandler {
  const names = allowed === null ? null : new Set([...allowed].map(toHostname));
  return async (c, next) => {
    if (names !== null) {
      const hostname = withoutDot(new URL(c.req.url).hostname);
      if (!names.has(hostname) && !isAddress(hostname))
        throw new GatewayError(
          "forbidden_host",
          `The gateway is not called ${hostname}. Add the name to ICDPO_ALLOWED_HOSTS if it is.`,
        );
    }
    await next();
  };
}

/**
 * As URLs have it, of a name or an address as people write them: with a port, in capitals, as an origin, an IPv6
 * address without brackets.
 */
function toHostname(given: string): string {
  const bare = given.replace(/^[a-z]+:\/\//iu, "");
  const url = `http://${/^[^[\]]*:[^[\]]*:/u.test(bare) ? `[${bare}]` : bare}`;
  return URL.canParse(url) ? withoutDot(new URL(url).hostname) : bare;
}

/** With a dot at its end it is the same name. */
function withoutDot(hostname: string): string {
  return hostname.endsWith(".") ? hostname.slice(0, -1) : hostname;
}

function isAddress(hostname: string): boolean {
  return hostname.startsWith("[") || /^\d{1,3}(?:\.\d{1,3}){3}$/u.test(hostname);
}

/** What asks for nothing but to be shown something, or whether it may ask. */
const harmless: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);
/** Browsers' word for a page of the gateway's own, and for an address that somebody typed. */
const ownSites: ReadonlySet<string | undefined> = new Set(["same-origin", "none", undefined]);

/**
 * Another site's page may send what it cannot read the answer to, and that would be enough to keep the gateway at work.
 * It may link to its pages.
 */
function checkOrigin(allowed: readonly string[]): MiddlewareHandler {
  return async (c, next) => {
    const origin = c.req.header("origin");
    const site = c.req.header("sec-fetch-site");
    // Programs send neither.
    if ((origin !== undefined || site !== undefined) && c.req.method !== "OPTIONS" && !allowed.includes("*")) {
      const isOwnOrAllowed =
        origin === undefined ? ownSites.has(site) : isOwn(origin, c.req.url) || allowed.includes(origin);
      const isShown =
        harmless.has(c.req.method) && (ownSites.has(site) || c.req.header("sec-fetch-dest") === "document");
      if (!isOwnOrAllowed && !isShown)
        throw new GatewayError(
          "forbidden_origin",
          `Pages of ${origin ?? "other sites"} may not use this gateway. Add the origin to ICDPO_CORS_ORIGINS if they may.`,
        );
    }
    await next();
  };
}

/** Whether it is the gateway's own page. In front of it a proxy may speak TLS: the host and port decide. */
export function isOwn(origin: string, url: string): boolean {
  return URL.canParse(origin) && new URL(origin).host === new URL(url).host;
}
