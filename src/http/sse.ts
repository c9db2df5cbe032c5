/**
 * @module Server-sent events of an answer: its events in a protocol's words, comments while there is nothing to show,
 * and what went wrong.
 */
import type { Context } from "hono";
import type { AppDependencies } from "../gateway/dependencies.ts";
import { type ErrorBody, failureOf, renderError } from "../gateway/errors.ts";
import type { Reader } from "../gateway/work.ts";
import { GatewayError } from "../types/error.ts";

/** One event; `event` is its name, where the protocol names them. */
export interface ServerSentEvent {
  readonly event?: string;
  readonly data: unknown;
}

export interface StreamedAnswer<Event> {
  /** What happens; the first event opens the stream, what is thrown before is answered as any error. */
  readonly events: (reader: Reader) => AsyncIterable<Event>;
  /** The same in the protocol's words. */
  readonly write: (events: AsyncIterable<Event>) => AsyncIterable<ServerSentEvent>;
  /** What goes out when something goes wrong after the first byte. */
  readonly fail: (body: ErrorBody, error: unknown) => Iterable<ServerSentEvent>;
  /** Keeps the connection alive in a comment's place, where a protocol has an event for that. */
  readonly ping?: ServerSentEvent;
}

/** Resolves when the stream is open. Throws what is wrong with the request. */
export async function streamAnswer<Event>(
  c: Context,
  { pingMs, readerMs, report }: Pick<AppDependencies, "pingMs" | "readerMs" | "report">,
  { events, write, fail, ping }: StreamedAnswer<Event>,
): Promise<Response> {
  const reader = new StreamReader();
  let over = (_isRead: boolean): void => {};
  const reading = new Promise<boolean>((resolve) => {
    over = resolve;
  });
  const onOver = (isRead: boolean): void => {
    reader.release();
    over(isRead);
  };
  // Some runtimes cancel no stream whose reader has left, but say so here.
  c.req.raw.signal.addEventListener("abort", () => onOver(false), { once: true });
  const all = await begun(events(reader), reader);
  c.set("reading", reading);
  const text = new TextStream({ onLeave: () => reader.leave(), onOver, readerMs });
  void reader.hurried.then(() => text.hurry());
  const send = async (): Promise<void> => {
    const pings = startPings(text, pingMs, ping);
    try {
      for await (const event of write(all)) {
        text.write(lines(event));
        if (text.isFull) await text.emptied();
        if (text.isLeft) return;
      }
    } catch (error) {
      if (text.isLeft) return;
      c.get("observer").fail(failureOf(error));
      report(error);
      for (const event of fail(renderError(error, c.get("isAdmin")).body, error)) text.write(lines(event));
    } finally {
      clearInterval(pings);
      text.end();
    }
  };
  void send();
  return c.body(text.readable, 200, streamHeaders);
}

/** The last one is for proxies of nginx's kind, which would hold events back. */
const streamHeaders = {
  "content-type": "text/event-stream",
  "cache-control": "no-cache",
  "x-accel-buffering": "no",
} as const;

/** Who reads an answer: says when nobody does any more, and is told when no more is made. */
class StreamReader implements Reader {
  readonly #leaving = new AbortController();
  readonly left = this.#leaving.signal;
  readonly read: Promise<void>;
  /** Resolves when no more is made. */
  readonly hurried: Promise<void>;
  release = (): void => {};
  hurry = (): void => {};

  constructor() {
    this.read = new Promise((resolve) => {
      this.release = resolve;
    });
    this.hurried = new Promise((resolve) => {
      this.hurry = resolve;
    });
  }

  readonly leave = (reason?: GatewayError): void => this.#leaving.abort(reason);
}

/** Waits for the first event; returns it, and those after it. */
async function begun<Event>(events: AsyncIterable<Event>, reader: StreamReader): Promise<AsyncIterable<Event>> {
  const coming = events[Symbol.asyncIterator]();
  try {
    return resumed(await coming.next(), coming);
  } catch (error) {
    reader.release();
    throw error;
  }
}

/** What has come goes first. No generator: each event would wait in it once more. */
function resumed<Event>(first: IteratorResult<Event>, coming: AsyncIterator<Event>): AsyncIterable<Event> {
  let held: IteratorResult<Event> | undefined = first;
  const next = async (): Promise<IteratorResult<Event>> => {
    const given = held;
    held = undefined;
    return given ?? coming.next();
  };
  const leave = async (): Promise<IteratorResult<Event>> =>
    (await coming.return?.()) ?? { value: undefined, done: true };
  return { [Symbol.asyncIterator]: () => ({ next, return: leave }) };
}

function lines({ event, data }: ServerSentEvent): string {
  return `${event === undefined ? "" : `event: ${event}\n`}data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`;
}

/** A comment is a line: with an empty one behind it, strict parsers would see an event without data. */
const comment = ": ping\n";

/** Whenever nothing has been written for a while: comments, or a protocol's own event. */
function startPings(text: TextStream, pingMs: number, event: ServerSentEvent | undefined): NodeJS.Timeout {
  const ping = event === undefined ? comment : lines(event);
  return setInterval(() => {
    if (performance.now() - text.writtenAt >= pingMs) text.write(ping);
  }, pingMs);
}

/** After what is being done now, as soon as the runtime can. */
const soon: (act: () => void) => unknown = typeof setImmediate === "function" ? setImmediate : setTimeout;

/** Characters of a piece, at most: a slow reader shows that it reads at each. */
const pieceLength = 16_384;
/** Characters that wait for the reader before the writer waits as well. */
const enough = 4 * pieceLength;

interface TextStreamOptions {
  /** The reader has gone before the end, or has stopped reading. */
  readonly onLeave: () => void;
  /** Nothing waits for the reader any more: it has been handed all of it, or has left. */
  readonly onOver: (isRead: boolean) => void;
  /** So long may the reader take for one piece, and for all that waits when no more is made, in milliseconds. */
  readonly readerMs: number;
}

/**
 * Text for one reader, who is handed a piece when it asks for one: what it does not read waits here, and the writer
 * with it (`isFull`). What is written in one turn of the event loop goes out in one piece: each takes far longer than
 * its text.
 */
class TextStream {
  readonly readable: ReadableStream<Uint8Array>;
  readonly #options: TextStreamOptions;
  readonly #encoder = new TextEncoder();
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  /** When something was last written, in milliseconds. */
  writtenAt = performance.now();
  #waiting = "";
  #isAsked = false;
  #isScheduled = false;
  #isEnding = false;
  #isLeft = false;
  #onEmptied: (() => void) | undefined;
  #patience: ReturnType<typeof setTimeout> | undefined;
  #lastPatience: ReturnType<typeof setTimeout> | undefined;

  constructor(options: TextStreamOptions) {
    this.#options = options;
    const source = {
      start: (controller: ReadableStreamDefaultController<Uint8Array>) => {
        this.#controller = controller;
      },
      pull: () => {
        clearTimeout(this.#patience);
        this.#patience = undefined;
        this.#isAsked = true;
        this.#schedule();
      },
      cancel: () => this.#leave(),
    };
    this.readable = new ReadableStream(source, { highWaterMark: 0 });
  }

  /** The reader has gone before the end, or has stopped reading. */
  get isLeft(): boolean {
    return this.#isLeft;
  }

  /** So much waits for the reader that the writer should, too. */
  get isFull(): boolean {
    return this.#waiting.length >= enough && !this.#isLeft;
  }

  /** Resolves when it is no longer full, or the reader has left. */
  emptied(): Promise<void> {
    return new Promise((resolve) => {
      this.#onEmptied = resolve;
    });
  }

  write(text: string): void {
    if (this.#isLeft) return;
    this.writtenAt = performance.now();
    this.#waiting += text;
    this.#schedule();
  }

  /**
   * No more is made: what waits is read within `readerMs`, or not at all. The place that it takes is somebody else's.
   */
  hurry(): void {
    if (this.#controller !== undefined) this.#lastPatience ??= setTimeout(() => this.#giveUp(), this.#options.readerMs);
  }

  /** Ends the stream once all of it has been read. */
  end(): void {
    this.#isEnding = true;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isLeft) return;
    this.#isScheduled = true;
    soon(() => {
      this.#isScheduled = false;
      this.#handOver();
    });
  }

  #handOver(): void {
    const controller = this.#controller;
    if (controller === undefined) return;
    if (this.#waiting !== "" && this.#isAsked) {
      this.#isAsked = false;
      // A character of two halves stays whole.
      const cut =
        this.#waiting.length > pieceLength && /[\uD800-\uDBFF]/u.test(this.#waiting[pieceLength - 1] as string) ? 1 : 0;
      const piece = this.#waiting.slice(0, pieceLength - cut);
      this.#waiting = this.#waiting.slice(piece.length);
      controller.enqueue(this.#encoder.encode(piece));
      if (!this.isFull) this.#tellEmptied();
    }
    if (this.#waiting !== "") this.#patience ??= setTimeout(() => this.#giveUp(), this.#options.readerMs);
    else if (this.#isEnding) {
      this.#controller = undefined;
      controller.close();
      this.#over(true);
    }
  }

  #giveUp(): void {
    this.#controller?.error(new GatewayError("cancelled", "The client has stopped reading."));
    this.#leave();
  }

  #leave(): void {
    this.#isLeft = true;
    this.#controller = undefined;
    this.#waiting = "";
    this.#tellEmptied();
    this.#options.onLeave();
    this.#over(false);
  }

  #over(isRead: boolean): void {
    clearTimeout(this.#patience);
    clearTimeout(this.#lastPatience);
    this.#options.onOver(isRead);
  }

  #tellEmptied(): void {
    this.#onEmptied?.();
    this.#onEmptied = undefined;
  }
}
