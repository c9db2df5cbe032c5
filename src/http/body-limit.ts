/** @module How large a body may be. Whoever has no key is refused before anything of it is read. */
import type { MiddlewareHandler } from "hono";
import { bodyLimit as countingLimit } from "hono/body-limit";
import { GatewayError } from "../types/error.ts";
import type { AppDependencies } from "./dependencies.ts";

/**
 * Throws "payload_too_large". Where the length is announced it is believed, for no more is read; the body need not be touched then, which takes
 * time. Where it is not, the body is read and counted here.
 */
export function bodyLimit({ maxBodyBytes: maxSize }: Pick<AppDependencies, "maxBodyBytes">): MiddlewareHandler {
  const count = countingLimit({ maxSize, onError: () => Promise.reject(tooLarge(maxSize)) });
  return async (c, next) => {
    const length = c.req.header("content-length");
    if (length === undefined || c.req.header("transfer-encoding") !== undefined) return count(c, next);
    if (!(Number(length) <= maxSize)) throw tooLarge(maxSize);
    await next();
  };
}

function tooLarge(bytes: number): GatewayError {
  return new GatewayError("payload_too_large", `The body is larger than ${bytes} bytes.`);
}
