/** @module What chat templates need done to a conversation, whoever renders them. */
import type { Conversation, Message } from "../../types/conversation.ts";

/** For templates without a system role: system text becomes a paragraph before the user's next turn. */
export function withoutSystem(conversation: Conversation): Conversation {
  const messages: Message[] = [];
  let system: string[] = [];
  for (const message of conversation) {
    if (message.role === "system") system.push(message.content);
    else if (message.role === "user") {
      messages.push({ ...message, content: [...system, message.content].join("\n\n") });
      system = [];
    } else messages.push(message);
  }
  if (system.length > 0) messages.push({ role: "user", content: system.join("\n\n") });
  return messages;
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
