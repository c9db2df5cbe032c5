/** @module Results of tool calls, wherever a client has put them. */
import type { Conversation, Message } from "../types/conversation.ts";

/** What a message or item says of calls: those that it makes, and the one that it gives the result of. */
interface Said {
  readonly calls: readonly string[];
  readonly answers?: string | undefined;
}

/** Places of results whose call stands nowhere, before or after. */
export function strayResults(said: readonly Said[]): number[] {
  const calls = new Set(said.flatMap((one) => one.calls));
  return [...said.entries()].flatMap(([place, { answers }]) =>
    answers === undefined || calls.has(answers) ? [] : [place],
  );
}

/**
 * Each turn's results right after it, in the order of its calls; two of one call are one. An id that comes again means
 * the call that came last, or if there was none, the next.
 */
export function withResultsInPlace(conversation: Conversation): Conversation {
  if (conversation.every(({ role }) => role !== "tool")) return conversation;
  const results = new Map<Message, Map<string, Message>>();
  const latest = new Map<string, Message>();
  const early = new Map<string, Message[]>();
  const give = (turn: Message, id: string, result: Message): void => {
    const given = results.get(turn) ?? new Map<string, Message>();
    results.set(turn, given.set(id, joined(given.get(id), result)));
  };
  for (const message of conversation) {
    for (const { id } of message.toolCalls ?? []) {
      latest.set(id, message);
      for (const result of early.get(id) ?? []) give(message, id, result);
      early.delete(id);
    }
    if (message.role !== "tool") continue;
    const id = message.toolCallId ?? "";
    const turn = latest.get(id);
    if (turn !== undefined) give(turn, id, message);
    else if (early.has(id)) early.get(id)?.push(message);
    else early.set(id, [message]);
  }
  return conversation.flatMap((message) => {
    if (message.role === "tool") return [];
    const given = results.get(message);
    const ids = new Set((message.toolCalls ?? []).map(({ id }) => id));
    return [message, ...[...ids].flatMap((id) => given?.get(id) ?? [])];
  });
}

function joined(first: Message | undefined, second: Message): Message {
  return first === undefined ? second : { ...first, content: `${first.content}\n\n${second.content}` };
}
