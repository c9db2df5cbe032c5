/** @module Answers in the words of OpenAI's Responses API. */
import type { TokenDetail } from "../../engine/engine.ts";
import type { Answer, Generated } from "../../gateway/generation.ts";
import type { ResolvedRoute } from "../../gateway/route.ts";
import { isRecord, parsedJson } from "../../text/json.ts";
import type { ToolCall } from "../../types/conversation.ts";
import { explained, finiteLogprob } from "../chat/chat-answer.ts";
import { toBound } from "../sampling-fields.ts";
import type { ResponsesRequest } from "./responses-request.ts";
import type { OfferedTool } from "./responses-tools.ts";

/** What all events of a response have in common. */
export interface ResponsesCall {
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  readonly body: ResponsesRequest;
  readonly resolved: ResolvedRoute;
  readonly newId: (prefix: string) => string;
  /** What the model may call, and what its client calls it. */
  readonly tools: readonly OfferedTool[];
}

export type ResponseStatus = "in_progress" | "completed" | "incomplete" | "failed";

/** The response as far as it has come. */
export function responseObject(
  call: ResponsesCall,
  status: ResponseStatus,
  output: readonly unknown[],
  generated?: Generated,
) {
  const { id, created, body, resolved } = call;
  const { sampling } = resolved.policy.settings;
  return {
    id,
    object: "response",
    created_at: created,
    status,
    background: false,
    error: null,
    incomplete_details: status === "incomplete" ? { reason: "max_output_tokens" } : null,
    instructions: body.instructions ?? null,
    max_output_tokens: toBound(body.max_output_tokens) ?? null,
    max_tool_calls: null,
    model: body.model,
    output,
    parallel_tool_calls: body.parallel_tool_calls ?? true,
    previous_response_id: null,
    reasoning: { effort: body.reasoning?.effort ?? null, summary: null },
    service_tier: "default",
    store: false,
    temperature: body.temperature ?? sampling.temperature,
    text: { format: body.text?.format ?? { type: "text" } },
    tool_choice: body.tool_choice ?? "auto",
    tools: (body.tools ?? []).map((tool) =>
      tool.type === "function" ? { description: null, parameters: null, strict: null, ...tool } : tool,
    ),
    top_logprobs: body.top_logprobs ?? 0,
    top_p: body.top_p ?? sampling.top_p,
    truncation: "disabled",
    ...(generated && { usage: renderUsage(generated) }),
    ...(body.user && { user: body.user }),
    metadata: body.metadata ?? {},
    ...(generated && explained(body, resolved, generated)),
  };
}

/** A finished response with its one answer. */
export function finishedResponse(call: ResponsesCall, generated: Generated, items: readonly unknown[]) {
  return responseObject(call, statusOf(generated.answers[0]), items, generated);
}

export function statusOf(answer: Answer | undefined): "completed" | "incomplete" {
  return answer?.finish === "length" ? "incomplete" : "completed";
}

/** The items of an answer: a message if there is text, and a call each. */
export function outputItems(call: ResponsesCall, answer: Answer) {
  const status = statusOf(answer);
  const hasText = answer.content !== null && (answer.content !== "" || answer.toolCalls.length === 0);
  return [
    ...(answer.thought === null ? [] : [reasoningItem(call.newId("rs_"), status, answer.thought)]),
    ...(hasText ? [messageItem(call.newId("msg_"), status, answer.content ?? "", answer.logprobs)] : []),
    ...answer.toolCalls.map((toolCall) => callItem(call, newCallItemId(call, toolCall.name), status, toolCall)),
  ];
}

/** What was thought, as its model wrote it: no summary of it. */
export function reasoningItem(id: string, status: ResponseStatus, text: string) {
  return { id, type: "reasoning", status, summary: [], content: [reasoningPart(text)] };
}

export function reasoningPart(text: string) {
  return { type: "reasoning_text", text };
}

export function messageItem(id: string, status: ResponseStatus, text: string, logprobs: readonly TokenDetail[] | null) {
  return { id, type: "message", status, role: "assistant", content: [textPart(text, logprobs)] };
}

export function textPart(text: string, logprobs: readonly TokenDetail[] | null) {
  return { type: "output_text", text, annotations: [], logprobs: renderLogprobs(logprobs) };
}

export function newCallItemId(call: ResponsesCall, name: string): string {
  return call.newId(isCustom(call, name) ? "ctc_" : "fc_");
}

/** Whether a call is of a custom tool, by what the model calls it. */
export function isCustom({ tools }: ResponsesCall, name: string): boolean {
  return tools.some(({ type, tool }) => type === "custom" && tool.name === name);
}

/** A call in its client's words. */
export function callItem(call: ResponsesCall, id: string, status: ResponseStatus, toolCall: ToolCall) {
  const { id: call_id, name: shown, arguments: text } = toolCall;
  const { name, namespace } = call.tools.find(({ tool }) => tool.name === shown) ?? {
    name: shown,
    namespace: undefined,
  };
  const called = { call_id, name, ...(namespace !== undefined && { namespace }) };
  return isCustom(call, shown)
    ? { id, type: "custom_tool_call", status, ...called, input: inputOf(text) }
    : { id, type: "function_call", status, ...called, arguments: text };
}

/** Nothing of a call that was cut off: half a text must not be taken for the whole. */
export function inputOf(text: string): string {
  const given = parsedJson(text);
  return isRecord(given) ? String(given["input"] ?? "") : "";
}

export function renderLogprobs(details: readonly TokenDetail[] | null) {
  return (details ?? []).map((detail) => ({ ...renderToken(detail), top_logprobs: detail.top.map(renderToken) }));
}

function renderToken({ text, logprob, bytes }: Pick<TokenDetail, "text" | "logprob" | "bytes">) {
  return { token: text, logprob: finiteLogprob(logprob), bytes };
}

function renderUsage({ usage: { promptTokens, completionTokens, reasoningTokens = 0 } }: Generated) {
  return {
    input_tokens: promptTokens,
    input_tokens_details: { cached_tokens: 0, cache_write_tokens: 0 },
    output_tokens: completionTokens,
    output_tokens_details: { reasoning_tokens: reasoningTokens },
    total_tokens: promptTokens + completionTokens,
  };
}
