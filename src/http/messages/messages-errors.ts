/** @module Errors as Anthropic's API words them, and the header in which its clients look for a request's id. */
import type { MiddlewareHandler } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { renderError } from "../../gateway/errors.ts";
import { type ErrorCode, GatewayError } from "../../types/error.ts";

/** Where Anthropic has a status of its own. */
const statuses: Partial<Readonly<Record<ErrorCode, number>>> = { overloaded: 529, timeout: 504 };

const types: Readonly<Record<number, string>> = {
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  504: "timeout_error",
  529: "overloaded_error",
};

/** As `renderError` words it; `requestId` stands in the body as well. */
export function renderMessagesError(error: unknown, isAdmin: boolean | undefined, requestId: string | null) {
  const { status: given, body } = renderError(error, isAdmin);
  const code = error instanceof GatewayError ? error.code : null;
  const status = (code && statuses[code]) ?? given;
  const type = types[status] ?? (status >= 500 ? "api_error" : "invalid_request_error");
  // Agents know by these words that they must shorten their conversation.
  const lead = code === "context_length_exceeded" ? "prompt is too long: " : "";
  return {
    status,
    body: { type: "error", error: { type, message: lead + body.error.message }, request_id: requestId },
  };
}

/** What goes wrong below it is told in Anthropic's words. */
export function inAnthropicsWords(): MiddlewareHandler {
  return async (c, next) => {
    await next();
    const id = c.res.headers.get("x-request-id");
    if (id !== null) c.header("request-id", id);
    if (c.error === undefined) return;
    const { status, body } = renderMessagesError(c.error, c.get("isAdmin"), id);
    c.res = c.json(body, status as ContentfulStatusCode);
  };
}
