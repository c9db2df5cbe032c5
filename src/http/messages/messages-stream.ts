/** @module Streamed messages: an answer's events in the words of Anthropic's Messages API. */
import type { GenerationEvent } from "../../gateway/generation.ts";
import { explained } from "../chat/chat-answer.ts";
import type { ServerSentEvent } from "../sse.ts";
import {
  begunMessage,
  ending,
  type MessagesCall,
  textBlock,
  thinkingBlock,
  toolUseBlock,
  usageOf,
} from "./messages-answer.ts";

export async function* messageEvents(
  call: MessagesCall,
  events: AsyncIterable<GenerationEvent>,
): AsyncGenerator<ServerSentEvent> {
  const blocks = new Blocks();
  for await (const event of events) {
    switch (event.type) {
      case "begin":
        yield named("message_start", { message: begunMessage(call, event.promptTokens) });
        break;
      case "thought":
        if (blocks.open !== "thinking") yield* blocks.begin(thinkingBlock(""));
        yield blocks.delta({ type: "thinking_delta", thinking: event.text });
        break;
      case "text":
        if (blocks.open !== "text") yield* blocks.begin(textBlock(""));
        yield blocks.delta({ type: "text_delta", text: event.text });
        break;
      case "call":
        yield* blocks.begin(toolUseBlock(event.id, event.name, {}));
        break;
      case "arguments":
        yield blocks.delta({ type: "input_json_delta", partial_json: event.text });
        break;
      case "finish":
        if (!blocks.hasSpoken) yield* blocks.begin(textBlock(""));
        yield* blocks.end();
        break;
      case "end": {
        const { generated } = event;
        const delta = { ...ending(call, generated), stop_details: null, container: null };
        yield named("message_delta", {
          delta,
          usage: usageOf(generated),
          ...explained(call.body, call.resolved, generated),
        });
        yield named("message_stop", {});
      }
    }
  }
}

export const ping = named("ping", {});

type Typed = Readonly<Record<string, unknown>> & { readonly type: string };

/** Numbers blocks; one is open at a time. */
class Blocks {
  #index = -1;
  /** The type of the block that is being written. */
  open: string | null = null;
  /** There was a block of another type than "thinking". */
  hasSpoken = false;

  *begin(block: Typed): Generator<ServerSentEvent> {
    yield* this.end();
    this.open = block.type;
    this.hasSpoken ||= block.type !== "thinking";
    this.#index += 1;
    yield named("content_block_start", { index: this.#index, content_block: block });
  }

  delta(delta: Typed): ServerSentEvent {
    return named("content_block_delta", { index: this.#index, delta });
  }

  *end(): Generator<ServerSentEvent> {
    if (this.open !== null) yield named("content_block_stop", { index: this.#index });
    this.open = null;
  }
}

function named(type: string, fields: Readonly<Record<string, unknown>>): ServerSentEvent {
  return { event: type, data: { type, ...fields } };
}
