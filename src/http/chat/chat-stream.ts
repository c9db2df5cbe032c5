/** @module Streamed chat completions: answers' events as chunks. */
import type { Context } from "hono";
import type { TokenDetail } from "../../engine/engine.ts";
import type { AppDependencies } from "../../gateway/dependencies.ts";
import { generate } from "../../gateway/generate.ts";
import type { AnswerEvent, Generation, GenerationEvent, ReasoningWord } from "../../gateway/generation.ts";
import { thoughtFields } from "../reasoning-fields.ts";
import { type ServerSentEvent, streamAnswer } from "../sse.ts";
import { type ChatCall, explained, fingerprint, finishReason, renderLogprobs, renderUsage } from "./chat-answer.ts";
import type { ChatRequest } from "./chat-request.ts";
import { speaksOfFunctions } from "./legacy-functions.ts";

export function streamChatCompletion(
  c: Context,
  dependencies: AppDependencies,
  call: ChatCall,
  generation: Generation,
): Promise<Response> {
  return streamAnswer<GenerationEvent>(c, dependencies, {
    events: (reader) => generate(c, dependencies, call.resolved, generation, call.id, reader),
    write: (events) => chatEvents(call, events),
    fail: (error) => [{ data: error }],
  });
}

async function* chatEvents(call: ChatCall, events: AsyncIterable<GenerationEvent>): AsyncGenerator<ServerSentEvent> {
  const { body, resolved } = call;
  const chunk = chunkWriter(call);
  const isLegacy = speaksOfFunctions(body);
  /** The last choice's end waits for what explains it. */
  let last: ChoiceChunk | undefined;
  for await (const event of events) {
    if (event.type === "begin") {
      // Who speaks is said at once: some clients show nothing, and some proxies pass nothing on, before a first chunk.
      for (let index = 0; index < (body.n ?? 1); index++) yield chunk(choice(body, { index, delta: opening }));
      continue;
    }
    if (event.type === "end") {
      if (last !== undefined) yield chunk({ ...choice(body, last), ...explained(body, resolved, event.generated) });
      if (body.stream_options?.include_usage) yield chunk({ choices: [], usage: renderUsage(event.generated) });
      continue;
    }
    const { index } = event;
    if (last !== undefined) yield chunk(choice(body, last));
    last = undefined;
    if (event.type === "finish") last = { index, delta: {}, finish: finishReason(call, event.answer) };
    else {
      const logprobs = event.type === "text" ? event.logprobs : null;
      yield chunk(choice(body, { index, delta: delta(event, isLegacy, call.reasoningWord), logprobs }));
    }
  }
  yield { data: "[DONE]" };
}

const opening = { role: "assistant", content: "", refusal: null } as const;

function delta(
  event: Exclude<AnswerEvent, { type: "finish" }>,
  isLegacy: boolean,
  word: ReasoningWord,
): Record<string, unknown> {
  switch (event.type) {
    case "thought":
      return thoughtFields(event.text, word);
    case "text":
      return { content: event.text };
    case "call":
      if (isLegacy) return { function_call: { name: event.name, arguments: "" } };
      return {
        tool_calls: [
          { index: event.call, id: event.id, type: "function", function: { name: event.name, arguments: "" } },
        ],
      };
    case "arguments":
      if (isLegacy) return { function_call: { arguments: event.text } };
      return { tool_calls: [{ index: event.call, function: { arguments: event.text } }] };
  }
}

interface ChoiceChunk {
  readonly index: number;
  readonly delta: Record<string, unknown>;
  readonly finish?: string;
  readonly logprobs?: readonly TokenDetail[] | null;
}

function choice(
  { stream_options: options }: ChatRequest,
  { index, delta, finish = "", logprobs = null }: ChoiceChunk,
): Record<string, unknown> {
  return {
    choices: [{ index, delta, logprobs: renderLogprobs(logprobs), finish_reason: finish || null }],
    ...(options?.include_usage && { usage: null }),
  };
}

/** What an answer's chunks have in common is made once. */
function chunkWriter({ id, created, body, resolved }: ChatCall): (fields: Record<string, unknown>) => ServerSentEvent {
  const common = {
    id,
    object: "chat.completion.chunk",
    created,
    model: body.model,
    system_fingerprint: fingerprint(resolved),
  };
  return (fields) => ({ data: { ...common, ...fields } });
}
