/** @module What a chat template can do, found out by rendering known conversations and looking for what is left. */
import { Template } from "@huggingface/jinja";
import type { Conversation, Message, Tool, ToolSyntax } from "../../types/conversation.ts";
import { anyOf, templateMessages } from "./chat-template.ts";
import { readThoughtRules, renderThoughts, type ThoughtRules } from "./thinking.ts";
import { probeToolSyntax } from "./tool-syntax.ts";
import { readTurnRules, renderedProbes, type TurnRules, turnProbes } from "./turn-rules.ts";

export interface TemplateAbilities {
  /** Where a system message may stand: before any turn, at the front alone, or nowhere. */
  readonly system: TurnRules["system"];
  /** "read": calls that are told from text; "told": tools reach the prompt, but calls are written in some other way. */
  readonly tools: "read" | "told" | "none";
  readonly syntax: ToolSyntax | null;
  readonly toolResults: boolean;
  /** User and assistant must take turns. */
  readonly alternates: boolean;
  /** "switched": on and off; "always": it cannot be turned off; "kept": it knows thoughts of a history only. */
  readonly thinking: "switched" | "always" | "kept" | "none";
  /** How its thoughts are written; null: it does not think. */
  readonly thoughts: ThoughtRules | null;
}

const user: Message = { role: "user", content: "PROBE-USER" };
const tool: Tool = { name: "probe_tool", description: "A probe", parameters: { type: "object", properties: {} } };
const called: Conversation = [
  user,
  {
    role: "assistant",
    content: "",
    toolCalls: [{ id: "probecal0", name: "probe_tool", arguments: '{"probe": "value"}' }],
  },
  { role: "tool", content: "PROBE-RESULT", toolCallId: "probecal0" },
];

interface Told {
  readonly tools?: readonly Tool[];
  /** Absent: ready for the assistant's turn. */
  readonly prompt?: boolean;
  readonly variables?: Readonly<Record<string, unknown>>;
}

/** What the template makes of a conversation, ready for the assistant's turn; null: it refuses. */
type Tried = (conversation: Conversation, told?: Told) => string | null;

/** `control`: the spellings of control tokens. Throws jinja's error where the source is no template. */
export function templateAbilities(
  source: string,
  { bos, eos, control }: { readonly bos: string; readonly eos: string; readonly control: readonly string[] },
): TemplateAbilities {
  const template = new Template(source);
  const render = (conversation: Conversation, prompt: boolean, { tools = [], variables }: Told): string =>
    template.render({
      messages: templateMessages(conversation),
      add_generation_prompt: prompt,
      bos_token: bos,
      eos_token: eos,
      ...(tools.length > 0 && { tools: tools.map((one) => ({ type: "function", function: one })) }),
      ...variables,
    });
  const tried: Tried = (conversation, told = {}) => {
    try {
      return render(conversation, told.prompt ?? true, told);
    } catch {
      return null;
    }
  };
  const syntax = probeToolSyntax(
    (conversation, tools, prompt) => render(conversation, prompt, { tools }),
    anyOf(control),
  );
  const tells = tried([user], { tools: [tool] })?.includes(tool.name);
  const results = tried(called, { tools: [tool] });
  const { system, usersInARow } = readTurnRules(renderedProbes(turnProbes, (conversation) => tried(conversation)));
  return {
    system,
    tools: syntax !== null ? "read" : tells ? "told" : "none",
    syntax,
    toolResults: results !== null && called.every(({ content }) => results.includes(content)),
    alternates: !usersInARow,
    ...thoughtsIn(tried, source),
  };
}

function thoughtsIn(tried: Tried, source: string): Pick<TemplateAbilities, "thinking" | "thoughts"> {
  const rendered = renderThoughts((probe) => tried(probe.conversation, probe));
  const thoughts = readThoughtRules(rendered, source);
  if (thoughts !== null) return { thinking: thoughts.off === null ? "always" : "switched", thoughts };
  return { thinking: /<\/?think|reasoning_content/u.test(source) ? "kept" : "none", thoughts };
}
