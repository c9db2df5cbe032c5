/** @module What chat templates need done to a conversation, whoever renders them. */
import type { Conversation, Message, ToolCall } from "../../types/conversation.ts";
import type { TurnRules } from "./turn-rules.ts";

/** The conversation in turns that a template takes. None of its words are lost. */
export function fittingTurns(conversation: Conversation, rules: TurnRules): Conversation {
  const told = withSystemWhere(rules.system, conversation);
  const called = told.some(({ role, toolCalls }) => role === "tool" || toolCalls) ? withCalls(told, rules) : told;
  return withSpeakers(called, rules);
}

function withSystemWhere(place: TurnRules["system"], conversation: Conversation): Conversation {
  if (place === "anywhere") return conversation;
  if (place === "nowhere") return withoutSystem(conversation);
  const turns = conversation.findIndex(({ role }) => role !== "system");
  const own = conversation.slice(0, turns < 0 ? conversation.length : turns);
  const rest = withoutSystem(conversation.slice(own.length));
  return own.length < 2 ? [...own, ...rest] : [{ role: "system", content: paragraphs(own) }, ...rest];
}

/** System text becomes a paragraph before the user's next turn. */
function withoutSystem(conversation: Conversation): Conversation {
  const messages: Message[] = [];
  let system: Message[] = [];
  for (const message of conversation) {
    if (message.role === "system") system.push(message);
    else if (message.role === "user" && system.length > 0) {
      messages.push({ ...message, content: paragraphs([...system, message]) });
      system = [];
    } else messages.push(message);
  }
  if (system.length > 0) messages.push({ role: "user", content: paragraphs(system) });
  return messages;
}

function withCalls(conversation: Conversation, rules: TurnRules): Conversation {
  const split = rules.severalCalls ? conversation : withOneCallEach(conversation);
  const answered = rules.openCalls ? split : withAllResults(split);
  return rules.anyCallId ? answered : withShortIds(answered);
}

/** A turn of several calls becomes a turn for each, its result right after it. */
function withOneCallEach(conversation: Conversation): Conversation {
  const messages: Message[] = [];
  for (let i = 0; i < conversation.length; i++) {
    const message = conversation[i] as Message;
    const { toolCalls = [] } = message;
    let end = i + 1;
    while (toolCalls.length > 1 && conversation[end]?.role === "tool") end += 1;
    const results = conversation.slice(i + 1, end);
    if (toolCalls.length < 2) messages.push(message);
    else
      for (const [number, call] of toolCalls.entries())
        messages.push(
          { ...message, content: number === 0 ? message.content : "", toolCalls: [call] },
          ...results.filter(({ toolCallId }) => toolCallId === call.id),
        );
    i = end - 1;
  }
  return messages;
}

/** A call that nobody has answered, though the conversation went on. */
const noResult = "no result";

function withAllResults(conversation: Conversation): Conversation {
  const messages: Message[] = [];
  let open: readonly ToolCall[] = [];
  for (const message of conversation) {
    if (message.role === "tool") open = open.filter(({ id }) => id !== message.toolCallId);
    else {
      for (const { id } of open) messages.push({ role: "tool", content: noResult, toolCallId: id });
      open = message.toolCalls ?? [];
    }
    messages.push(message);
  }
  return messages;
}

const shortId = 9;

/** Ids of nine letters and digits, the same for a call and its result. */
function withShortIds(conversation: Conversation): Conversation {
  const ids = new Map<string, string>();
  const short = (id: string): string => {
    const known = ids.get(id) ?? `c${ids.size.toString(36).padStart(shortId - 1, "0")}`;
    ids.set(id, known);
    return known;
  };
  return conversation.map((message) => ({
    ...message,
    ...(message.toolCalls && { toolCalls: message.toolCalls.map((call) => ({ ...call, id: short(call.id) })) }),
    ...(message.toolCallId !== undefined && { toolCallId: short(message.toolCallId) }),
  }));
}

/** Two user's turns in a row are one; where somebody is missing between two turns, they say nothing. */
function withSpeakers(conversation: Conversation, rules: TurnRules): Conversation {
  const messages: Message[] = [];
  for (const message of conversation) {
    const last = messages.at(-1);
    const before = last?.role ?? "system";
    if (message.role === "user" && before === "user" && !rules.usersInARow && last !== undefined) {
      messages[messages.length - 1] = { role: "user", content: paragraphs([last, message]) };
      continue;
    }
    if (message.role === "user" && before === "tool" && !rules.userAfterResults)
      messages.push({ role: "assistant", content: "" });
    const lacksUser =
      (before === "system" && !rules.assistantFirst) || (before === "assistant" && !rules.assistantsInARow);
    if (message.role === "assistant" && lacksUser) messages.push({ role: "user", content: "" });
    messages.push(message);
  }
  return messages;
}

function paragraphs(messages: readonly Message[]): string {
  return messages
    .map(({ content }) => content)
    .filter((content) => content !== "")
    .join("\n\n");
}

/**
 * Beside control tokens, plain text delimits where it looks like a marker: `[INST]`, `<<SYS>>`, `<|user|>`, `###
 * Response:`, `USER:`.
 */
const plainMarker = /<+[^<>\s]+>+|\[[^[\]\s]+\]|^#+ ?\S[^\n]*|^[A-Za-z]+:/gmu;

/** What delimits in a piece of a rendered template that no control token parts. */
export function plainMarkers(literal: string): string[] {
  return literal.match(plainMarker) ?? [];
}

/** Every string inside, keys included. */
export function mapTexts<Value>(value: Value, change: (text: string) => string): Value {
  const changed = (inner: unknown): unknown => {
    if (typeof inner === "string") return change(inner);
    if (Array.isArray(inner)) return inner.map(changed);
    if (typeof inner !== "object" || inner === null) return inner;
    return Object.fromEntries(Object.entries(inner).map(([key, field]) => [change(key), changed(field)]));
  };
  return changed(value) as Value;
}

/** Every string inside, keys included. */
export function textsIn(value: unknown): string[] {
  const texts: string[] = [];
  mapTexts(value, (text) => {
    texts.push(text);
    return text;
  });
  return texts;
}
