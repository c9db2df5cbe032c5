/**
 * @module Tools as plain text, for models whose chat template knows none: they are listed in the system message, calls
 * are written as `<tool_call>` blocks (the format of Hermes and Qwen), and results come back in the user's turns as
 * `<tool_response>` blocks.
 */
import type { Conversation, Message, Tool, ToolCall, ToolSyntax } from "../types/conversation.ts";

/** No line break between two calls: after a call, a small model writes one far more often than it ends its turn. */
export const genericToolSyntax = {
  opening: "<tool_call>\n",
  closing: "\n</tool_call>",
  between: "\n</tool_call><tool_call>\n",
  name: "name",
  arguments: "arguments",
} satisfies ToolSyntax;

const markers = /<(?=\/?tool(?:s|_call|_response)>)/gu;

/** The conversation in turns that every chat template knows. Unchanged where there are neither tools nor calls. */
export function withToolsAsText(conversation: Conversation, tools: readonly Tool[]): Conversation {
  const usesTools =
    tools.length > 0 || conversation.some(({ role, toolCalls }) => role === "tool" || toolCalls !== undefined);
  if (!usesTools) return conversation;
  const turns = conversation.map(writeMessage);
  const merged: Message[] = [];
  for (const [i, turn] of turns.entries()) {
    const last = merged.at(-1);
    // Results of several calls are one turn.
    if (conversation[i]?.role === "tool" && conversation[i - 1]?.role === "tool" && last !== undefined)
      merged[merged.length - 1] = { ...last, content: `${last.content}\n${turn.content}` };
    else merged.push(turn);
  }
  return tools.length === 0 ? merged : withSystemText(merged, describeTools(tools));
}

/** No content can forge a call or a result: its markers are broken up by a space. */
function writeMessage({ role, content, toolCalls, name }: Message): Message {
  const guarded = content.replace(markers, "< ");
  if (role === "tool") return { role: "user", content: `<tool_response>\n${guarded}\n</tool_response>` };
  if (toolCalls === undefined || toolCalls.length === 0)
    return { role, content: guarded, ...(name !== undefined && { name }) };
  return { role, content: [guarded, writeCalls(toolCalls)].filter((text) => text !== "").join("\n") };
}

function writeCalls(calls: readonly ToolCall[]): string {
  const { opening, closing, between } = genericToolSyntax;
  const written = calls.map(
    (call) => `{"name": ${JSON.stringify(call.name)}, "arguments": ${call.arguments.replace(markers, "< ")}}`,
  );
  return opening + written.join(between) + closing;
}

function describeTools(tools: readonly Tool[]): string {
  const listed = tools.map((tool) => JSON.stringify(tool).replace(markers, "< "));
  return [
    "You can call these functions, each described by a JSON Schema of its arguments:",
    `<tools>\n${listed.join("\n")}\n</tools>`,
    'To call one, answer with a JSON object in a <tool_call> block, for example:\n<tool_call>\n{"name": "function", "arguments": {"argument": "value"}}\n</tool_call>',
    "Results are given to you in <tool_response> blocks.",
  ].join("\n\n");
}

/** After the client's own system text, or alone. */
function withSystemText(conversation: Conversation, text: string): Conversation {
  const turns = conversation.findIndex(({ role }) => role !== "system");
  const own = conversation.slice(0, turns < 0 ? conversation.length : turns);
  const system = [...own.map(({ content }) => content), text].filter((part) => part !== "").join("\n\n");
  return [{ role: "system", content: system }, ...conversation.slice(own.length)];
}
