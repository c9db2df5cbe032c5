/** @module Who may come, from where, and how much: by the settings. */
import { randomBytes, randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { AccessDependencies } from "../access/access.ts";
import type { BrowserSettings } from "../access/browsers.ts";
import { KeyLimiter } from "../access/key-limits.ts";
import { KeyRing } from "../access/keys-file.ts";
import { MemoryCounts } from "../access/minute-counts.ts";
import { SharedCounts } from "../access/shared-counts.ts";
import { GatewayError } from "../types/error.ts";
import type { Report } from "../types/operator.ts";
import { isLoopback, loopbackNames } from "./http-server.ts";
import type { Settings } from "./settings.ts";

const secretBytes = 32;
/** A request that has taken too long has so long to end. */
const slackMs = 60_000;

/** Who may come, from where. */
export type Access = AccessDependencies & BrowserSettings & { readonly ring: KeyRing; readonly close: () => void };

/**
 * Throws "configuration" where the keys or the limits cannot be had, or where there are no keys and strangers could
 * come.
 */
export async function readAccess(settings: Settings, report: Report): Promise<Access> {
  const { HOST: host } = settings;
  const ring = await KeyRing.open(settings, report);
  // Whoever began with keys is never open later on, whatever becomes of their file.
  const isOpen = ring.keys === null;
  if (isOpen && !isLoopback(host) && !settings.ICDPO_ALLOW_ANONYMOUS) throw openToAll(host);
  return {
    ring,
    keys: () => ring.keys,
    // Whoever stands behind a proxy comes from somewhere else.
    isLocal: isLoopback(host) && !settings.ICDPO_TRUST_PROXY,
    ...(await openLimits(settings, report)),
    corsOrigins: settings.ICDPO_CORS_ORIGINS,
    allowedHosts: allowedHosts(settings, isOpen),
  };
}

/**
 * Without keys, wherever it listens: another site's page must not become its own page by a name. With keys only where
 * names are given: such a page has none.
 */
function allowedHosts(
  { HOST: host, ICDPO_ALLOWED_HOSTS: given }: Settings,
  isOpen: boolean,
): ReadonlySet<string> | null {
  if (given.includes("*") || (!isOpen && given.length === 0)) return null;
  return new Set([...loopbackNames, host, ...(isLoopback(host) ? [] : [hostname()]), ...given]);
}

export function sessionSecret({ ICDPO_SESSION_SECRET: given }: Settings): Uint8Array<ArrayBuffer> {
  return new Uint8Array(given === undefined ? randomBytes(secretBytes) : Buffer.from(given));
}

async function openLimits(settings: Settings, report: Report): Promise<Pick<Access, "limiter" | "close">> {
  const {
    ICDPO_REQUESTS_PER_MINUTE: requestsPerMinute,
    ICDPO_TOKENS_PER_MINUTE: tokensPerMinute,
    ICDPO_PARALLEL: parallel,
  } = settings;
  const defaults = { requestsPerMinute, tokensPerMinute, parallel };
  const { limitsUrl: url, ICDPO_LIMITS_TOKEN: authToken, ICDPO_TIMEOUT_MS: timeoutMs } = settings;
  if (url === null) return { limiter: new KeyLimiter(new MemoryCounts(), defaults, randomUUID), close: () => {} };
  const counts = await SharedCounts.open({ url, authToken, longestMs: timeoutMs + slackMs, report }).catch(
    (error: Error) => {
      throw new GatewayError("configuration", `ICDPO_LIMITS cannot be opened: ${error.message}`, { cause: error });
    },
  );
  return { limiter: new KeyLimiter(counts, defaults, randomUUID), close: () => counts.close() };
}

function openToAll(host: string): GatewayError {
  const remedy =
    "Set ICDPO_KEYS_FILE or ICDPO_API_KEYS (`icdpo keys new` makes a key), or ICDPO_ALLOW_ANONYMOUS=1 if that is meant.";
  return new GatewayError(
    "configuration",
    `Without API keys, everybody who reaches ${host} could use this gateway. ${remedy}`,
  );
}
