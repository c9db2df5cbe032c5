/** @module A judge or teacher that is asked nothing twice, and what asking it has cost. */
import type { Teacher, TeacherAnswer } from "icdpo-gateway/laboratory";
import { z } from "zod";
import { contentHash, type Kind, type ResultCache } from "./cache.ts";
import { versions } from "./versions.ts";

const answerKind: Kind<TeacherAnswer> = {
  name: "judge",
  version: versions.opinions.version,
  schema: z.object({
    text: z.string(),
    finish: z.enum(["stop", "length", "refused"]),
    promptTokens: z.number(),
    completionTokens: z.number(),
  }),
  keeps: ({ text }) => text !== "",
};

export interface CountedTeacher extends Teacher {
  /** Tokens of all answers, those of earlier runs among them. */
  readonly used: () => { readonly promptTokens: number; readonly completionTokens: number; readonly calls: number };
}

export function cachedTeacher(teacher: Teacher, cache: ResultCache): CountedTeacher {
  const used = { promptTokens: 0, completionTokens: 0, calls: 0 };
  return {
    model: teacher.model,
    id: teacher.id,
    used: () => used,
    async ask(messages, _key, signal, form) {
      // Several answers are judged beside one prompt: what says that a call is the same call is what it says.
      const parts = [teacher.id, messages, form ?? null];
      const answer = await cache.recall(answerKind, parts, () =>
        teacher.ask(messages, `icdpo-${contentHash(parts)}`, signal, form),
      );
      used.promptTokens += answer.promptTokens;
      used.completionTokens += answer.completionTokens;
      used.calls += 1;
      return answer;
    },
  };
}
