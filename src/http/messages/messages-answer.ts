/** @module Answers in the words of Anthropic's Messages API. */
import type { Answer, Generated } from "../../gateway/generation.ts";
import type { ResolvedRoute } from "../../gateway/route.ts";
import { isRecord, parsedJson } from "../../text/json.ts";
import { explained } from "../chat/chat-answer.ts";
import type { MessagesRequest } from "./messages-request.ts";

/** What all events of an answer have in common. */
export interface MessagesCall {
  readonly id: string;
  readonly body: MessagesRequest;
  readonly resolved: ResolvedRoute;
}

export function finishedMessage(call: MessagesCall, generated: Generated) {
  const { content, thought, toolCalls } = generated.answers[0] as Answer;
  const blocks = [
    ...(thought === null ? [] : [thinkingBlock(thought)]),
    ...(content || toolCalls.length === 0 ? [textBlock(content ?? "")] : []),
    ...toolCalls.map(({ id, name, arguments: text }) => toolUseBlock(id, name, inputOf(text))),
  ];
  return {
    ...message(call, blocks, usageOf(generated)),
    ...ending(call, generated),
    ...explained(call.body, call.resolved, generated),
  };
}

/** An answer that has begun. `promptTokens`: of C⁰, what is in a cache not being known yet. */
export function begunMessage(call: MessagesCall, promptTokens: number) {
  return message(call, [], usage({ promptTokens, completionTokens: 0 }, 0));
}

function message({ id, body }: MessagesCall, content: readonly unknown[], used: ReturnType<typeof usage>) {
  return {
    id,
    type: "message",
    role: "assistant",
    model: body.model,
    content,
    container: null,
    diagnostics: null,
    stop_details: null,
    stop_reason: null,
    stop_sequence: null,
    usage: { ...used, cache_creation: null, inference_geo: null, service_tier: "standard", speed: null },
  };
}

export function textBlock(text: string) {
  return { type: "text", text, citations: null };
}

/** Nobody but this model could tell whether it was its own: nothing is signed. */
export function thinkingBlock(thinking: string) {
  return { type: "thinking", thinking, signature: "" };
}

export function toolUseBlock(id: string, name: string, input: Readonly<Record<string, unknown>>) {
  return { type: "tool_use", id, name, input, caller: { type: "direct" } };
}

/** {} for a call that was cut off: half a file must not be taken for the whole. `stop_reason` says so. */
function inputOf(text: string): Readonly<Record<string, unknown>> {
  const input = parsedJson(text);
  return isRecord(input) ? input : {};
}

const reasons = { stop: "end_turn", length: "max_tokens", tool_calls: "tool_use" } as const;

/** Why the answer ends. A stop sequence is named where the engine tells which it was. */
export function ending({ body }: MessagesCall, { answers, outcome }: Generated) {
  const met = outcome.ranked[0]?.stopString;
  if (met !== undefined && body.stop_sequences?.includes(met))
    return { stop_reason: "stop_sequence", stop_sequence: met };
  return { stop_reason: reasons[answers[0]?.finish ?? "stop"], stop_sequence: null };
}

/**
 * Where C⁰ was all that was worked through, what was found of it in a cache is told; of other contexts it would mean
 * nothing to a client.
 */
export function usageOf({ usage: used, outcome: { tokens } }: Generated) {
  return usage(
    used,
    tokens.scored === 0 && tokens.prompt === used.promptTokens ? Math.min(tokens.cached, tokens.prompt) : 0,
  );
}

function usage({ promptTokens, completionTokens }: Generated["usage"], cached: number) {
  return {
    input_tokens: promptTokens - cached,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: cached,
    output_tokens: completionTokens,
    output_tokens_details: null,
    server_tool_use: null,
  };
}
