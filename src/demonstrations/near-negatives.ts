/**
 * @module Near negatives: what a model says plainly to a demonstration's prompt, a few prompts at once. What has been
 * said is noted at once, so that no prompt is answered twice.
 */
import { inPool } from "../async/pool.ts";
import { withoutThought } from "../text/without-thought.ts";
import type { Conversation } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";

/** A demonstration's prompt, and what no negative may say. */
export interface PlainPrompt {
  readonly id: string;
  readonly messages: Conversation;
  readonly chosen: string;
}

export interface PlainAnswer {
  readonly text: string;
  /** "length": cut off. */
  readonly finish: "stop" | "length";
}

/** A line of the journal: what is kept of a model's answers to one prompt. */
export interface NearNegatives {
  readonly id: string;
  /** Each text once; none where nothing could be used. */
  readonly near: readonly string[];
  /** So many of them end where a sentence did, for the answer was cut off. */
  readonly cut: number;
}

export interface NearOptions {
  /** Different texts for each prompt, where the model says so many. */
  readonly samples: number;
  readonly concurrency: number;
  /** Those of earlier runs, by id. */
  readonly known: ReadonlyMap<string, NearNegatives>;
  /** So many plain answers, others in each round. */
  readonly answer: (prompt: PlainPrompt, count: number, round: number) => Promise<readonly PlainAnswer[]>;
  /** Resolves when they are safe. */
  readonly note: (negatives: NearNegatives) => Promise<void>;
  readonly onProgress: (done: number) => void;
  /** Fires: no further prompt is begun; those under way are waited for. */
  readonly stop: AbortSignal;
}

/** What cannot be used is answered anew, so many times at most. */
const mostRounds = 4;

/**
 * Resolves with the near negatives by id: of all prompts, unless it was stopped. Throws what answering throws, with the
 * prompt's id, after those under way are noted.
 */
export async function nearNegatives(
  prompts: readonly PlainPrompt[],
  options: NearOptions,
): Promise<Map<string, NearNegatives>> {
  const { concurrency, known, note, onProgress, stop } = options;
  const made = new Map(known);
  const left = prompts.filter(({ id }) => !known.has(id));
  await inPool(left, { concurrency, signal: stop }, async (prompt, stopped) => {
    if (stopped.aborted) return;
    try {
      const negatives = await negativesOf(prompt, options);
      if (negatives.near.length > 0) await note(negatives);
      made.set(prompt.id, negatives);
      onProgress(made.size);
    } catch (error) {
      throw error instanceof GatewayError
        ? new GatewayError(error.code, `${prompt.id}: ${error.message}`, { cause: error })
        : error;
    }
  });
  return made;
}

async function negativesOf(
  prompt: PlainPrompt,
  { samples, answer }: Pick<NearOptions, "samples" | "answer">,
): Promise<NearNegatives> {
  const wasCut = new Map<string, boolean>();
  for (let round = 0; round < mostRounds && wasCut.size < samples; round++)
    for (const given of await answer(prompt, samples - wasCut.size, round)) {
      const text = negativeText(given, prompt.chosen);
      if (text !== null) wasCut.set(text, given.finish === "length");
    }
  return { id: prompt.id, near: [...wasCut.keys()], cut: [...wasCut.values()].filter(Boolean).length };
}

/**
 * What an answer shows as a negative: its text without a thought before it and white space around it; where it was cut
 * off, to the end of its last whole sentence, or of its last whole line where it has no sentence: C⁻ closes it like any
 * answer, and half a sentence would teach the model to end in the middle. Null where nothing is left, or just the chosen
 * response.
 */
export function negativeText({ text, finish }: PlainAnswer, chosen: string): string | null {
  const answer = withoutThought(text);
  const kept = (finish === "length" ? whole(answer) : answer).trim();
  return kept === "" || kept === chosen.trim() ? null : kept;
}

/** A mark after a letter, with what closes quotes and emphasis; "2." in a list ends nothing. */
const sentenceEnd = /[^\s\d][.!?…]["'*_’”»)\]]*(?=\s|$)|[。！？]["”」』）]*/gu;

function whole(text: string): string {
  const last = [...text.matchAll(sentenceEnd)].at(-1);
  return text.slice(0, last === undefined ? Math.max(0, text.lastIndexOf("\n")) : last.index + last[0].length);
}
