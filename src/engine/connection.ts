/** @module One call's connection to a server: closed when the caller's signal fires, or when nothing has come for too long. */
import { createParser } from "eventsource-parser";
import { cancelled, GatewayError } from "../types/error.ts";
import { LinkedSignal } from "../types/linked-signal.ts";
import type { FetchAnswer } from "./engines.ts";

export interface ConnectionOptions {
  /** The server, for people. */
  readonly name: string;
  /** A server that sends nothing for so long is taken for dead, */
  readonly timeoutMs: number;
  /** unless it says that it is well: then it may be busy with others. Never throws. */
  readonly isWell?: (() => Promise<boolean>) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #link: LinkedSignal;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isSilent = false;
  #isOver = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#link = new LinkedSignal([options.signal]);
    this.heard();
  }

  /** For `fetch`. */
  get signal(): AbortSignal {
    return this.#link.signal;
  }

  /** Something has come: the time begins anew. */
  heard(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#doubt(), this.#options.timeoutMs);
  }

  async #doubt(): Promise<void> {
    const timer = this.#timer;
    const isWell = (await this.#options.isWell?.()) ?? false;
    // Something has come meanwhile, or all is over.
    if (this.#timer !== timer) return;
    if (isWell) return this.heard();
    this.#isSilent = true;
    this.#link.abort();
  }

  async text(response: FetchAnswer): Promise<string> {
    let text = "";
    for await (const piece of this.#pieces(response)) text += piece;
    return text;
  }

  /** The data of each server-sent event. */
  async *events(response: FetchAnswer): AsyncGenerator<string> {
    const events: string[] = [];
    const parser = createParser({ onEvent: ({ data }) => events.push(data) });
    for await (const piece of this.#pieces(response)) {
      parser.feed(piece);
      yield* events.splice(0);
    }
  }

  /** What an error on this connection means; a `GatewayError` says it itself. */
  explain(error: unknown): GatewayError {
    const { name, timeoutMs, signal } = this.#options;
    if (signal?.aborted) return cancelled(signal);
    if (error instanceof GatewayError) return error;
    const what = this.#isSilent ? `has sent nothing for ${timeoutMs} ms` : `cannot be reached: ${reasonOf(error)}`;
    return new GatewayError("engine_unavailable", `The server at ${name} ${what}. Check that it runs and that its URL is right.`, {
      cause: error,
    });
  }

  /** Hangs up, unless all has been read: then the connection can be used again. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#link.release();
    if (!this.#isOver) this.#link.abort();
  }

  async *#pieces({ body }: FetchAnswer): AsyncGenerator<string> {
    const decoder = new TextDecoder();
    for await (const bytes of body ?? []) {
      this.heard();
      yield decoder.decode(bytes, { stream: true });
    }
    this.#isOver = true;
  }
}

/** `fetch` says "fetch failed"; why stands in its cause. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  if (!(cause instanceof Error)) return String(cause);
  return cause.message || ("code" in cause ? String(cause.code) : cause.name);
}
