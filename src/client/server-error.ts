/**
 * @module What went wrong with a server. What the server itself says of it may hold a prompt, so it stands in no
 * message.
 */
import { type ErrorCode, type ErrorDetails, GatewayError } from "../types/error.ts";

/**
 * What became of a call: the server was not reached; it answered that it will not, or not now; that it failed; it
 * ended, or hung up, before all of the answer had come; it fell silent.
 */
export type Fate = "unsent" | "refused" | "failed" | "broken" | "silent";

export interface ServerErrorDetails extends ErrorDetails {
  readonly fate: Fate;
  /** The server's own. */
  readonly words?: string;
}

export class ServerError extends GatewayError {
  readonly #details: ServerErrorDetails;

  constructor(code: ErrorCode, message: string, details: ServerErrorDetails) {
    super(code, message, details);
    this.#details = details;
  }

  get fate(): Fate {
    return this.#details.fate;
  }

  /** Whether the server's words hold these. */
  says(words: string): boolean {
    return this.#details.words?.includes(words) ?? false;
  }

  /** The same error, said to be final: the caller's own retry would multiply with those made here. */
  final(): ServerError {
    return new ServerError(this.code, this.message, { ...this.#details, isFinal: true });
  }
}
