/** @module Streamed responses: answers' events in the words of OpenAI's Responses API. */
import type { TokenDetail } from "../../engine/engine.ts";
import type { ErrorBody } from "../../gateway/errors.ts";
import type { GenerationEvent } from "../../gateway/generation.ts";
import type { ServerSentEvent } from "../sse.ts";
import {
  callItem,
  finishedResponse,
  inputOf,
  isCustom,
  messageItem,
  newCallItemId,
  type ResponsesCall,
  reasoningItem,
  reasoningPart,
  renderLogprobs,
  responseObject,
  statusOf,
  textPart,
} from "./responses-answer.ts";

/** What is being written: a message, a thought, or a call. */
type Kind = "message" | "thought" | { readonly id: string; readonly name: string };

/** An item that is being written. */
interface OpenItem {
  readonly id: string;
  readonly index: number;
  readonly kind: Kind;
  text: string;
  readonly logprobs: TokenDetail[];
}

/** Numbers events, and remembers the items that they wrote. */
export class ResponseEvents {
  readonly #call: ResponsesCall;
  readonly #items: Record<string, unknown>[] = [];
  #open: OpenItem | undefined;
  #number = 0;

  constructor(call: ResponsesCall) {
    this.#call = call;
  }

  async *write(events: AsyncIterable<GenerationEvent>): AsyncGenerator<ServerSentEvent> {
    for await (const event of events) yield* this.#written(event);
  }

  /** What went wrong after the first byte. */
  fail({ error }: ErrorBody): ServerSentEvent[] {
    const { code, message, param } = error;
    const failed = {
      ...responseObject(this.#call, "failed", this.#items),
      error: { code: code ?? "server_error", message },
    };
    return [this.#event("error", { code, message, param }), this.#event("response.failed", { response: failed })];
  }

  *#written(event: GenerationEvent): Generator<ServerSentEvent> {
    switch (event.type) {
      case "begin": {
        const begun = responseObject(this.#call, "in_progress", []);
        yield this.#event("response.created", { response: begun });
        yield this.#event("response.in_progress", { response: begun });
        return;
      }
      case "thought":
      case "text": {
        const kind = event.type === "text" ? "message" : "thought";
        if (this.#open !== undefined && this.#open.kind !== kind) yield* this.#finish("completed");
        if (this.#open === undefined) yield* this.#begin(kind);
        yield* this.#extend(event.text, event.type === "text" ? (event.logprobs ?? []) : []);
        return;
      }
      case "call":
        yield* this.#finish("completed");
        yield* this.#begin({ id: event.id, name: event.name });
        return;
      case "arguments":
        yield* this.#extend(event.text, []);
        return;
      case "finish":
        if (this.#open?.kind === "thought") yield* this.#finish("completed");
        if (this.#open === undefined && !this.#hasSpoken) yield* this.#begin("message");
        yield* this.#finish(statusOf(event.answer));
        return;
      case "end": {
        const { generated } = event;
        const status = statusOf(generated.answers[0]);
        yield this.#event(`response.${status}`, { response: finishedResponse(this.#call, generated, this.#items) });
      }
    }
  }

  /** Something was said or called: a thought alone is no answer. */
  get #hasSpoken(): boolean {
    return this.#items.some(({ type }) => type !== "reasoning");
  }

  *#begin(kind: Kind): Generator<ServerSentEvent> {
    const item: OpenItem = {
      id: typeof kind === "string" ? this.#call.newId(prefixes[kind]) : newCallItemId(this.#call, kind.name),
      index: this.#items.length,
      kind,
      text: "",
      logprobs: [],
    };
    this.#open = item;
    const begun = this.#item(item, "in_progress");
    const empty = typeof kind === "string" ? { ...begun, content: [] } : begun;
    yield this.#event("response.output_item.added", { output_index: item.index, item: empty });
    if (typeof kind === "string")
      yield this.#event("response.content_part.added", { ...place(item), part: partOf({ ...item, text: "" }) });
  }

  *#extend(text: string, logprobs: readonly TokenDetail[]): Generator<ServerSentEvent> {
    const item = this.#open;
    if (item === undefined) return;
    item.text += text;
    item.logprobs.push(...logprobs);
    if (item.kind === "thought") yield this.#event("response.reasoning_text.delta", { ...place(item), delta: text });
    else if (item.kind === "message")
      yield this.#event("response.output_text.delta", {
        ...place(item),
        delta: text,
        logprobs: renderLogprobs(logprobs),
      });
    // A custom tool's text is known when its JSON has ended.
    else if (!isCustom(this.#call, item.kind.name))
      yield this.#event("response.function_call_arguments.delta", {
        item_id: item.id,
        output_index: item.index,
        delta: text,
      });
  }

  *#finish(status: "completed" | "incomplete"): Generator<ServerSentEvent> {
    const item = this.#open;
    if (item === undefined) return;
    this.#open = undefined;
    const whole = this.#item(item, status);
    this.#items.push(whole);
    if (typeof item.kind === "string") {
      const said = item.kind === "message" && { logprobs: renderLogprobs(item.logprobs) };
      yield this.#event(`response.${item.kind === "message" ? "output" : "reasoning"}_text.done`, {
        ...place(item),
        text: item.text,
        ...said,
      });
      yield this.#event("response.content_part.done", { ...place(item), part: partOf(item) });
    } else {
      const at = { item_id: item.id, output_index: item.index };
      if (isCustom(this.#call, item.kind.name)) {
        const input = inputOf(item.text);
        if (input !== "") yield this.#event("response.custom_tool_call_input.delta", { ...at, delta: input });
        yield this.#event("response.custom_tool_call_input.done", { ...at, input });
      } else
        yield this.#event("response.function_call_arguments.done", {
          ...at,
          name: callItem(this.#call, item.id, status, { ...item.kind, arguments: "" }).name,
          arguments: item.text,
        });
    }
    yield this.#event("response.output_item.done", { output_index: item.index, item: whole });
  }

  #item({ id, kind, text, logprobs }: OpenItem, status: "in_progress" | "completed" | "incomplete") {
    if (kind === "thought") return reasoningItem(id, status, text);
    return kind === "message"
      ? messageItem(id, status, text, logprobs)
      : callItem(this.#call, id, status, { ...kind, arguments: text });
  }

  #event(type: string, fields: Record<string, unknown>): ServerSentEvent {
    return { event: type, data: { type, sequence_number: this.#number++, ...fields } };
  }
}

const prefixes = { message: "msg_", thought: "rs_" } as const;

function partOf({ kind, text, logprobs }: OpenItem) {
  return kind === "thought" ? reasoningPart(text) : textPart(text, logprobs.length === 0 ? null : logprobs);
}

function place({ id, index }: OpenItem) {
  return { item_id: id, output_index: index, content_index: 0 };
}
