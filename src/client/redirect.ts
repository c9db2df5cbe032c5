/**
 * @module Servers that send their callers on to another address: nobody follows, for whoever answers there would be
 * given prompts and keys.
 */
import { GatewayError } from "../types/error.ts";

const moved: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

export function isRedirect(status: number): boolean {
  return moved.has(status);
}

/** Its cause says where to, which is the operator's to know. */
export function redirected(url: string, location: string | null): GatewayError {
  const target = location !== null && URL.canParse(location, url) ? new URL(location, url).origin : "nowhere";
  const cause = new Error(`${new URL(url).origin} redirects to ${target}`);
  const message =
    "The server sends its callers on to another address, which is not followed. Use the address that answers itself.";
  return new GatewayError("engine_failure", message, { cause });
}

/** `fetch` that does not follow. Throws "engine_failure" where a server sends on. */
export async function fetchUnmoved(input: string | URL | Request, init?: RequestInit): Promise<Response> {
  const response = await fetch(input, { ...init, redirect: "manual" });
  if (!isRedirect(response.status)) return response;
  await response.body?.cancel();
  throw redirected(input instanceof Request ? input.url : String(input), response.headers.get("location"));
}
