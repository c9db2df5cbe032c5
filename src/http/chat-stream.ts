/** @module Streamed chat completions: plain policies as they decode; scored ones after the choice, with comments to keep the connection alive. */
import type { Context } from "hono";
import { type SSEStreamingApi, streamSSE } from "hono/streaming";
import { type IcdpoOutcome, icdpo } from "../icdpo/pipeline.ts";
import { EventQueue } from "../types/event-queue.ts";
import { answersOf, explained, fingerprint, usageOf } from "./chat-answer.ts";
import type { ChatCall } from "./chat-request.ts";
import type { AppDependencies } from "./dependencies.ts";
import { renderError } from "./errors.ts";
import { retrieveTiming } from "./headers.ts";

/** Everything wrong with the request is thrown before the first byte; later errors go out as an event. */
export async function streamChatCompletion(c: Context, dependencies: AppDependencies, call: ChatCall): Promise<Response> {
  const left = new AbortController();
  const signal = AbortSignal.any([left.signal, ...(call.request.signal === undefined ? [] : [call.request.signal])]);
  const pieces = new EventQueue<Piece>();
  const { done } = await new Promise<{ done: Promise<IcdpoOutcome> }>((resolve, reject) => {
    let sent = false;
    const sendText = (index: number, text: string): void => {
      sent = true;
      pieces.push({ index, text });
    };
    const onText = call.chooses ? undefined : sendText;
    const onSampling = (retrieveMs: number): void => {
      if (!c.finalized) c.header("server-timing", retrieveTiming(retrieveMs));
      resolve({ done });
    };
    const request = { ...call.request, signal, onText, onSampling };
    const done = dependencies.admission.run(
      () => icdpo(dependencies.engine, call.resolved.policy, request),
      () => sent,
    );
    done.then(
      () => pieces.end(),
      (error: unknown) => {
        pieces.fail(error);
        reject(error);
      },
    );
  });

  return streamSSE(c, async (stream) => {
    stream.onAbort(() => left.abort());
    try {
      await send(stream, call, pieces, done, dependencies.pingMs);
    } catch (error) {
      if (stream.aborted) return;
      dependencies.report(error);
      await stream.writeSSE({ data: JSON.stringify(renderError(error).body) });
    }
  });
}

/** Text of a choice as it is sampled. */
interface Piece {
  readonly index: number;
  readonly text: string;
}

async function send(
  stream: SSEStreamingApi,
  call: ChatCall,
  pieces: EventQueue<Piece>,
  done: Promise<IcdpoOutcome>,
  pingMs: number,
): Promise<void> {
  const chunks = new Chunks(stream, call);
  const pings = call.chooses ? startPings(stream, pingMs) : undefined;
  try {
    for await (const { index, text } of pieces) await chunks.text(index, text);
  } finally {
    clearInterval(pings);
  }
  const outcome = await done;
  const answers = answersOf(outcome, call.request.answers);
  // What was streamed as it was sampled keeps its place.
  const ordered = call.chooses ? answers : answers.toSorted((a, b) => a.index - b.index);
  for (const [index, answer] of ordered.entries()) {
    for (const piece of unsent(answer.text, chunks.sent(index))) await chunks.text(index, piece);
    await chunks.finish(index, answer.finish, index === ordered.length - 1 ? explained(call, outcome) : {});
  }
  if (call.body.stream_options?.include_usage) await chunks.usage(usageOf(outcome, answers));
  await stream.writeSSE({ data: "[DONE]" });
}

/** What of a text has not been streamed, in pieces of a few words. */
function unsent(text: string, sent: number): string[] {
  return text.slice(sent).match(/\s*(?:\S+\s*){1,4}|\s+/gu) ?? [];
}

function startPings(stream: SSEStreamingApi, pingMs: number): NodeJS.Timeout {
  const ping = (): void => void stream.write(": ping\n\n").catch(() => stream.abort());
  ping();
  return setInterval(ping, pingMs);
}

/** Writes chunks of one completion, and remembers what each choice has been sent. */
class Chunks {
  readonly #stream: SSEStreamingApi;
  readonly #call: ChatCall;
  readonly #sent = new Map<number, number>();

  constructor(stream: SSEStreamingApi, call: ChatCall) {
    this.#stream = stream;
    this.#call = call;
  }

  /** Characters of a choice that have gone out. */
  sent(index: number): number {
    return this.#sent.get(index) ?? 0;
  }

  async text(index: number, text: string): Promise<void> {
    await this.#open(index);
    this.#sent.set(index, this.sent(index) + text.length);
    await this.#choice(index, { content: text }, null);
  }

  async finish(index: number, reason: string, extra: Record<string, unknown>): Promise<void> {
    await this.#open(index);
    await this.#choice(index, {}, reason, extra);
  }

  async usage(usage: unknown): Promise<void> {
    await this.#write({ choices: [], usage });
  }

  /** The first chunk of a choice says who speaks. */
  async #open(index: number): Promise<void> {
    if (this.#sent.has(index)) return;
    this.#sent.set(index, 0);
    await this.#choice(index, { role: "assistant", content: "", refusal: null }, null);
  }

  #choice(index: number, delta: Record<string, unknown>, reason: string | null, extra: Record<string, unknown> = {}): Promise<void> {
    const usage = this.#call.body.stream_options?.include_usage ? { usage: null } : {};
    return this.#write({ choices: [{ index, delta, logprobs: null, finish_reason: reason }], ...usage, ...extra });
  }

  async #write(fields: Record<string, unknown>): Promise<void> {
    const { id, created, body } = this.#call;
    const chunk = {
      id,
      object: "chat.completion.chunk",
      created,
      model: body.model,
      system_fingerprint: fingerprint(this.#call),
      ...fields,
    };
    await this.#stream.writeSSE({ data: JSON.stringify(chunk) });
  }
}
