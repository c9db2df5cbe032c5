/** @module A language model as judge: which of two answers is better, asked in both orders, for a judge leans to a place. */
import type { Conversation } from "../types/conversation.ts";
import type { Teacher } from "./teacher.ts";

/** 1: the first answer wins in both orders; 0: the second does; 0.5: a tie, or an opinion that changes with the order. */
export type Judgement = 0 | 0.5 | 1;

const instruction = `You compare two answers to the end of a conversation. Judge which is more helpful, correct, harmless and honest, and ignore their order and length. Reply with one word: A, B or TIE.`;

/** Throws what the judge's endpoint throws, and null where it gives no opinion in either order. */
export async function judgePair(
  judge: Teacher,
  conversation: Conversation,
  first: string,
  second: string,
  key: string,
  signal?: AbortSignal,
): Promise<Judgement | null> {
  const ask = async (a: string, b: string, order: string): Promise<Judgement | null> => {
    const messages = [
      { role: "system" as const, content: instruction },
      { role: "user" as const, content: questionOf(conversation, a, b) },
    ];
    return opinionOf((await judge.ask(messages, `${key}-${order}`, signal)).text);
  };
  const forward = await ask(first, second, "forward");
  const backward = await ask(second, first, "backward");
  if (forward === null && backward === null) return null;
  if (forward === 1 && backward === 0) return 1;
  return forward === 0 && backward === 1 ? 0 : 0.5;
}

function questionOf(conversation: Conversation, a: string, b: string): string {
  const turns = conversation.map(({ role, content }) => `${role}: ${content}`).join("\n\n");
  return `# Conversation\n\n${turns}\n\n# Answer A\n\n${a}\n\n# Answer B\n\n${b}\n\nWhich is better: A, B or TIE?`;
}

/** Of the answer called A. */
export function opinionOf(text: string): Judgement | null {
  const words = text.match(/\b(?:A|B|TIE)\b/gu) ?? [];
  const verdict = words.at(-1);
  return verdict === "A" ? 1 : verdict === "B" ? 0 : verdict === "TIE" ? 0.5 : null;
}
