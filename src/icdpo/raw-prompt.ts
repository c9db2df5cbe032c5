/** @module A raw prompt read as the conversation that it is a transcript of, for the paper's formats. */
import type { PromptFormat } from "../policy/schema.ts";
import type { Conversation, Message } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";

const turnBorder = /\n\n(?=(?:Human|Assistant):)/u;
const turnStart = /^(Human|Assistant): ?/u;
/** As many as a chat may hold. */
const mostTurns = 2_048;

/**
 * The conversation x, for which `baseContext` writes the prompt again: "\n\nHuman: …\n\nAssistant:" are turns, a
 * paragraph before the first one is the system's. Any other text is one message of the user's. Throws
 * "invalid_request", with `param` "prompt", where the last turn is an answer that has begun, or the format holds fewer
 * turns.
 *
 * @example rawConversation("hh-rlhf", "\n\nHuman: Hi!\n\nAssistant:"); // [{ role: "user", content: "Hi!" }]
 */
export function rawConversation(format: Exclude<PromptFormat, "chat">, prompt: string): Conversation {
  const opened = prompt.startsWith("Human:") ? `\n\n${prompt}` : prompt;
  const [before = "", ...parts] = opened.split(turnBorder, mostTurns + 1);
  if (parts[0]?.startsWith("Human:") !== true) return [{ role: "user", content: prompt }];
  const turns = parts.map((part): Message => {
    const role = part.startsWith("Human:") ? "user" : "assistant";
    return { role, content: part.replace(turnStart, "") };
  });
  const last = turns.at(-1);
  if (last?.role === "assistant") {
    if (last.content.trim() !== "")
      throw wrong("its last turn is an answer that has begun, which cannot be gone on with");
    turns.pop();
  }
  if (turns.length >= mostTurns) throw wrong(`it holds more than ${mostTurns} turns`);
  if (format === "synthetic-gpt" && turns.length > 1)
    throw wrong("the prompt format synthetic-gpt takes one Human turn");
  const system = before.trim() === "" ? [] : [{ role: "system", content: before.trim() } as const];
  return [...system, ...turns];
}

function wrong(reason: string): GatewayError {
  return new GatewayError("invalid_request", `Invalid 'prompt': ${reason}.`, { param: "prompt" });
}
