/** @module Conversations and demonstrations: the x and d of the paper. */

export type Role = "system" | "user" | "assistant" | "tool";

export interface Message {
  readonly role: Role;
  readonly content: string;
  /** What an assistant thought before it said so: for templates that show it. */
  readonly thought?: string;
  /** What an assistant's turn asked to be called. */
  readonly toolCalls?: readonly ToolCall[];
  /** A tool turn: the call that it answers. */
  readonly toolCallId?: string;
  /** Who speaks, or the tool that has answered: for templates that show it. */
  readonly name?: string;
}

export interface ToolCall {
  readonly id: string;
  readonly name: string;
  /** JSON text. */
  readonly arguments: string;
}

/**
 * How tool calls are written in a conversation: `opening {"<name>": "lookup", "<arguments>": {…}} closing`; of several,
 * all but the first follow `between`. Null: one call at a time.
 */
export interface ToolSyntax {
  readonly opening: string;
  readonly closing: string;
  readonly between: string | null;
  /** The keys of a call's JSON. */
  readonly name: string;
  readonly arguments: string;
}

/** A function that the client can call for the model. */
export interface Tool {
  readonly name: string;
  readonly description?: string | undefined;
  /** A JSON Schema of an object. */
  readonly parameters: Readonly<Record<string, unknown>>;
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
  /** Near negatives, any of which may stand for d⁻: what a model says to the prompt plainly. */
  readonly near?: readonly string[] | undefined;
}

/** The prompt as retrievers see it: what was said in turns, joined by line breaks. System text is no turn. */
export function promptText(conversation: Conversation): string {
  return conversation
    .filter((message) => message.role !== "system")
    .map((message) => message.content)
    .join("\n");
}
