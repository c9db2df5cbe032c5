/** @module Preference data as it is published: one row → a prompt and its responses, or the reason why not. */
import { z } from "zod";
import { demonstrationSchema } from "../policy/demonstration-schema.ts";
import { withoutThought } from "../text/without-thought.ts";
import type { Message } from "../types/conversation.ts";
import {
  type ChatMessage,
  chatMessages,
  chatResponse,
  chatTurns,
  sharedPrompt,
  shareGptMessages,
  shareGptTurn,
} from "./chat-rows.ts";
import { cutTranscript, promptTurns, segmentTurns, turnsOf, type Unusable } from "./transcripts.ts";

export type { Unusable } from "./transcripts.ts";

/** A prompt that ends with a user's turn, the response to learn from, and a worse one; none with what was thought. */
export interface Example {
  /** A system turn first, where the data has one. */
  readonly messages: readonly Message[];
  readonly chosen: string;
  readonly rejected?: string | undefined;
  /** Near negatives of a demonstration. */
  readonly near?: readonly string[] | undefined;
}

interface Format<Schema extends z.ZodType> {
  readonly schema: Schema;
  readonly read: (row: z.output<Schema>) => Example | Unusable;
}

function format<Schema extends z.ZodType>(schema: Schema, read: Format<Schema>["read"]): Format<Schema> {
  return { schema, read };
}

/** In the order in which they are tried: a row that has the fields of two is of the first. */
const formats = {
  /** The project's own. */
  demonstrations: format(demonstrationSchema, ({ messages, chosen, rejected, near }) =>
    usable(messages, chosen, rejected, near),
  ),
  /** The paper's authors': all responses to a prompt, the best first. HH-RLHF_ChatGPT,3 is of this form. */
  "ranked-list": format(
    z.object({
      prefix: z.union([z.array(z.array(z.string()).min(1)).min(1), z.array(z.string()).min(1)]),
      suffix: z.array(z.string()).min(1),
    }),
    ({ prefix, suffix }) => fromRanking(prefix, suffix),
  ),
  /** The paper's authors', of their demonstrations. */
  "positive-negative": format(
    z.object({ prompt: z.string(), pos_response: z.string(), neg_response: z.string().nullish() }),
    ({ prompt, pos_response: better, neg_response: worse }) => fromPrompt(prompt, better, worse ?? undefined),
  ),
  "synthetic-gpt": format(
    z.object({ prompt: z.string(), chosen: z.string(), rejected: z.string() }),
    ({ prompt, chosen, rejected }) => fromPrompt(prompt, chosen, rejected),
  ),
  "hh-rlhf": format(z.object({ chosen: z.string(), rejected: z.string() }), ({ chosen, rejected }) =>
    fromTranscripts(chosen, rejected),
  ),
  "openai-preference": format(
    z.object({
      input: z.object({ messages: chatMessages }),
      preferred_output: chatMessages,
      non_preferred_output: chatMessages,
    }),
    ({ input, preferred_output: better, non_preferred_output: worse }) => fromChat(input.messages, better, worse),
  ),
  /** TRL's preferences, as messages: with the prompt, or with both dialogues whole. */
  trl: format(
    z.object({
      prompt: z.union([chatMessages, z.string()]).nullish(),
      chosen: chatMessages,
      rejected: chatMessages,
    }),
    ({ prompt, chosen, rejected }) => fromPreference(typeof prompt === "string" ? null : prompt, chosen, rejected),
  ),
  /** TRL's prompts and completions, as messages or texts; of those that are marked, the good ones. */
  "trl-completion": format(
    z.union([
      z.object({ prompt: chatMessages, completion: chatMessages, label: z.boolean().nullish() }),
      z.object({ prompt: z.string(), completion: z.string(), label: z.boolean().nullish() }),
    ]),
    ({ prompt, completion, label }) => {
      if (label === false) return { reason: "a completion marked as bad, without a good one" };
      return typeof prompt === "string"
        ? fromPrompt(prompt, completion as string, undefined)
        : fromChat(prompt, completion as ChatMessage[]);
    },
  ),
  sharegpt: format(
    z.object({ conversations: shareGptMessages, chosen: shareGptTurn.nullish(), rejected: shareGptTurn.nullish() }),
    ({ conversations: turns, chosen, rejected }) =>
      chosen && rejected
        ? fromChat(turns, [chosen], [rejected])
        : fromChat(turns.slice(0, -1), [turns.at(-1) as ChatMessage]),
  ),
  "openai-chat": format(z.object({ messages: chatMessages }), ({ messages }) =>
    fromChat(messages.slice(0, -1), [messages.at(-1) as ChatMessage]),
  ),
} as const;

export type DatasetFormat = keyof typeof formats;
export const datasetFormats = Object.keys(formats) as DatasetFormat[];

/** The format of a row by its fields; null where it is none of them. */
export function detectFormat(row: unknown): DatasetFormat | null {
  return datasetFormats.find((name) => formats[name].schema.safeParse(row).success) ?? null;
}

export function readExample(name: DatasetFormat, row: unknown): Example | Unusable {
  const { schema, read } = formats[name] as Format<z.ZodType>;
  const parsed = schema.safeParse(row);
  if (parsed.success) return read(parsed.data);
  const issue = parsed.error.issues[0];
  return { reason: `not of this format (${issue?.path.join(".") ?? ""}: ${issue?.message})` };
}

/** HH-RLHF: both transcripts hold the whole dialogue. */
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

function fromPrompt(prompt: string, better: string, worse: string | undefined): Example | Unusable {
  const messages = promptTurns(prompt);
  return "reason" in messages ? messages : usable(messages, better.trim(), worse?.trim());
}

/** As the authors' code has it: the first response is the good one, the last the bad one. */
function fromRanking(
  prefix: readonly (readonly string[])[] | readonly string[],
  suffix: readonly string[],
): Example | Unusable {
  const isOne = (all: typeof prefix): all is readonly string[] => typeof all[0] === "string";
  const prompts = isOne(prefix) ? [prefix] : prefix;
  const [first = [], last = []] = [prompts[0], prompts.at(-1)];
  if (JSON.stringify(first) !== JSON.stringify(last)) return { reason: "the two responses have different prompts" };
  const messages = segmentTurns(first);
  if ("reason" in messages) return messages;
  return usable(messages, (suffix[0] as string).trim(), suffix.length > 1 ? suffix.at(-1)?.trim() : undefined);
}

function fromPreference(
  prompt: readonly ChatMessage[] | null | undefined,
  chosen: readonly ChatMessage[],
  rejected: readonly ChatMessage[],
): Example | Unusable {
  if (prompt) return fromChat(prompt, chosen, rejected);
  const shared = sharedPrompt(chosen, rejected);
  if (shared === chosen.length && shared === rejected.length) return { reason: "both responses are the same" };
  if (shared === 0) return { reason: "the two responses have different prompts" };
  return fromChat(chosen.slice(0, shared), chosen.slice(shared), rejected.slice(shared));
}

function fromChat(
  prompt: readonly ChatMessage[],
  better: readonly ChatMessage[],
  worse?: readonly ChatMessage[],
): Example | Unusable {
  const messages = chatTurns(prompt);
  if ("reason" in messages) return messages;
  const chosen = chatResponse(better);
  if (typeof chosen !== "string") return chosen;
  const rejected = worse && chatResponse(worse);
  if (typeof rejected === "object") return rejected;
  return usable(messages, chosen, rejected);
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
