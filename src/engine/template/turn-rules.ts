/** @module Which turns a chat template takes, found out by rendering conversations of known texts. */
import type { Conversation, Message } from "../../types/conversation.ts";

export interface TurnRules {
  /** Where system text may stand. "front": one message, before all others. */
  readonly system: "anywhere" | "front" | "nowhere";
  readonly usersInARow: boolean;
  readonly assistantsInARow: boolean;
  readonly assistantFirst: boolean;
  /** Several calls in one turn. */
  readonly severalCalls: boolean;
  /** Calls without a result. */
  readonly openCalls: boolean;
  readonly userAfterResults: boolean;
  /** Ids of calls may be of any form; else they are nine letters and digits. */
  readonly anyCallId: boolean;
}

const said = (role: Message["role"], content: string): Message => ({ role, content });
const [system, user, assistant] = [
  said("system", "SYSTEM-TEXT"),
  said("user", "FIRST-USER-TEXT"),
  said("assistant", "ASSISTANT-TEXT"),
];
const laterSystem = said("system", "LATER-INSTRUCTION");
const laterUser = said("user", "SECOND-USER-TEXT");
const laterAssistant = said("assistant", "FURTHER-ANSWER");
const calling = (...ids: string[]): Message => ({
  role: "assistant",
  content: "",
  toolCalls: ids.map((id) => ({ id, name: "probe_tool", arguments: `{"probe": "VALUE-${id}"}` })),
});
const result = (id: string): Message => ({ role: "tool", content: `RESULT-${id}`, toolCallId: id });
const [one, other, long, short] = ["probecal0", "probecal1", "call_0123456789abcdef", "7"];

export const turnProbes = {
  front: [system, user],
  late: [system, laterSystem, user, assistant, said("system", "LAST-INSTRUCTION"), laterUser],
  usersInARow: [user, laterUser],
  assistantsInARow: [user, assistant, laterAssistant, laterUser],
  assistantFirst: [assistant, user],
} satisfies Record<string, Conversation>;

/** Only of templates that write calls. Where a template refuses more than this, it refuses all. */
export const callProbes = {
  severalCalls: [user, calling(one, other), result(one), result(other)],
  openCalls: [user, calling(one), laterUser],
  userAfterResults: [user, calling(one), result(one), laterUser],
  anyCallId: [user, calling(long), result(long), calling(short), result(short)],
} satisfies Record<string, Conversation>;

type Rendered = string | null;

/** What a template makes of each of the probes. */
export function renderedProbes<Name extends string>(
  probes: Readonly<Record<Name, Conversation>>,
  render: (conversation: Conversation) => Rendered,
): Record<Name, Rendered> {
  const names = Object.keys(probes) as Name[];
  return Object.fromEntries(names.map((name) => [name, render(probes[name])])) as Record<Name, Rendered>;
}

/** `turns`, `calls`: what the template makes of each probe, ready for the assistant's turn; null: it refuses. */
export function readTurnRules(
  turns: Readonly<Record<keyof typeof turnProbes, Rendered>>,
  calls?: Readonly<Record<keyof typeof callProbes, Rendered>>,
): TurnRules {
  const takes = (name: keyof typeof turnProbes): boolean => shows(turns[name], turnProbes[name]);
  const calling = (name: keyof typeof callProbes): boolean =>
    calls === undefined || shows(calls[name], callProbes[name]);
  const usersInARow = takes("usersInARow");
  // A system message between two turns of a user parts them, but for templates that want an answer between.
  const anywhere = usersInARow && takes("late");
  return {
    system: !takes("front") ? "nowhere" : anywhere ? "anywhere" : "front",
    usersInARow,
    assistantsInARow: takes("assistantsInARow"),
    assistantFirst: takes("assistantFirst"),
    severalCalls: calling("severalCalls"),
    openCalls: calling("openCalls"),
    userAfterResults: calling("userAfterResults"),
    anyCallId: calling("anyCallId"),
  };
}

/** A template may refuse, or leave out without a word what it does not know. */
function shows(rendered: Rendered, conversation: Conversation): boolean {
  return rendered !== null && textsOf(conversation).every((text) => rendered.includes(text));
}

function textsOf(conversation: Conversation): string[] {
  return conversation.flatMap(({ content, toolCalls = [] }) => [
    content,
    ...toolCalls.map(({ arguments: text }) => /VALUE-\w+/u.exec(text)?.[0] ?? ""),
  ]);
}
