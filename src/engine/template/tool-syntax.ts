/** @module Finds out how a chat template writes tool calls, by rendering one and looking for it. */
import type { Conversation, Tool, ToolSyntax } from "../../types/conversation.ts";

export type Render = (messages: Conversation, tools: readonly Tool[], addGenerationPrompt: boolean) => string;

const tool: Tool = {
  name: "probe_tool",
  description: "PROBE-DESCRIPTION",
  parameters: { type: "object", properties: {} },
};
const user = { role: "user", content: "PROBE-USER" } as const;

/**
 * `closes`: what ends an assistant's turn. Null where the template knows no tools, or writes calls otherwise than as
 * JSON objects in text.
 */
export function probeToolSyntax(render: Render, closes: RegExp): ToolSyntax | null {
  try {
    const prompt = render([user], [tool], true);
    if (!prompt.includes(tool.name)) return null;
    const one = findCalls(afterPrompt(render, prompt, ["first_value"]), 1);
    if (one === null) return null;
    const [call] = one.calls as [Found];
    const opening = one.text.slice(0, call.start);
    const closing = one.text.slice(call.end).split(closes)[0] ?? "";
    const between = findSeparator(render, prompt);
    if ([opening, between ?? ""].some((text) => closes.test(text))) return null;
    return { opening, closing: closing.trimEnd(), between, name: call.name, arguments: call.arguments };
  } catch {
    return null; // the template refuses tool calls
  }
}

/** What stands between two calls; null where the template refuses more than one. */
function findSeparator(render: Render, prompt: string): string | null {
  try {
    const two = findCalls(afterPrompt(render, prompt, ["first_value", "second_value"]), 2);
    const [first, second] = two?.calls ?? [];
    return two === null || first === undefined || second === undefined ? null : two.text.slice(first.end, second.start);
  } catch {
    return null;
  }
}

/** The markers around tools, calls and results, which content must not be able to write. */
export function toolMarkers(render: Render): string[] {
  const toolCalls = [{ id: "probecal0", name: tool.name, arguments: "{}" }];
  const turns: Conversation = [
    user,
    { role: "assistant", content: "", toolCalls },
    { role: "tool", content: "", toolCallId: "probecal0" },
  ];
  try {
    return [...new Set(render(turns, [tool], true).match(/<[^<>\s]+>|\[[A-Z_/]+\]/gu) ?? [])];
  } catch {
    return [];
  }
}

function afterPrompt(render: Render, prompt: string, values: readonly string[]): string {
  const toolCalls = values.map((value, i) => ({
    id: `probecal${i}`,
    name: tool.name,
    arguments: JSON.stringify({ probe: value }),
  }));
  const rendered = render([user, { role: "assistant", content: "", toolCalls }], [tool], false);
  // Some templates end the prompt with a line break that the answer does not repeat.
  const shared = [prompt, prompt.trimEnd()].find((text) => rendered.startsWith(text));
  if (shared === undefined) throw new Error("The assistant's turn does not continue the prompt");
  return rendered.slice(shared.length);
}

interface Found {
  readonly start: number;
  readonly end: number;
  readonly name: string;
  readonly arguments: string;
}

/** JSON objects of the form {"name": "probe_tool", "arguments": {"probe": …}}, with nothing else in them. */
function findCalls(text: string, count: number): { text: string; calls: Found[] } | null {
  const form = /\{"(\w+)": ?"probe_tool", ?"(\w+)": ?\{"probe": ?"\w+"\}\}/gu;
  const calls = [...text.matchAll(form)].map((match) => ({
    start: match.index,
    end: match.index + match[0].length,
    name: match[1] as string,
    arguments: match[2] as string,
  }));
  return calls.length === count ? { text, calls } : null;
}
