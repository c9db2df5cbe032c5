/** @module Dialogues as lists of messages: OpenAI's, TRL's and ShareGPT's. */
import { z } from "zod";
import type { Message } from "../types/conversation.ts";
import type { Unusable } from "./transcripts.ts";

const textPart = z.object({ type: z.literal("text"), text: z.string() });
const thoughtPart = z
  .object({ type: z.enum(["thinking", "reasoning", "redacted_thinking"]) })
  .transform(() => ({ text: "" }));
const content = z.union([z.string(), z.array(z.union([textPart, thoughtPart]))]).nullish();

/** ShareGPT names the speaker `from`, and what was said `value`. */
const shareGptMessage = z.object({ from: z.string(), value: z.string().nullish() }).transform(({ from, value }) => ({
  role: shareGptRoles.get(from.toLowerCase()) ?? from,
  content: value ?? "",
  tool_calls: undefined,
}));

const openaiMessage = z.object({ role: z.string(), content, tool_calls: z.array(z.unknown()).nullish() });

export const chatMessages = z.array(openaiMessage).min(1);
export const shareGptMessages = z.array(z.union([shareGptMessage, openaiMessage])).min(1);
export const shareGptTurn = z.union([shareGptMessage, openaiMessage]);

export type ChatMessage = z.output<typeof openaiMessage>;

const shareGptRoles: ReadonlyMap<string, string> = new Map([
  ["human", "user"],
  ["user", "user"],
  ["gpt", "assistant"],
  ["chatgpt", "assistant"],
  ["bing", "assistant"],
  ["bard", "assistant"],
  ["assistant", "assistant"],
  ["system", "system"],
]);

const roles: ReadonlyMap<string, Message["role"]> = new Map([
  ["system", "system"],
  ["developer", "system"],
  ["user", "user"],
  ["assistant", "assistant"],
]);

/** The dialogue's turns, its system text first; why not, where there are tools, or system text further on. */
export function chatTurns(messages: readonly ChatMessage[]): Message[] | Unusable {
  const turns: Message[] = [];
  for (const message of messages) {
    const role = roles.get(message.role);
    if (role === undefined || message.tool_calls?.length) return { reason: "tool calls" };
    if (role === "system" && turns.some((turn) => turn.role !== "system"))
      return { reason: "a system message after the first turn" };
    const text = textOf(message.content);
    // Some sets have an empty one in every row.
    if (role !== "system" || text.trim() !== "") turns.push({ role, content: text });
  }
  return turns;
}

/** What an assistant said in one turn. */
export function chatResponse(messages: readonly ChatMessage[]): string | Unusable {
  const turns = chatTurns(messages);
  if ("reason" in turns) return turns;
  if (turns.length > 1) return { reason: "a response of several turns" };
  const [turn] = turns;
  return turn?.role === "assistant" ? turn.content : { reason: "no assistant turn" };
}

/** Where two dialogues part: both begin with the same messages, and the next of each is the assistant's. */
export function sharedPrompt(chosen: readonly ChatMessage[], rejected: readonly ChatMessage[]): number {
  const isSame = (a: ChatMessage | undefined, b: ChatMessage | undefined): boolean =>
    a !== undefined && b !== undefined && a.role === b.role && textOf(a.content) === textOf(b.content);
  let shared = 0;
  while (isSame(chosen[shared], rejected[shared])) shared += 1;
  return shared;
}

function textOf(of: ChatMessage["content"]): string {
  return typeof of === "string" ? of : (of ?? []).map(({ text }) => text).join("");
}

/**
 * The dialogue without a system turn, which no demonstration has: its text stands before the first user's turn, a blank
 * line between, or nowhere.
 */
export function withoutSystemTurn(messages: readonly Message[], isDropped = false): Message[] {
  const system = messages.filter(({ role }) => role === "system").map((message) => message.content);
  const turns = messages.filter(({ role }) => role !== "system");
  const first = turns.findIndex(({ role }) => role === "user");
  if (isDropped || system.length === 0) return turns;
  return turns.map((turn, i) => (i === first ? { ...turn, content: [...system, turn.content].join("\n\n") } : turn));
}
