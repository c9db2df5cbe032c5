/** @module Preference data as it is published: one line of JSON → a prompt and its responses, or the reason why not. */
import { z } from "zod";
import { demonstrationSchema } from "../policy/demonstration-schema.ts";
import { withoutThought } from "../text/without-thought.ts";
import type { Message } from "../types/conversation.ts";

export const datasetFormats = [
  "hh-rlhf",
  "synthetic-gpt",
  "openai-preference",
  "openai-chat",
  "demonstrations",
] as const;
export type DatasetFormat = (typeof datasetFormats)[number];

/** A prompt that ends with a user's turn, the response to learn from, and a worse one; none with what was thought. */
export interface Example {
  readonly messages: readonly Message[];
  readonly chosen: string;
  readonly rejected?: string | undefined;
  /** Near negatives of a demonstration. */
  readonly near?: readonly string[] | undefined;
}

/** Why a line is no example. */
export interface Unusable {
  readonly reason: string;
}

const hhRlhf = z.object({ chosen: z.string(), rejected: z.string() });
const syntheticGpt = z.object({ prompt: z.string(), chosen: z.string(), rejected: z.string() });
const textPart = z.object({ type: z.literal("text"), text: z.string() });
const thoughtPart = z
  .object({ type: z.enum(["thinking", "reasoning", "redacted_thinking"]) })
  .transform(() => ({ text: "" }));
const chatMessage = z.object({
  role: z.string(),
  content: z.union([z.string(), z.array(z.union([textPart, thoughtPart]))]).nullish(),
  tool_calls: z.array(z.unknown()).nullish(),
});
const openaiChat = z.object({ messages: z.array(chatMessage).min(1) });
const openaiPreference = z.object({
  input: z.object({ messages: z.array(chatMessage).min(1) }),
  preferred_output: z.array(chatMessage).min(1),
  non_preferred_output: z.array(chatMessage).min(1),
});

const humanTurn = "\n\nHuman:";
const assistantTurn = "\n\nAssistant:";
const turnBorder = /\n\n(?=(?:Human|Assistant):)/u;
const turnStart = /^(?:Human|Assistant): ?/u;

/** The format of a line by its fields; null where it is none of them. */
export function detectFormat(line: unknown): DatasetFormat | null {
  if (demonstrationSchema.safeParse(line).success) return "demonstrations";
  if (syntheticGpt.safeParse(line).success) return "synthetic-gpt";
  if (hhRlhf.safeParse(line).success) return "hh-rlhf";
  if (openaiPreference.safeParse(line).success) return "openai-preference";
  return openaiChat.safeParse(line).success ? "openai-chat" : null;
}

export function readExample(format: DatasetFormat, line: unknown): Example | Unusable {
  switch (format) {
    case "hh-rlhf":
      return read(hhRlhf, line, ({ chosen, rejected }) => fromTranscripts(chosen, rejected));
    case "synthetic-gpt":
      return read(syntheticGpt, line, ({ prompt, chosen, rejected }) =>
        turnBorder.test(prompt)
          ? { reason: "the prompt holds several turns" }
          : usable([{ role: "user", content: prompt }], chosen, rejected),
      );
    case "openai-chat":
      return read(openaiChat, line, ({ messages }) =>
        fromChat(messages.slice(0, -1), [messages.at(-1) as ChatMessage]),
      );
    case "openai-preference":
      return read(openaiPreference, line, ({ input, preferred_output: better, non_preferred_output: worse }) =>
        fromChat(input.messages, better, worse),
      );
    case "demonstrations":
      return read(demonstrationSchema, line, ({ messages, chosen, rejected, near }) =>
        usable(messages, chosen, rejected, near),
      );
  }
}

type ChatMessage = z.output<typeof chatMessage>;

function read<Schema extends z.ZodType>(
  schema: Schema,
  line: unknown,
  make: (parsed: z.output<Schema>) => Example | Unusable,
): Example | Unusable {
  const parsed = schema.safeParse(line);
  if (parsed.success) return make(parsed.data);
  const issue = parsed.error.issues[0];
  return { reason: `not of this format (${issue?.path.join(".") ?? ""}: ${issue?.message})` };
}

/**
 * HH-RLHF: both transcripts hold the whole dialogue; the prompt is everything before the last answer, which ends the
 * transcript.
 */
function fromTranscripts(chosen: string, rejected: string): Example | Unusable {
  const [better, worse] = [cutTranscript(chosen), cutTranscript(rejected)];
  if ("reason" in better) return better;
  if ("reason" in worse) return worse;
  if (better.prompt !== worse.prompt) return { reason: "the two responses have different prompts" };
  const messages = turnsOf(better.prompt);
  return messages === null
    ? { reason: "text before the first turn" }
    : usable(messages, better.response, worse.response);
}

function cutTranscript(text: string): { prompt: string; response: string } | Unusable {
  const at = text.lastIndexOf(assistantTurn);
  if (at < 0) return { reason: "no assistant turn" };
  if (text.indexOf(humanTurn, at) >= 0) return { reason: "the transcript ends with a Human turn" };
  return { prompt: text.slice(0, at), response: text.slice(at + assistantTurn.length).trim() };
}

/**
 * Turns of "\n\nHuman: …\n\nAssistant: …", contents unchanged, two of one side in a row as two; null where something
 * stands before them.
 */
function turnsOf(transcript: string): Message[] | null {
  const turns = transcript.split(turnBorder).filter((turn) => turn !== "");
  if (!turns.every((turn) => turnStart.test(turn))) return null;
  return turns.map((turn) => ({
    role: turn.startsWith("Human:") ? "user" : "assistant",
    content: turn.replace(turnStart, ""),
  }));
}

function fromChat(
  prompt: readonly ChatMessage[],
  better: readonly ChatMessage[],
  worse?: readonly ChatMessage[],
): Example | Unusable {
  if ([...prompt, ...better, ...(worse ?? [])].some((message) => message.tool_calls?.length || message.role === "tool"))
    return { reason: "tool calls" };
  if (prompt.some(({ role }) => role === "system" || role === "developer")) return { reason: "a system message" };
  if ([...better, ...(worse ?? [])].some(({ role }) => role !== "assistant")) return { reason: "no assistant turn" };
  if (better.length > 1 || (worse?.length ?? 0) > 1) return { reason: "a response of several turns" };
  const turns = prompt.map(({ role, content }) => ({ role: role as Message["role"], content: textOf(content) }));
  return usable(turns, textOf(better[0]?.content), worse && textOf(worse[0]?.content));
}

function textOf(content: ChatMessage["content"]): string {
  return typeof content === "string" ? content : (content ?? []).map(({ text }) => text).join("");
}

/** A conversation as a model is shown it: what was thought before earlier answers is no part of it. */
export function withoutThoughts(messages: readonly Message[]): Message[] {
  return messages.map((message) =>
    message.role === "assistant" ? { ...message, content: withoutThought(message.content) } : message,
  );
}

function usable(
  given: readonly Message[],
  answer: string,
  worseAnswer: string | undefined,
  nearAnswers?: readonly string[],
): Example | Unusable {
  const messages = withoutThoughts(given);
  const chosen = withoutThought(answer);
  const rejected = worseAnswer === undefined ? undefined : withoutThought(worseAnswer);
  const near = nearAnswers?.map(withoutThought);
  if (messages.length === 0 || messages.some(({ content }) => content.trim() === ""))
    return { reason: "an empty prompt" };
  if (messages.at(-1)?.role !== "user") return { reason: "the prompt does not end with the user's turn" };
  const worse = [...(rejected === undefined ? [] : [rejected]), ...(near ?? [])];
  if ([chosen, ...worse].some((text) => text.trim() === "")) return { reason: "an empty response" };
  if (worse.includes(chosen)) return { reason: "both responses are the same" };
  return { messages, chosen, rejected, ...(near !== undefined && { near }) };
}
