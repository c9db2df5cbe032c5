/** @module Conversations and demonstrations: the x and d of the paper. */

export type Role = "system" | "user" | "assistant" | "tool";

export interface Message {
  readonly role: Role;
  readonly content: string;
}

/** The client's messages, oldest first: x, the prompt. */
export type Conversation = readonly Message[];

/** A teacher's response to a prompt, d = (prompt, d⁺, d⁻). */
export interface Demonstration {
  readonly id: string;
  /** User and assistant turns, ending with the user's. */
  readonly messages: Conversation;
  /** d⁺, the teacher's response. */
  readonly chosen: string;
  /** d⁻, a worse response to the same prompt. */
  readonly rejected?: string | undefined;
}

/** The prompt as retrievers see it: what was said in turns, joined by line breaks. System text is no turn. */
export function promptText(conversation: Conversation): string {
  return conversation
    .filter((message) => message.role !== "system")
    .map((message) => message.content)
    .join("\n");
}
