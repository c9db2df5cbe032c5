/**
 * @module A language model as judge: which of two answers is better, asked in both orders, for a judge leans to a
 * place.
 */
import { z } from "zod";
import { parsedJson } from "../text/json.ts";
import { withoutThought } from "../text/without-thought.ts";
import type { Conversation } from "../types/conversation.ts";
import type { AnswerForm, Teacher, TeacherAnswer } from "./teacher.ts";

/**
 * 1: the first answer wins in both orders; 0: the second does; 0.5: a tie, or an opinion that changes with the order.
 */
export type Judgement = 0 | 0.5 | 1;

const instruction = `You compare two answers to the end of a conversation. Judge which is more helpful, correct, harmless and honest, and ignore their order and length. Reply with your verdict alone, a line which is exactly "VERDICT: A", "VERDICT: B" or "VERDICT: TIE"; if you reply in JSON, {"verdict": "A"}, {"verdict": "B"} or {"verdict": "TIE"}.`;

const verdicts = ["A", "B", "TIE"] as const;
const values = { A: 1, B: 0, TIE: 0.5 } as const;

const verdictSchema = z.strictObject({ verdict: z.enum(verdicts) });

export const verdictForm: AnswerForm = {
  name: "verdict",
  schema: {
    type: "object",
    properties: { verdict: { type: "string", enum: [...verdicts] } },
    required: ["verdict"],
    additionalProperties: false,
  },
};

/**
 * Always asks in both orders, about the answers without their thoughts. Null where either verdict cannot be read: that
 * is no tie. Throws what the judge's endpoint throws.
 */
export async function judgePair(
  judge: Teacher,
  conversation: Conversation,
  first: string,
  second: string,
  key: string,
  signal?: AbortSignal,
): Promise<Judgement | null> {
  const [one, other] = [withoutThought(first), withoutThought(second)];
  const ask = async (a: string, b: string, order: string): Promise<Judgement | null> => {
    const messages = [
      { role: "system" as const, content: instruction },
      { role: "user" as const, content: questionOf(conversation, a, b) },
    ];
    return verdictOf(await judge.ask(messages, `${key}-${order}`, signal, verdictForm));
  };
  const forward = await ask(one, other, "forward");
  const backward = await ask(other, one, "backward");
  if (forward === null || backward === null) return null;
  if (forward === 1 && backward === 0) return 1;
  return forward === 0 && backward === 1 ? 0 : 0.5;
}

function questionOf(conversation: Conversation, a: string, b: string): string {
  const turns = conversation.map(({ role, content }) => `${role}: ${content}`).join("\n\n");
  return `# Conversation\n\n${turns}\n\n# Answer A\n\n${a}\n\n# Answer B\n\n${b}\n\nWhich is better: A, B or TIE?`;
}

/**
 * Of the answer called A: of a reply that is `{"verdict": …}` and nothing else (in a fence of Markdown, where an
 * endpoint passes over the form), or whose last line is exactly `VERDICT: A`, `VERDICT: B` or `VERDICT: TIE`. Null for
 * any other reply, and for a line that may have been cut short.
 */
export function verdictOf({ text, finish }: Pick<TeacherAnswer, "text" | "finish">): Judgement | null {
  const reply = text.trim();
  const structured = verdictSchema.safeParse(parsedJson(/^```(?:json)?\n(.*)\n```$/su.exec(reply)?.[1] ?? reply));
  if (structured.success) return values[structured.data.verdict];
  const [, verdict] = /(?:^|\n)VERDICT: (A|B|TIE)$/u.exec(reply) ?? [];
  return verdict === undefined || finish !== "stop" ? null : values[verdict as keyof typeof values];
}
