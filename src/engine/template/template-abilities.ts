/** @module What a chat template can do, found out by rendering known conversations and looking for what is left. */
import { Template } from "@huggingface/jinja";
import type { ToolSyntax } from "../../types/conversation.ts";
import { probeToolSyntax, type Render } from "./tool-syntax.ts";

export interface TemplateAbilities {
  /** Where a system message may stand: before any turn, at the front alone, or nowhere. */
  readonly system: "anywhere" | "front" | "nowhere";
  /** "read": calls that are told from text; "told": tools reach the prompt, but calls are written in some other way. */
  readonly tools: "read" | "told" | "none";
  readonly syntax: ToolSyntax | null;
  readonly toolResults: boolean;
  /** User and assistant must take turns. */
  readonly alternates: boolean;
  /** "switched": by `enable_thinking`; "always": each prompt opens a thought; "kept": it knows thoughts of a history. */
  readonly thinking: "switched" | "always" | "kept" | "none";
}

type Turn = Readonly<Record<string, unknown>>;
type Variables = Readonly<Record<string, unknown>>;

const system = { role: "system", content: "PROBE-SYSTEM" };
const user = { role: "user", content: "PROBE-USER" };
const other = { role: "user", content: "PROBE-OTHER" };
const answer = { role: "assistant", content: "PROBE-ANSWER" };
const call = { id: "probecal0", type: "function", function: { name: "probe_tool", arguments: { probe: "value" } } };
const tool = {
  type: "function",
  function: { name: "probe_tool", description: "A probe", parameters: { type: "object", properties: {} } },
};
const calling = { role: "assistant", content: "", tool_calls: [call] };
const result = { role: "tool", content: "PROBE-RESULT", name: "probe_tool", tool_call_id: "probecal0" };

/** `control`: the spellings of control tokens. Throws jinja's error where the source is no template. */
export function templateAbilities(
  source: string,
  { bos, eos, control }: { readonly bos: string; readonly eos: string; readonly control: readonly string[] },
): TemplateAbilities {
  const template = new Template(source);
  const rendered = (messages: readonly Turn[], variables: Variables = {}): string =>
    template.render({ messages, add_generation_prompt: true, bos_token: bos, eos_token: eos, ...variables });
  /** "": refused. */
  const tried = (messages: readonly Turn[], variables?: Variables): string => {
    try {
      return rendered(messages, variables);
    } catch {
      return "";
    }
  };
  const keeps = (messages: readonly Turn[], variables?: Variables): boolean => {
    const text = tried(messages, variables);
    return messages.every(({ content }) => text.includes(String(content)));
  };
  const render: Render = (messages, tools, prompt) =>
    rendered(messages.map(asTurn), {
      add_generation_prompt: prompt,
      ...(tools.length > 0 && { tools: tools.map((one) => ({ type: "function", function: one })) }),
    });
  const closes = control.length === 0 ? /(?!)/u : new RegExp(control.map(escapeRegExp).join("|"), "u");
  const syntax = probeToolSyntax(render, closes);
  const tells = tried([user], { tools: [tool] }).includes("probe_tool");
  return {
    system: keeps([user, answer, system, other]) ? "anywhere" : keeps([system, user]) ? "front" : "nowhere",
    tools: syntax !== null ? "read" : tells ? "told" : "none",
    syntax,
    toolResults: keeps([user, calling, result], { tools: [tool] }),
    alternates: !keeps([user, other]),
    thinking: thinkingOf(tried, source),
  };
}

function thinkingOf(
  tried: (messages: readonly Turn[], variables?: Variables) => string,
  source: string,
): TemplateAbilities["thinking"] {
  const [on, off] = [true, false].map((enable_thinking) => tried([user], { enable_thinking }));
  if (on !== off) return "switched";
  if (/<think(?:ing)?>\s*$/u.test(tried([user]))) return "always";
  return /<\/?think|reasoning_content/u.test(source) ? "kept" : "none";
}

/** A turn as templates know it: arguments as an object. */
function asTurn({ role, content, toolCalls, toolCallId }: Parameters<Render>[0][number]): Turn {
  const calls = toolCalls?.map(({ id, name, arguments: text }) => ({
    id,
    type: "function",
    function: { name, arguments: JSON.parse(text) as unknown },
  }));
  return { role, content, ...(calls && { tool_calls: calls }), ...(toolCallId && { tool_call_id: toolCallId }) };
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/gu, "\\$&");
}
