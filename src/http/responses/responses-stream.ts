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
  renderLogprobs,
  responseObject,
  statusOf,
  textPart,
} from "./responses-answer.ts";

/** An item that is being written. */
interface OpenItem {
  readonly id: string;
  readonly index: number;
  /** Null: a message. */
  readonly call: { readonly id: string; readonly name: string } | null;
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
      case "text": {
        if (this.#open?.call) yield* this.#finish("completed");
        if (this.#open === undefined) yield* this.#begin(null);
        yield* this.#extend(event.text, event.logprobs ?? []);
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
        if (this.#open === undefined && this.#items.length === 0) yield* this.#begin(null);
        yield* this.#finish(statusOf(event.answer));
        return;
      case "end": {
        const { generated } = event;
        const status = statusOf(generated.answers[0]);
        yield this.#event(`response.${status}`, { response: finishedResponse(this.#call, generated, this.#items) });
      }
    }
  }

  *#begin(call: OpenItem["call"]): Generator<ServerSentEvent> {
    const item: OpenItem = {
      id: call === null ? this.#call.newId("msg_") : newCallItemId(this.#call, call.name),
      index: this.#items.length,
      call,
      text: "",
      logprobs: [],
    };
    this.#open = item;
    const empty =
      call === null
        ? { ...messageItem(item.id, "in_progress", "", null), content: [] }
        : this.#item(item, "in_progress");
    yield this.#event("response.output_item.added", { output_index: item.index, item: empty });
    if (call === null) yield this.#event("response.content_part.added", { ...place(item), part: textPart("", null) });
  }

  *#extend(text: string, logprobs: readonly TokenDetail[]): Generator<ServerSentEvent> {
    const item = this.#open;
    if (item === undefined) return;
    item.text += text;
    item.logprobs.push(...logprobs);
    if (item.call === null)
      yield this.#event("response.output_text.delta", {
        ...place(item),
        delta: text,
        logprobs: renderLogprobs(logprobs),
      });
    // A custom tool's text is known when its JSON has ended.
    else if (!isCustom(this.#call, item.call.name))
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
    if (item.call === null) {
      yield this.#event("response.output_text.done", {
        ...place(item),
        text: item.text,
        logprobs: renderLogprobs(item.logprobs),
      });
      yield this.#event("response.content_part.done", { ...place(item), part: textPart(item.text, item.logprobs) });
    } else {
      const at = { item_id: item.id, output_index: item.index };
      if (isCustom(this.#call, item.call.name)) {
        const input = inputOf(item.text);
        if (input !== "") yield this.#event("response.custom_tool_call_input.delta", { ...at, delta: input });
        yield this.#event("response.custom_tool_call_input.done", { ...at, input });
      } else
        yield this.#event("response.function_call_arguments.done", {
          ...at,
          name: callItem(this.#call, item.id, status, { ...item.call, arguments: "" }).name,
          arguments: item.text,
        });
    }
    yield this.#event("response.output_item.done", { output_index: item.index, item: whole });
  }

  #item({ id, call, text, logprobs }: OpenItem, status: "in_progress" | "completed" | "incomplete") {
    return call === null
      ? messageItem(id, status, text, logprobs)
      : callItem(this.#call, id, status, { ...call, arguments: text });
  }

  #event(type: string, fields: Record<string, unknown>): ServerSentEvent {
    return { event: type, data: { type, sequence_number: this.#number++, ...fields } };
  }
}

function place({ id, index }: OpenItem) {
  return { item_id: id, output_index: index, content_index: 0 };
}
