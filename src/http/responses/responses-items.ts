/**
 * @module Items of POST /v1/responses, and the conversation that they make up. What other models have thought, and what
 * services have done for them, is dropped; what a conversation cannot do without is refused.
 */
import { z } from "zod";
import { quoted } from "../../text/quoted.ts";
import type { Conversation, Message, ToolCall } from "../../types/conversation.ts";
import { content, toText, worded } from "../text-content.ts";
import { strayResults, withResultsInPlace } from "../tool-results.ts";
import { customArguments, functionName, maxMessages } from "../wire.ts";
import { shownName } from "./responses-tools.ts";

const message = z.object({
  type: z.literal("message").nullish(),
  role: z.enum(["user", "assistant", "system", "developer"]),
  content: content.nullish(),
});
const call = { call_id: z.string(), name: functionName, namespace: z.string().max(256).nullish() };
const functionCall = z.object({ type: z.literal("function_call"), ...call, arguments: z.string() });
const customCall = z.object({ type: z.literal("custom_tool_call"), ...call, input: z.string() });
const callOutput = z.object({
  type: z.enum(["function_call_output", "custom_tool_call_output"]),
  call_id: z.string(),
  output: content.nullish(),
});
/** Of tools that OpenAI's models know without being told. The call's own id may stand for it. */
const builtInCall = z.looseObject({
  type: z.enum(["local_shell_call", "shell_call", "apply_patch_call"]),
  call_id: z.string(),
});
const builtInOutput = z.looseObject({
  type: z.enum(["local_shell_call_output", "shell_call_output", "apply_patch_call_output"]),
  id: z.string().nullish(),
  call_id: z.string().nullish(),
});
const known = z.discriminatedUnion("type", [message, functionCall, customCall, callOutput, builtInCall, builtInOutput]);
const knownTypes: ReadonlySet<string> = new Set(
  ["", "function_", "custom_tool_", "local_shell_", "shell_", "apply_patch_"].flatMap((kind) =>
    kind === "" ? ["message"] : [`${kind}call`, `${kind}call_output`],
  ),
);
/** What nothing can be read of, though the conversation depends on it. */
const unreadable: Readonly<Record<string, string>> = {
  item_reference: "no state is kept to refer to",
  compaction: "only the service that has written it can read it",
  computer_call_output: "only text can be read by this model",
};
const other = z.object({
  type: z.string().refine((type) => !knownTypes.has(type), { abort: true }),
  /** Of thoughts. */
  content: z.unknown().optional(),
});
/** Told by their type: a wrong one of many is held against one kind of them, not all. */
const item = z.union([known, other], { error: ({ errors }) => worded(errors[0]?.[0]) }).superRefine((item, context) => {
  const reason = unreadable[item.type ?? "message"];
  if (reason !== undefined)
    context.addIssue({ code: "custom", path: ["type"], message: `${quoted(item.type ?? "", 40)}: ${reason}` });
});
type Item = z.output<typeof item>;
type KnownItem = z.output<typeof known>;

export const inputSchema = z
  .union([z.string(), z.array(item).min(1).max(maxMessages)], {
    error: ({ input, errors }) =>
      Array.isArray(input)
        ? `item ${worded(errors[1]?.[0])}`
        : `must be a text or up to ${maxMessages} messages, function_calls and their outputs`,
  })
  .superRefine((input, context) => {
    const items = typeof input === "string" ? [] : input;
    const said = items.map((item) => ({
      calls: callsOf(item).map(({ id }) => id),
      answers: resultOf(item)?.toolCallId,
    }));
    for (const index of strayResults(said))
      context.addIssue({ code: "custom", path: [index, "call_id"], message: "no item is a call of this id" });
  });

/** Types of items that are dropped, but for thoughts: they are not this model's. */
export function droppedItems(input: z.output<typeof inputSchema>): string[] {
  return (typeof input === "string" ? [] : input).flatMap((item) =>
    isKnown(item) || item.type === "reasoning" ? [] : [`input.${item.type}`],
  );
}

export function toConversation(
  instructions: string | null | undefined,
  input: z.output<typeof inputSchema>,
): Conversation {
  const system: Message[] = instructions ? [{ role: "system", content: instructions }] : [];
  if (typeof input === "string") return [...system, { role: "user", content: input }];
  const messages: Message[] = [];
  let thought: string | undefined;
  for (const item of input) {
    thought = thoughtIn(item) ?? thought;
    const before = messages.length;
    for (const call of callsOf(item)) addCall(messages, call);
    const result = resultOf(item);
    if (result !== undefined) messages.push(result);
    if (isMessage(item))
      messages.push({ role: item.role === "developer" ? "system" : item.role, content: toText(item.content) });
    const begun = messages[before];
    if (begun?.role === "assistant" && thought !== undefined) messages[before] = { ...begun, thought };
    if (begun !== undefined) thought = undefined;
  }
  return withResultsInPlace([...system, ...messages]);
}

const reasoningText = z.object({
  type: z.literal("reasoning"),
  content: z.array(z.object({ type: z.literal("reasoning_text"), text: z.string() })).min(1),
});

/** What was thought before the next item, where its words are there; what only its service can read is dropped. */
function thoughtIn(item: Item): string | undefined {
  const { data } = reasoningText.safeParse(item);
  return data?.content.map(({ text }) => text).join("");
}

/** Calls belong to the assistant's turn before them, or are one together. */
function addCall(messages: Message[], call: ToolCall): void {
  const last = messages.at(-1);
  if (last?.role === "assistant")
    messages[messages.length - 1] = { ...last, toolCalls: [...(last.toolCalls ?? []), call] };
  else messages.push({ role: "assistant", content: "", toolCalls: [call] });
}

function callsOf(item: Item): ToolCall[] {
  if (!isKnown(item)) return [];
  switch (item.type) {
    case "function_call":
      return [{ id: item.call_id, name: shownName(item.name, item.namespace), arguments: item.arguments }];
    case "custom_tool_call":
      return [{ id: item.call_id, name: shownName(item.name, item.namespace), arguments: customArguments(item.input) }];
    case "local_shell_call":
    case "shell_call":
    case "apply_patch_call": {
      const asked = item["action"] ?? item["operation"] ?? {};
      return [{ id: item.call_id, name: item.type.replace(/_call$/u, ""), arguments: JSON.stringify(asked) }];
    }
    default:
      return [];
  }
}

function resultOf(item: Item): Message | undefined {
  if (!isKnown(item)) return undefined;
  switch (item.type) {
    case "function_call_output":
    case "custom_tool_call_output":
      return { role: "tool", content: toText(item.output), toolCallId: item.call_id };
    case "local_shell_call_output":
    case "shell_call_output":
    case "apply_patch_call_output": {
      const { output = "" } = item;
      const content = typeof output === "string" ? output : JSON.stringify(output);
      return { role: "tool", content, toolCallId: item.call_id ?? item.id ?? "" };
    }
    default:
      return undefined;
  }
}

function isKnown(item: Item): item is KnownItem {
  return knownTypes.has(item.type ?? "message");
}

function isMessage(item: Item): item is z.output<typeof message> {
  return (item.type ?? "message") === "message";
}
