/**
 * @module Borrows demonstrations from a teacher, a few at once. What has been answered is noted at once, so that
 * nothing is paid for twice.
 */
import { inPool } from "../async/pool.ts";
import type { Message } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";
import type { Teacher, TeacherAnswer } from "./teacher.ts";

export interface Lesson {
  readonly id: string;
  /** User and assistant turns, ending with the user's. */
  readonly messages: readonly Message[];
  /** The answer that the teacher is to better, which becomes the rejected one; absent: there is none. */
  readonly original?: string | undefined;
}

/** A line of the journal: what the teacher said. */
export interface TaughtLesson extends TeacherAnswer {
  readonly id: string;
}

export interface TeachOptions {
  readonly teacher: Teacher;
  readonly system: string | undefined;
  readonly concurrency: number;
  /** Answers of earlier runs, by id. */
  readonly known: ReadonlyMap<string, TaughtLesson>;
  /** Keeps an answer that says something; resolves when it is safe. */
  readonly note: (lesson: TaughtLesson) => Promise<void>;
  readonly onProgress: (done: number, lesson: TaughtLesson) => void;
  /** Fires: no further call is begun; those under way are waited for. */
  readonly stop: AbortSignal;
}

/**
 * Resolves with the answers by id: all of them, unless it was stopped. Throws what a call throws, with the lesson's id,
 * after the others are noted: a call under way is paid for, and not ended.
 */
export async function teach(lessons: readonly Lesson[], options: TeachOptions): Promise<Map<string, TaughtLesson>> {
  const { teacher, system, concurrency, known, note, onProgress, stop } = options;
  const answers = new Map(known);
  const left = lessons.filter(({ id }) => !known.has(id));
  await inPool(left, { concurrency, signal: stop }, async (lesson, stopped) => {
    if (stopped.aborted) return;
    try {
      const answer = { id: lesson.id, ...(await teacher.ask(promptOf(lesson, system), `icdpo-${lesson.id}`)) };
      if (answer.text !== "") await note(answer);
      answers.set(lesson.id, answer);
      onProgress(answers.size, answer);
    } catch (error) {
      throw error instanceof GatewayError
        ? new GatewayError(error.code, `${lesson.id}: ${error.message}`, { cause: error })
        : error;
    }
  });
  return answers;
}

function promptOf({ messages }: Lesson, system: string | undefined) {
  const turns = messages.map(({ role, content }) => ({
    role: role === "assistant" ? ("assistant" as const) : ("user" as const),
    content,
  }));
  return system === undefined ? turns : [{ role: "system" as const, content: system }, ...turns];
}
