/** @module The one error class of the gateway; `gateway/errors.ts` turns it into OpenAI's JSON. */

export type ErrorCode =
  | "invalid_request"
  | "unsupported_parameter"
  | "context_length_exceeded"
  | "model_not_found"
  | "not_found"
  | "payload_too_large"
  | "body_too_slow"
  | "out_of_room"
  | "unsupported_media_type"
  | "overloaded"
  | "shutting_down"
  | "rate_limited"
  | "invalid_api_key"
  | "forbidden"
  | "forbidden_host"
  | "forbidden_origin"
  | "cancelled"
  | "timeout"
  | "engine_unavailable"
  | "engine_failure"
  | "configuration"
  | "model_unavailable"
  | "answer_not_found"
  | "experiment_not_found"
  | "records_unavailable";

export interface ErrorDetails {
  /** The request's field that is at fault, as a path (`messages.0.content`). */
  readonly param?: string;
  readonly cause?: unknown;
  /** Seconds after which it is worth trying again. */
  readonly retryAfter?: number;
  /** What failed has been tried again already, as often as is right: nobody further up should. */
  readonly isFinal?: boolean;
  /**
   * The message tells of the inside, as a server's words do: it is for who runs the gateway, and clients get other
   * words.
   */
  readonly isInternal?: boolean;
  /** The message tells nothing of the inside, whatever others of its code do: clients get it as it is. */
  readonly isPublic?: boolean;
}

/** An error whose message is meant for the person who can do something about it. */
export class GatewayError extends Error {
  readonly code: ErrorCode;
  readonly param: string | null;
  readonly retryAfter: number | null;
  readonly isFinal: boolean;
  readonly isInternal: boolean;
  readonly isPublic: boolean;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "GatewayError";
    this.code = code;
    this.param = details.param ?? null;
    this.retryAfter = details.retryAfter ?? null;
    this.isFinal = details.isFinal ?? false;
    this.isInternal = details.isInternal ?? false;
    this.isPublic = details.isPublic ?? false;
  }
}

/** What a fired signal means: a deadline ("timeout"), or somebody who left ("cancelled"). */
export function cancelled(signal: AbortSignal): GatewayError {
  const { reason } = signal;
  if (reason instanceof GatewayError) return reason;
  if (reason instanceof Error && reason.name === "TimeoutError")
    return new GatewayError("timeout", "The request took longer than the gateway allows.", { cause: reason });
  return new GatewayError("cancelled", "The request was cancelled.", { cause: reason });
}

/** What is thrown need not be an error. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Whether an error says no more than that a signal fired. */
export function isCancellation(error: unknown): boolean {
  return error instanceof GatewayError && (error.code === "cancelled" || error.code === "timeout");
}

/** Whether the gateway means to refuse with this 5xx: when it has no room, and when it ends. */
export function isMeant(code: string | undefined): boolean {
  return code === "out_of_room" || code === "shutting_down";
}
