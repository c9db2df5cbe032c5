/**
 * @module Calls to the engine's process that are under way: sent under a number, and settled by the messages that come
 * under it.
 */
import type { ChildProcess } from "node:child_process";
import { EventQueue } from "../../async/event-queue.ts";
import { withResolvers } from "../../async/with-resolvers.ts";
import { cancelled, GatewayError } from "../../types/error.ts";
import type { SampleEvent, ScoreEvent, Token } from "../engine.ts";
import type { SentCall } from "../suspects.ts";
import type { Call, ChildMessage, ParentMessage, Result } from "./child-messages.ts";

export type Completions = Iterable<readonly Token[]> | AsyncIterable<readonly Token[]>;

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Takes what comes before the result. */
  readonly events?: EventQueue<SampleEvent | ScoreEvent> | undefined;
  /** Of a call to score. */
  readonly completions?: Completions | undefined;
  /** Undefined: the gateway's own call, which nobody asked for. */
  readonly sent?: SentCall | undefined;
}

interface Pending {
  readonly type: Call["type"];
  readonly sent: SentCall | undefined;
  readonly events: EventQueue<SampleEvent | ScoreEvent>;
  /** What the process has steps to do for: samples, a prompt and completions to score, or a reward. */
  due: number;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: GatewayError) => void;
}

export class ProcessDied extends GatewayError {
  constructor(cause?: unknown) {
    super("engine_unavailable", "The engine's process ended; it is being started again. Retry the request.", { cause });
  }
}

export class ProcessCalls {
  readonly #child: ChildProcess;
  readonly #onWork: (isAtWork: boolean) => void;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  /** Its exit may be seen before the end of its channel: what is sent then is lost without a word. */
  #hasEnded = false;
  /** Whose calls the process has answered. */
  readonly #answered = new WeakSet<object>();

  /** `onWork`: whether it has steps to do. */
  constructor(child: ChildProcess, onWork: (isAtWork: boolean) => void) {
    this.#child = child;
    this.#onWork = onWork;
    child.on("message", (message: ChildMessage) => this.#receive(message));
  }

  /** Those that somebody asked for. */
  get sent(): SentCall[] {
    return [...this.#pending.values()].flatMap(({ sent }) => sent ?? []);
  }

  /** Somebody who waits has had an answer of this process, to this call or to one before. */
  get hasAnswered(): boolean {
    return this.sent.some(({ hasBegun, owner }) => hasBegun || this.#answered.has(owner as object));
  }

  /**
   * Throws "engine_unavailable" where the process has ended or ends meanwhile, "cancelled" when the signal fires, and
   * what the process throws.
   */
  send(call: Call, { signal, events = new EventQueue(), completions = [], sent }: CallOptions = {}): Promise<Result> {
    if (this.#isGone) return Promise.reject(new ProcessDied());
    if (signal?.aborted) return Promise.reject(cancelled(signal));
    const id = this.#nextId++;
    const { promise, resolve, reject } = withResolvers<Result>();
    const pending: Pending = { type: call.type, sent, events, resolve, reject, due: 0 };
    const post = (message: ParentMessage): void => this.#post(message, reject);
    const abort = (): void => {
      if (!this.#isGone) post({ id, abort: true });
      if (signal !== undefined) reject(cancelled(signal));
    };
    this.#pending.set(id, pending);
    if (call.type === "sample" || call.type === "score" || call.type === "reward") this.#addDue(pending, 1);
    signal?.addEventListener("abort", abort, { once: true });
    post({ id, call });
    if (call.type === "score") this.#passOn(id, pending, completions, post).catch(reject);
    return promise.finally(() => {
      this.#pending.delete(id);
      this.#tellWork();
      signal?.removeEventListener("abort", abort);
    });
  }

  /** The process has ended. */
  failAll(errorOf: (sent: SentCall | undefined) => GatewayError): void {
    this.#hasEnded = true;
    for (const { sent, reject } of this.#pending.values()) reject(errorOf(sent));
    this.#pending.clear();
  }

  get #isGone(): boolean {
    return this.#hasEnded || !this.#child.connected;
  }

  #post(message: ParentMessage, reject: (error: GatewayError) => void): void {
    if (this.#isGone) reject(new ProcessDied());
    else
      this.#child.send(message, (error) => {
        if (error !== null) reject(new ProcessDied(error));
      });
  }

  async #passOn(
    id: number,
    pending: Pending,
    completions: Completions,
    post: (message: ParentMessage) => void,
  ): Promise<void> {
    for await (const completion of completions) {
      this.#addDue(pending, 1);
      post({ id, completion });
    }
    post({ id, completion: null });
  }

  #addDue(pending: Pending, count: number): void {
    pending.due += count;
    this.#tellWork();
  }

  /** A process that has nothing to do, or waits for completions to score, leaves the cores to the others. */
  #tellWork(): void {
    this.#onWork([...this.#pending.values()].some(({ due }) => due > 0));
  }

  #receive(message: ChildMessage): void {
    const pending = this.#pending.get(message.id);
    if (pending === undefined) return;
    if (pending.sent !== undefined) this.#hear(pending.sent, message);
    if ("result" in message) pending.resolve(message.result);
    else if ("error" in message) {
      const { code, message: text, param } = message.error;
      pending.reject(new GatewayError(code, text, param === null ? {} : { param }));
    } else {
      if ("logprobs" in message || ("cached" in message && pending.type === "score")) this.#addDue(pending, -1);
      pending.events.push(eventOf(message));
    }
  }

  #hear(sent: SentCall, message: ChildMessage): void {
    if (!("fed" in message)) sent.hasBegun = true;
    this.#answered.add(sent.owner as object);
  }
}

function eventOf(message: Exclude<ChildMessage, { result: Result } | { error: unknown }>): SampleEvent | ScoreEvent {
  if ("fed" in message) return { type: "prefill", fed: message.fed };
  if ("cached" in message) return { type: "prompt", cached: message.cached };
  if ("logprobs" in message)
    return { type: "scored", index: message.index, logprobs: message.logprobs, details: message.details };
  if ("sample" in message) return { type: "done", index: message.index, sample: message.sample };
  const { index, text, tokens, details } = message;
  return { type: "text", index, text, tokens, details };
}
