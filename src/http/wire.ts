/**
 * @module What clients send: only the fields that are used, checked by zod. Unknown fields are ignored, as OpenAI's
 * clients expect.
 */
import { z } from "zod";
import { type Overrides, overridesSchema } from "../policy/schema.ts";
import type { Conversation, ToolCall } from "../types/conversation.ts";
import { content, toText } from "./text-content.ts";
import { strayResults, withResultsInPlace } from "./tool-results.ts";

/** What OpenAI allows as the name of a function or a schema. */
export const functionName = z.string().regex(/^[\w-]{1,64}$/u, "may hold up to 64 letters, digits, '_' and '-'");

/** Of a request, and calls of a message. */
export const maxTools = 128;

const functionCall = z.object({
  id: z.string(),
  type: z.literal("function").nullish(),
  function: z.object({ name: functionName, arguments: z.string() }),
});
const customCall = z.object({
  id: z.string(),
  type: z.literal("custom"),
  custom: z.object({ name: functionName, input: z.string() }),
});
const toolCall = z.discriminatedUnion(
  "type",
  [functionCall, customCall],
  "only calls of functions and custom tools are known",
);

/** What a custom tool takes, as a function's arguments. */
export function customArguments(input: string): string {
  return JSON.stringify({ input });
}

/** Of who speaks. */
const longestName = 256;

const messageSchema = z
  .object({
    role: z.enum(["system", "developer", "user", "assistant", "tool"]),
    content: content.nullish(),
    reasoning_content: z.string().nullish(),
    reasoning: z.string().nullish(),
    tool_calls: z.array(toolCall).max(maxTools).nullish(),
    tool_call_id: z.string().nullish(),
    name: z.string().max(longestName).nullish(),
  })
  .superRefine(({ role, tool_calls, tool_call_id }, context) => {
    const complain = (field: string, message: string) => context.addIssue({ code: "custom", path: [field], message });
    if (tool_calls?.length && role !== "assistant")
      complain("tool_calls", "only an assistant's message can hold tool calls");
    if (role === "tool" && !tool_call_id)
      complain("tool_call_id", "a message of role tool needs the id of the call that it answers");
  });

export const maxMessages = 2_048;

export const messagesSchema = z
  .array(messageSchema)
  .min(1, "must hold at least one message")
  .max(maxMessages, `must hold at most ${maxMessages} messages`)
  .superRefine((messages, context) => {
    if (messages.every(({ role }) => role !== "tool")) return;
    const said = messages.map(({ role, tool_calls, tool_call_id }) => ({
      calls: (tool_calls ?? []).map(({ id }) => id),
      answers: (role === "tool" && tool_call_id) || undefined,
    }));
    for (const index of strayResults(said))
      context.addIssue({
        code: "custom",
        path: [index, "tool_call_id"],
        message: "no message holds a call of this id",
      });
  });

/** What is empty in one way is empty in all: null, no parts, nothing at all. */
export function toConversation(messages: z.output<typeof messagesSchema>): Conversation {
  return withResultsInPlace(
    messages.map(({ role, content, reasoning_content, reasoning, tool_calls, tool_call_id, name }) => ({
      role: role === "developer" ? "system" : role,
      content: toText(content),
      ...(role === "assistant" && thoughtIn(reasoning_content || reasoning)),
      ...(tool_calls?.length && { toolCalls: tool_calls.map(toToolCall) }),
      ...(role === "tool" && { toolCallId: tool_call_id ?? "" }),
      ...(name && { name }),
    })),
  );
}

function thoughtIn(text: string | null | undefined): { thought?: string } {
  return text ? { thought: text } : {};
}

function toToolCall(call: z.output<typeof toolCall>): ToolCall {
  if (call.type === "custom")
    return { id: call.id, name: call.custom.name, arguments: customArguments(call.custom.input) };
  return { id: call.id, name: call.function.name, arguments: call.function.arguments };
}

/** The models' names go back with each piece of an answer. */
export const modelName = z.string().max(256);

/** Who asks; each request is hashed by it. */
export const userName = z.string().max(1_024).nullish();

/** Who asks, and what only this gateway knows. */
export const gatewayFields = {
  user: userName,
  safety_identifier: userName,
  icdpo: z.object({ explain: z.boolean().nullish(), overrides: overridesSchema.nullish() }).nullish(),
};

const gatewayBody = z.object(gatewayFields);

export function toGatewayFields({ user, safety_identifier, icdpo }: z.output<typeof gatewayBody>) {
  // An empty name names nobody.
  return {
    user: user || safety_identifier || undefined,
    overrides: (icdpo?.overrides ?? undefined) as Overrides | undefined,
  };
}

const mostPairs = 16;

export const metadata = z
  .record(z.string().max(64), z.string().max(512))
  .refine((pairs) => Object.keys(pairs).length <= mostPairs, `may hold at most ${mostPairs} pairs`)
  .nullish();

/** What a stream is to tell. */
export const streamOptions = z
  .object({
    include_usage: z.boolean().nullish(),
    continuous_usage_stats: z.literal(false, "is not supported: usage comes at the end").nullish(),
  })
  .nullish();

export interface Refusal {
  readonly reason: string;
  /** Values that ask for nothing. */
  readonly harmless: readonly unknown[];
}

/** Complains about fields that would silently have no effect. */
export function refuse(
  body: Readonly<Record<string, unknown>>,
  refusals: Readonly<Record<string, Refusal>>,
  context: z.core.$RefinementCtx,
): void {
  // A body has fewer fields than there are refusals.
  for (const field of Object.keys(body)) {
    const refusal = Object.hasOwn(refusals, field) ? refusals[field] : undefined;
    const value = body[field];
    if (refusal === undefined || value === undefined || value === null || asksForNothing(value, refusal)) continue;
    const params = { code: "unsupported_parameter" };
    const message = `is not supported: ${refusal.reason}`;
    context.addIssue({ code: "custom", path: [field], message, input: value, params });
  }
}

function asksForNothing(value: unknown, { harmless }: Refusal): boolean {
  const text = JSON.stringify(value);
  return harmless.some((one) => JSON.stringify(one) === text);
}
