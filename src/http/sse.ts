/** @module Server-sent events of an answer: its events in a protocol's words, comments while there is nothing to show, and what went wrong. */
import type { Context } from "hono";
import type { AppDependencies } from "./dependencies.ts";
import { type ErrorBody, renderError } from "./errors.ts";
import type { GenerationStream } from "./generate.ts";

/** One event; `event` is its name, where the protocol names them. */
export interface ServerSentEvent {
  readonly event?: string;
  readonly data: unknown;
}

/** `write` yields the protocol's events; `fail` is what goes out when something goes wrong after the first byte. */
export function streamAnswer(
  c: Context,
  { pingMs, report }: AppDependencies,
  stream: Pick<GenerationStream, "choosing" | "leave">,
  write: () => AsyncIterable<ServerSentEvent>,
  fail: (error: ErrorBody) => Iterable<ServerSentEvent>,
): Response {
  const text = new TextStream(() => stream.leave());
  const send = async (): Promise<void> => {
    const pings = stream.choosing ? startPings(text, pingMs) : undefined;
    try {
      for await (const event of write()) text.write(lines(event));
    } catch (error) {
      if (text.isLeft) return;
      report(error);
      for (const event of fail(renderError(error).body)) text.write(lines(event));
    } finally {
      clearInterval(pings);
      text.close();
    }
  };
  void send();
  return c.body(text.readable, 200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
}

function lines({ event, data }: ServerSentEvent): string {
  return `${event === undefined ? "" : `event: ${event}\n`}data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`;
}

function startPings(text: TextStream, pingMs: number): NodeJS.Timeout {
  const ping = (): void => text.write(": ping\n\n");
  ping();
  return setInterval(ping, pingMs);
}

/** After what is being done now, as soon as the runtime can. */
const soon: (act: () => void) => unknown = typeof setImmediate === "function" ? setImmediate : setTimeout;

/** Text for one reader. What is written in one turn of the event loop goes out in one piece: each piece takes far longer than its text. */
class TextStream {
  readonly readable: ReadableStream<Uint8Array>;
  readonly #encoder = new TextEncoder();
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  #waiting = "";
  #isLeft = false;

  constructor(onLeave: () => void) {
    this.readable = new ReadableStream({
      start: (controller) => {
        this.#controller = controller;
      },
      cancel: () => {
        this.#isLeft = true;
        this.#controller = undefined;
        onLeave();
      },
    });
  }

  /** The reader has gone before the end. */
  get isLeft(): boolean {
    return this.#isLeft;
  }

  write(text: string): void {
    if (this.#waiting === "") soon(() => this.#flush());
    this.#waiting += text;
  }

  close(): void {
    this.#flush();
    this.#controller?.close();
    this.#controller = undefined;
  }

  #flush(): void {
    if (this.#waiting !== "") this.#controller?.enqueue(this.#encoder.encode(this.#waiting));
    this.#waiting = "";
  }
}
