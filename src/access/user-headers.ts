/**
 * @module Who asks, where a front end says so in a header: taken from a proxy that is trusted, and with keys that may
 * say so, from nobody else.
 */
import type { Context } from "hono";
import { GatewayError } from "../types/error.ts";

/** Open WebUI's, LiteLLM's, and what LibreChat and others are told to send. */
export const usualUserHeaders = [
  "x-openwebui-user-id",
  "x-litellm-end-user-id",
  "x-litellm-customer-id",
  "x-librechat-user-id",
  "helicone-user-id",
  "x-user-id",
];
const longestName = 1_024;

export interface UserHeaderSettings {
  /** In lower case; of several that a request has, the first one here counts. */
  readonly names: readonly string[];
  /** They come through a proxy that is trusted, whatever the key. */
  readonly areTrusted: boolean;
}

/** Undefined where no header names anybody who may be named so. Throws "invalid_request" for a name that is too long. */
export function userOfHeaders(
  c: Context,
  { userHeaders: { names, areTrusted } }: { readonly userHeaders: UserHeaderSettings },
): string | undefined {
  const own = c.get("caller")?.userHeaders ?? false;
  const taken = Array.isArray(own) ? own : own === true || areTrusted ? names : [];
  for (const name of taken) {
    const user = c.req.header(name)?.trim();
    if (!user) continue;
    if (user.length > longestName)
      throw new GatewayError(
        "invalid_request",
        `Invalid '${name}': a user's name has ${longestName} characters at most.`,
        { param: name },
      );
    return user;
  }
  return undefined;
}
