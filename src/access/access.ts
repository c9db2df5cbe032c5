/**
 * @module Who may use the gateway, for which routes, and how much: API keys and their limits. Who runs it sees more.
 */
import type { Context, MiddlewareHandler } from "hono";
import { GatewayError } from "../types/error.ts";

/** A key as the gateway keeps it: never the key itself. */
export interface ApiKey {
  readonly name: string;
  /** SHA-256. Keys are random and long, so that salt and slowness would add nothing. */
  readonly hash: Uint8Array;
  /** Null: all routes. */
  readonly routes: ReadonlySet<string> | null;
  readonly limits: KeyLimits;
  /** An operator's: it sees what goes on in the gateway. */
  readonly admin?: boolean;
  /** Its requests may name their users in headers: in the usual ones, or in these. */
  readonly userHeaders?: boolean | readonly string[];
  /** Milliseconds since 1970, from which on it is no key any more; absent: never. */
  readonly expires?: number;
}

export interface KeyLimits {
  readonly requestsPerMinute?: number | undefined;
  /** Tokens that the machine works through: prompts that are not in the cache, samples, scorings. */
  readonly tokensPerMinute?: number | undefined;
  /** Requests that may be under way at once. */
  readonly parallel?: number | undefined;
}

/** Counts what each key uses. */
export interface RateLimiter {
  /** Counts one request. Returns headers, OpenAI's, that say what is left; throws "rate_limited". */
  admit(caller: NonNullable<Caller>): Promise<Record<string, string>>;
  /**
   * Counts the tokens that a request may take, before it takes them, and that it is under way. Throws "rate_limited"
   * where they do not fit what is left of the minute, or as many requests are under way as may be, "invalid_request"
   * where they could never fit. `tokens` is asked only where there is a limit. Background work, which the caller did
   * not ask for, is no request under way.
   */
  reserve(caller: Caller, tokens: () => Promise<number>, isBackground?: boolean): Promise<Reservation>;
}

export interface Reservation {
  /** Those that are counted; infinite where there is no limit. */
  readonly tokens: number;
  /** Counts more, of a request that is under way: so many, or as many as are left of the minute. Returns how many. */
  extend(tokens: number): Promise<number>;
  /**
   * The request is over: what it has taken counts, not what it might have. What is over the limit counts against the
   * next ones. Once.
   */
  settle(tokens: number): Promise<void>;
}

/** Who sent a request; null where there are no keys. */
export type Caller = Pick<ApiKey, "name" | "hash" | "routes" | "limits" | "admin" | "userHeaders"> | null;

export interface AccessDependencies {
  /**
   * Those that count now. Null: there are none, and everybody may use everything. An empty list: nobody may use
   * anything.
   */
  readonly keys: () => readonly ApiKey[] | null;
  /** Nobody can come but from this machine: without keys, whoever comes is who runs the gateway. */
  readonly isLocal: boolean;
  readonly limiter: RateLimiter;
}

/** Keys expire. */
type Clocked = Pick<AccessDependencies, "keys" | "isLocal"> & { readonly unixTime: () => number };

declare module "hono" {
  interface ContextVariableMap {
    caller: Caller;
    /** May see what goes on inside. Absent where nobody has been identified. */
    isAdmin: boolean;
  }
}

/** Lets requests through that bring a key, and remembers whose it is. Throws "invalid_api_key". */
export function authenticate(dependencies: Clocked): MiddlewareHandler {
  return async (c, next) => {
    admit(c, await identify(dependencies.keys(), authorizationOf(c), dependencies.unixTime()), dependencies);
    await next();
  };
}

/** Remembers whose request it is. */
export function admit(c: Context, caller: Caller, dependencies: Pick<AccessDependencies, "isLocal">): void {
  c.set("caller", caller);
  c.set("isAdmin", isAdmin(caller, dependencies));
  if (caller !== null) c.get("observer").note({ key: caller.name });
}

function isAdmin(caller: Caller, { isLocal }: Pick<AccessDependencies, "isLocal">): boolean {
  return caller === null ? isLocal : caller.admin === true;
}

/** Lets only who runs the gateway through. Throws "forbidden". */
export function onlyAdmins(): MiddlewareHandler {
  return async (c, next) => {
    if (c.get("isAdmin") !== true)
      throw new GatewayError(
        "forbidden",
        "Only a key with `admin: true` may see this. Without keys, only a gateway on loopback shows it.",
      );
    await next();
  };
}

/** Counts a request against its key's limits. Throws "rate_limited" where they are reached. */
export function limitRate({ limiter }: AccessDependencies): MiddlewareHandler {
  return async (c, next) => {
    const caller = c.get("caller");
    if (caller !== null) for (const [name, value] of Object.entries(await limiter.admit(caller))) c.header(name, value);
    await next();
  };
}

/** Whether a caller may know of a route. */
export function mayUse(caller: Caller, route: string): boolean {
  return caller === null || caller.routes === null || caller.routes.has(route);
}

/** Whether what only an operator should see may be shown to who sends a request. */
export async function isTrusted(c: Context, dependencies: Clocked): Promise<boolean> {
  return identify(dependencies.keys(), authorizationOf(c), dependencies.unixTime()).then(
    (caller) => isAdmin(caller, dependencies),
    () => false,
  );
}

/** Anthropic's clients send the key in a header of its own. Where there are two keys, the bearer's counts. */
function authorizationOf(c: Context): string | undefined {
  const [authorization, key] = [c.req.header("authorization"), c.req.header("x-api-key")];
  return key === undefined || /^Bearer /iu.test(authorization ?? "") ? authorization : `Bearer ${key}`;
}

/** Who a header names. `unixTime`: seconds since 1970. Throws "invalid_api_key". */
export async function identify(
  keys: readonly ApiKey[] | null,
  authorization: string | undefined,
  unixTime: number,
): Promise<Caller> {
  if (keys === null) return null;
  const [, given] = /^Bearer +(\S+) *$/iu.exec(authorization ?? "") ?? [];
  if (given === undefined)
    throw new GatewayError(
      "invalid_api_key",
      "You didn't provide an API key. Send it as a header, Authorization: Bearer YOUR_KEY.",
    );
  const key = findKey(keys, await hashKey(given));
  if (key === undefined) throw new GatewayError("invalid_api_key", "Incorrect API key provided.");
  if (key.expires !== undefined && key.expires <= unixTime * 1000)
    throw new GatewayError(
      "invalid_api_key",
      `The API key expired on ${new Date(key.expires).toISOString()}. Ask for another one.`,
    );
  return key;
}

export async function hashKey(key: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key)));
}

/** Compares with every key, and every byte of it, so that the time it takes tells nothing. */
export function findKey(keys: readonly ApiKey[], hash: Uint8Array): ApiKey | undefined {
  let found: ApiKey | undefined;
  for (const key of keys) {
    let difference = key.hash.length ^ hash.length;
    for (let i = 0; i < hash.length; i++) difference |= (key.hash[i] ?? 0) ^ (hash[i] as number);
    if (difference === 0) found = key;
  }
  return found;
}
