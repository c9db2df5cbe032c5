/** @module Errors as OpenAI's API words them. The one place where a `GatewayError` becomes JSON. */
import { type ErrorCode, GatewayError, isMeant } from "../types/error.ts";

export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string | null;
  };
}

interface Rendering {
  readonly status: number;
  readonly type: string;
  readonly code: string | null;
}

const invalid = "invalid_request_error";
const renderings: Readonly<Record<ErrorCode, Rendering>> = {
  invalid_request: { status: 400, type: invalid, code: null },
  unsupported_parameter: { status: 400, type: invalid, code: "unsupported_parameter" },
  context_length_exceeded: { status: 400, type: invalid, code: "context_length_exceeded" },
  model_not_found: { status: 404, type: invalid, code: "model_not_found" },
  not_found: { status: 404, type: invalid, code: "unknown_url" },
  payload_too_large: { status: 413, type: invalid, code: "payload_too_large" },
  body_too_slow: { status: 408, type: invalid, code: "request_timeout" },
  out_of_room: { status: 503, type: "server_error", code: "out_of_room" },
  unsupported_media_type: { status: 415, type: invalid, code: "unsupported_media_type" },
  invalid_api_key: { status: 401, type: invalid, code: "invalid_api_key" },
  forbidden: { status: 403, type: invalid, code: "forbidden" },
  forbidden_host: { status: 403, type: invalid, code: "forbidden_host" },
  forbidden_origin: { status: 403, type: invalid, code: "forbidden_origin" },
  rate_limited: { status: 429, type: "requests", code: "rate_limit_exceeded" },
  overloaded: { status: 429, type: "requests", code: "rate_limit_exceeded" },
  cancelled: { status: 499, type: invalid, code: "request_cancelled" },
  shutting_down: { status: 503, type: "server_error", code: "shutting_down" },
  timeout: { status: 503, type: "server_error", code: "timeout" },
  engine_unavailable: { status: 503, type: "server_error", code: "engine_unavailable" },
  engine_failure: { status: 500, type: "server_error", code: "engine_failure" },
  configuration: { status: 500, type: "server_error", code: "configuration" },
  answer_not_found: { status: 404, type: invalid, code: "answer_not_found" },
  experiment_not_found: { status: 404, type: invalid, code: "experiment_not_found" },
  records_unavailable: { status: 503, type: "server_error", code: "records_unavailable" },
  model_unavailable: { status: 503, type: "server_error", code: "model_unavailable" },
};

const logSays = "The gateway's log says why.";

/**
 * What clients are told in place of messages that may name addresses, files, or what another server said. Those of
 * these codes always may; of the others, those that say so (`isInternal`).
 */
const alwaysInternal: { readonly [Code in ErrorCode]?: string } = {
  engine_unavailable: "The model cannot be reached now. Retry the request.",
  engine_failure: `The model failed to answer. ${logSays}`,
  configuration: `The gateway is not set up for this. ${logSays}`,
  model_unavailable: `A model that this needs cannot be had. ${logSays}`,
  records_unavailable: "Records cannot be had now. Retry later.",
};
const elseInternal: { readonly [Code in ErrorCode]?: string } = {
  overloaded: "The model is busy. Retry later.",
  context_length_exceeded:
    "The messages are longer than the model's context, or leave no room in it for a response. Shorten them.",
};
const refusedInside = "The model's server does not take this request.";

/** An address stands in no other message; should one come to, it is left out. */
const address = /\b[a-z][a-z\d+.-]*:\/\/[^\s"'<>)\]]+|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b/giu;

function messageFor(error: GatewayError, isAdmin: boolean): string {
  if (isAdmin || error.isPublic) return error.message;
  const general =
    alwaysInternal[error.code] ?? (error.isInternal ? (elseInternal[error.code] ?? refusedInside) : undefined);
  return general ?? error.message.replace(address, "[address]");
}

/**
 * What goes out for an error; one that nobody foresaw tells nobody of the inside, the others only who runs the gateway.
 */
export function renderError(
  error: unknown,
  isAdmin = false,
): { status: number; headers: Record<string, string>; body: ErrorBody } {
  if (!(error instanceof GatewayError)) {
    const message = "The gateway failed to answer; its log says why.";
    return {
      status: 500,
      headers: {},
      body: { error: { message, type: "server_error", param: null, code: "internal_error" } },
    };
  }
  const { status, type, code } = renderings[error.code];
  const retryAfter = error.retryAfter ?? (status === 503 ? 1 : null);
  const headers: Record<string, string> = {
    ...(retryAfter !== null && { "retry-after": String(retryAfter) }),
    // The connection ends, as the gateway does.
    ...(error.code === "shutting_down" && { connection: "close" }),
    ...(status === 401 && { "www-authenticate": "Bearer" }),
  };
  return { status, headers, body: { error: { message: messageFor(error, isAdmin), type, param: error.param, code } } };
}

/**
 * A failure as records keep it: the status that says what it was, also where another one had gone out, and OpenAI's
 * code.
 */
export interface Failure {
  readonly status: number;
  readonly error: string;
}

export function failureOf(error: unknown): Failure {
  const { status, body } = renderError(error);
  return { status, error: body.error.code ?? "invalid_request" };
}

/** Whether the fault is the gateway's own, so that its log should say more. */
export function isFault(error: unknown): boolean {
  if (error instanceof GatewayError && isMeant(error.code)) return false;
  return renderError(error).status >= 500;
}
