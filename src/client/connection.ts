/**
 * @module One call's connection to a server: closed when the caller's signal fires, when nothing has come for too long,
 * or when more comes than was asked for. Everything that is read from a network goes through here.
 */
import { createParser } from "eventsource-parser";
import { LinkedSignal } from "../async/linked-signal.ts";
import { parsedJson } from "../text/json.ts";
import { cancelled, GatewayError } from "../types/error.ts";
import type { AnswerSize } from "./answer-size.ts";
import type { FetchAnswer } from "./fetch.ts";
import { ServerError } from "./server-error.ts";

export interface ConnectionOptions {
  /** Who is called, for people: begins a sentence. */
  readonly name: string;
  /** A server that sends nothing for so long is taken for dead, */
  readonly timeoutMs: number;
  /** unless it says that it is well: then it may be busy with others. Never throws. */
  readonly isWell?: (() => Promise<boolean>) | undefined;
  /** All of the answer must have come within so long, however much of it comes meanwhile. */
  readonly wholeMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** As much of a response as is read here. */
export type Body = Pick<FetchAnswer, "body">;

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #link: LinkedSignal;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #whole: ReturnType<typeof setTimeout> | undefined;
  /** What the server did not do in time. */
  #omission = "";
  #isOver = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#link = new LinkedSignal([options.signal]);
    const { wholeMs } = options;
    if (wholeMs !== undefined)
      this.#whole = setTimeout(() => this.#giveUp(`has not sent all of its answer within ${wholeMs} ms`), wholeMs);
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
    this.#giveUp(`has sent nothing for ${this.#options.timeoutMs} ms`);
  }

  #giveUp(omission: string): void {
    this.#omission ||= omission;
    this.#link.abort();
  }

  /** Throws "engine_failure" where the answer has more bytes than `most`. */
  async text(response: Body, most: number): Promise<string> {
    let text = "";
    for await (const piece of this.#pieces(response, most)) text += piece;
    return text;
  }

  /** As many bytes as come of the first `most`, in the time that they have; never throws. */
  async beginning(response: Body, most: number): Promise<string> {
    let text = "";
    try {
      for await (const piece of this.#pieces(response, Number.POSITIVE_INFINITY)) {
        text += piece;
        if (text.length >= most) break;
      }
    } catch {
      // What came is enough.
    }
    return text.slice(0, most);
  }

  /**
   * The data of each server-sent event. Throws "engine_failure" where one event, or all of them, have more bytes than
   * `size` says. What stands whole at the very end is an event, too, without the empty line after it.
   */
  async *events(response: Body, { whole, event }: AnswerSize): AsyncGenerator<string> {
    const events: string[] = [];
    let waiting = 0;
    const parser = createParser({
      onEvent: ({ data }) => {
        events.push(data);
        waiting = 0;
      },
    });
    for await (const piece of this.#pieces(response, whole)) {
      waiting += piece.length;
      parser.feed(piece);
      // Not `yield*`, which waits for each of them once more.
      for (const data of events.splice(0)) yield data;
      if (waiting > event) throw tooLarge(this.#options.name, "a server-sent event", event);
    }
    parser.feed("\n\n");
    yield* events.filter((data) => data.trim() === "[DONE]" || parsedJson(data) !== undefined);
  }

  /** What an error on this connection means; a `GatewayError` says it itself. */
  explain(error: unknown): GatewayError {
    const { name, signal } = this.#options;
    if (signal?.aborted) return cancelled(signal);
    if (error instanceof GatewayError) return error;
    const { reason, isUnsent } = reasonOf(error);
    const what = this.#omission || `cannot be reached (${reason})`;
    const fate = this.#omission !== "" ? "silent" : isUnsent ? "unsent" : "broken";
    return new ServerError("engine_unavailable", `${name} ${what}. Check that it runs and that its URL is right.`, {
      cause: error,
      fate,
    });
  }

  /** Hangs up, unless all has been read: then the connection can be used again. */
  close(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#whole);
    this.#timer = undefined;
    this.#link.release();
    if (!this.#isOver) this.#link.abort();
  }

  async *#pieces({ body }: Body, most: number): AsyncGenerator<string> {
    const decoder = new TextDecoder();
    let bytes = 0;
    for await (const chunk of body ?? []) {
      this.heard();
      bytes += chunk.byteLength;
      if (bytes > most) throw tooLarge(this.#options.name, "an answer", most);
      yield decoder.decode(chunk, { stream: true });
    }
    this.#isOver = true;
    const rest = decoder.decode();
    if (rest !== "") yield rest;
  }
}

/** "engine_failure". */
export function tooLarge(name: string, what: string, most: number): GatewayError {
  const message = `${name} sent ${what} of more than ${most} bytes, which is more than what was asked of it can take. The connection was closed.`;
  return new GatewayError("engine_failure", message);
}

/** By which a call is known to have reached nobody. */
const unsentCodes: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ETIMEDOUT",
  "UND_ERR_CONNECT_TIMEOUT",
]);

/** The code of what happened: messages hold addresses. `fetch` says "fetch failed"; why stands in its cause. */
function reasonOf(error: unknown): { reason: string; isUnsent: boolean } {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const code = "code" in cause ? cause.code : undefined;
    if (typeof code === "string" && /^[A-Z][A-Z_]+$/u.test(code))
      return { reason: code, isUnsent: unsentCodes.has(code) };
  }
  return { reason: "the connection was lost", isUnsent: false };
}
