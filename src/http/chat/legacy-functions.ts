/**
 * @module OpenAI's first words for tools, which some clients still speak: `functions`, `function_call`, and a history of
 * such calls. They are read as tools, and answered in the same words.
 */
import { z } from "zod";
import { isRecord } from "../../text/json.ts";
import { maxMessages } from "../wire.ts";

/** A body with its functions as tools. Throws zod's complaints at the fields that the client wrote. */
export const modernised = z.unknown().transform((body, context): unknown => {
  if (!isRecord(body)) return body;
  const { messages, functions, function_call: choice } = body;
  const complain = (path: (string | number)[], message: string): void =>
    context.addIssue({ code: "custom", path, message, input: body });
  const hasFunctions = Array.isArray(functions) && functions.length > 0;
  if (hasFunctions && Array.isArray(body["tools"]) && body["tools"].length > 0)
    complain(["functions"], "are the same as tools: use either");
  if (isGiven(functions) && !Array.isArray(functions)) complain(["functions"], "must be a list");
  if (isGiven(choice) && !isChoice(choice)) complain(["function_call"], "must be none, auto or a function's name");
  if (isRecord(choice) && !hasFunctions) complain(["function_call"], "is only allowed with functions");
  return {
    ...body,
    ...(hasFunctions && { tools: functions.map((one) => ({ type: "function", function: one })) }),
    ...(hasFunctions && isGiven(choice) && { tool_choice: toolChoice(choice) }),
    // There is one call in a turn.
    ...(hasFunctions && { parallel_tool_calls: false }),
    messages: Array.isArray(messages) && messages.length <= maxMessages ? toTurns(messages, complain) : messages,
  };
});

/** Whether a body says anything in those words. */
export function isLegacy(body: unknown): boolean {
  if (!isRecord(body)) return false;
  const { messages } = body;
  const isOld = (message: unknown): boolean =>
    isRecord(message) && (isGiven(message["function_call"]) || message["role"] === "function");
  return (
    isGiven(body["functions"]) || isGiven(body["function_call"]) || (Array.isArray(messages) && messages.some(isOld))
  );
}

export function speaksOfFunctions(body: Readonly<Record<string, unknown>>): boolean {
  const { functions } = body;
  return Array.isArray(functions) && functions.length > 0;
}

function toTurns(messages: readonly unknown[], complain: (path: (string | number)[], message: string) => void) {
  /** The last call of each name. */
  const calls = new Map<unknown, string>();
  return messages.map((message, index): unknown => {
    if (!isRecord(message)) return message;
    const { function_call: call, ...turn } = message;
    if (message["role"] === "function") {
      const id = calls.get(message["name"]);
      if (id === undefined) complain(["messages", index, "name"], "no earlier message calls this function");
      return { ...turn, role: "tool", tool_call_id: id };
    }
    if (!isGiven(call)) return message;
    if (!isRecord(call) || typeof call["name"] !== "string" || typeof call["arguments"] !== "string") {
      complain(["messages", index, "function_call"], "must hold a name and arguments, both strings");
      return message;
    }
    if (message["role"] !== "assistant")
      complain(["messages", index, "function_call"], "only an assistant's message can hold a call");
    const id = `call_${index}`;
    calls.set(call["name"], id);
    return { ...turn, tool_calls: [{ id, type: "function", function: call }] };
  });
}

function toolChoice(choice: unknown): unknown {
  return isRecord(choice) ? { type: "function", function: { name: choice["name"] } } : choice;
}

function isChoice(choice: unknown): boolean {
  return choice === "none" || choice === "auto" || (isRecord(choice) && typeof choice["name"] === "string");
}

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null;
}
