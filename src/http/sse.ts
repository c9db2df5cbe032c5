/** @module Server-sent events of an answer: its events in a protocol's words, comments while there is nothing to show, and what went wrong. */
import type { Context } from "hono";
import { type SSEStreamingApi, streamSSE } from "hono/streaming";
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
  return streamSSE(c, async (sse) => {
    sse.onAbort(() => stream.leave());
    const pings = stream.choosing ? startPings(sse, pingMs) : undefined;
    try {
      for await (const event of write()) await send(sse, event);
    } catch (error) {
      if (sse.aborted) return;
      report(error);
      for (const event of fail(renderError(error).body)) await send(sse, event);
    } finally {
      clearInterval(pings);
    }
  });
}

function send(sse: SSEStreamingApi, { event, data }: ServerSentEvent): Promise<void> {
  return sse.writeSSE({ data: typeof data === "string" ? data : JSON.stringify(data), ...(event !== undefined && { event }) });
}

function startPings(sse: SSEStreamingApi, pingMs: number): NodeJS.Timeout {
  const ping = (): void => void sse.write(": ping\n\n").catch(() => sse.abort());
  ping();
  return setInterval(ping, pingMs);
}
