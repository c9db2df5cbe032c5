/** @module Whose words a request's are: what caches must not tell one tenant of another. */
import { sha256 } from "@noble/hashes/sha2.js";
import { utf8ToBytes } from "@noble/hashes/utils.js";
import type { Context } from "hono";
import type { Caller } from "../access/access.ts";
import { userOfHeaders } from "../access/user-headers.ts";
import { base64Url } from "../text/bytes.ts";
import type { AppDependencies } from "./dependencies.ts";

/** "key": a key is a tenant. "user": each user that a key's requests name is one. */
export type TenantUnit = "key" | "user";

/** What a request says of itself. */
export interface TenantFacts {
  /** Its `user` or `safety_identifier`; absent: whom its headers name. */
  readonly user?: string | null | undefined;
  /** It came to an experiment whose unit is the user. */
  readonly isUsers?: boolean;
}

/**
 * The tenant's opaque name, 43 characters; the same in every gateway that has the key, whose hash it takes to guess it.
 * Undefined: there is one tenant only.
 */
export function tenantOf(
  c: Context,
  dependencies: Pick<AppDependencies, "keys" | "tenantUnit" | "userHeaders">,
  { user: given, isUsers = false }: TenantFacts = {},
): string | undefined {
  const { keys, tenantUnit } = dependencies;
  const user = given || userOfHeaders(c, dependencies);
  const caller = c.get("caller");
  const key = caller !== null && !isAlone(keys, caller) ? caller.hash : null;
  const named = user && (isUsers || tenantUnit === "user") ? user : null;
  if (key === null && named === null) return undefined;
  const hash = sha256.create().update(key ?? new Uint8Array());
  return base64Url(hash.update(utf8ToBytes(`\0tenant\0${named ?? ""}`)).digest());
}

/** Of each gateway: who came first. */
const firstCallers = new WeakMap<AppDependencies["keys"], string>();

/** There is no other key, and there was none: what no tenant's name stands on is this one's. */
function isAlone(keys: AppDependencies["keys"], caller: NonNullable<Caller>): boolean {
  const first = firstCallers.get(keys) ?? caller.hash.join();
  firstCallers.set(keys, first);
  return keys()?.length === 1 && first === caller.hash.join();
}
