/** @module Dialogues as one text, or as texts that begin with their speaker's mark: HH-RLHF's, and the paper's own. */
import type { Message } from "../types/conversation.ts";

/** Why a line is no example. */
export interface Unusable {
  readonly reason: string;
}

const humanTurn = "\n\nHuman:";
const assistantTurn = "\n\nAssistant:";
const turnBorder = /\n\n(?=(?:Human|Assistant):)/u;
const turnStart = /^(?:Human|Assistant): ?/u;
const openAnswer = /\s*\n\nAssistant:\s*$/u;

/** The prompt is everything before the last answer, which ends the transcript. */
export function cutTranscript(text: string): { readonly prompt: string; readonly response: string } | Unusable {
  const at = text.lastIndexOf(assistantTurn);
  if (at < 0) return { reason: "no assistant turn" };
  if (text.indexOf(humanTurn, at) >= 0) return { reason: "the transcript ends with a Human turn" };
  return { prompt: text.slice(0, at), response: text.slice(at + assistantTurn.length).trim() };
}

/**
 * Turns of "\n\nHuman: …\n\nAssistant: …", contents unchanged, two of one side in a row as two; null where something
 * stands before them.
 */
export function turnsOf(transcript: string): Message[] | null {
  const turns = transcript.split(turnBorder).filter((turn) => turn !== "");
  if (!turns.every((turn) => turnStart.test(turn))) return null;
  return turns.map((turn) => ({
    role: turn.startsWith("Human:") ? "user" : "assistant",
    content: turn.replace(turnStart, ""),
  }));
}

/**
 * A prompt as one text: a transcript that begins with a Human turn, the mark of the answer to come left out, or what
 * one user said.
 */
export function promptTurns(prompt: string): Message[] | Unusable {
  const text = prompt.replace(openAnswer, "");
  if (/^\s*Human:/u.test(text)) return turnsOf(`\n\n${text.trimStart()}`) ?? { reason: "text before the first turn" };
  return turnBorder.test(text) ? { reason: "text before the first turn" } : [{ role: "user", content: text }];
}

const segmentStart = /^<\|(prompter|assistant)\|>\s?/u;

/** "<|prompter|>…", "<|assistant|>…", one text a turn; the mark of the answer to come, at the end, left out. */
export function segmentTurns(segments: readonly string[]): Message[] | Unusable {
  const said = segments.at(-1)?.trim() === "<|assistant|>" ? segments.slice(0, -1) : segments;
  const turns = said.map((segment): Message | null => {
    const [mark = "", speaker] = segmentStart.exec(segment) ?? [];
    if (speaker === undefined && said.length > 1) return null;
    return { role: speaker === "assistant" ? "assistant" : "user", content: segment.slice(mark.length) };
  });
  return turns.every((turn) => turn !== null) ? turns : { reason: "a turn without its speaker" };
}
