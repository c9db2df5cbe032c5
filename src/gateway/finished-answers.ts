/** @module What the method chose as answers: their last events, and what a plain request would have used. */
import type { TokenDetail } from "../engine/engine.ts";
import type { IcdpoOutcome } from "../icdpo/pipeline.ts";
import type { ScoredResponse } from "../icdpo/response.ts";
import type { AnswerReader } from "./answer-reader.ts";
import type { Answer, AnswerEvent, Generated, Generation } from "./generation.ts";

export interface Given {
  /** `[answers]`: each has read what has been given of its answer. */
  readonly readers: readonly AnswerReader[];
  /** Answers have been given as they were sampled: they keep their places. */
  readonly asSampled: boolean;
  /** Somebody reads the answers' events. */
  readonly inPieces: boolean;
}

/** The answers, and the events of what has not been given while it was sampled. */
export function finishAnswers(
  outcome: IcdpoOutcome,
  { answers, topLogprobs }: Generation,
  { readers, asSampled, inPieces }: Given,
): { readonly generated: Generated; readonly rest: readonly AnswerEvent[] } {
  const best = answersOf(outcome, answers);
  const ordered = asSampled ? best.toSorted((a, b) => a.index - b.index) : best;
  const rest: AnswerEvent[] = [];
  const given = ordered.map((response, index) => {
    const reader = readers[index] as AnswerReader;
    const thought = thoughtOf(outcome, response);
    if (thought !== "" && reader.thought === "") rest.push(reader.think(thought));
    const pieces = inPieces ? piecesFrom(response, reader.consumed, topLogprobs !== null) : [response];
    for (const { text, details } of pieces) rest.push(...reader.push(text, details));
    const last = reader.end(response.finish);
    rest.push(...last);
    return finished(last);
  });
  return { generated: { answers: given, usage: usageOf(outcome, best), outcome }, rest };
}

/** The rest of a text in pieces: of a few words, or of a token each where log-probabilities go with them. */
function* piecesFrom(
  { text, details }: ScoredResponse,
  from: number,
  byToken: boolean,
): Generator<{ text: string; details: TokenDetail[] }> {
  const rest = details.filter(({ offset }) => offset >= from);
  if (!byToken || rest.length === 0) {
    const pieces = text.slice(from).match(/\s*(?:\S+\s*){1,4}|\s+/gu) ?? [];
    for (const piece of pieces) yield { text: piece, details: [] };
    return;
  }
  // Tokens of one character come together.
  const starts = [...new Set([from, ...rest.map(({ offset }) => offset)])];
  let next = 0;
  for (const [i, start] of starts.entries()) {
    const first = next;
    while (next < rest.length && (rest[next] as TokenDetail).offset <= start) next += 1;
    yield { text: text.slice(start, starts[i + 1]), details: rest.slice(first, next) };
  }
}

/** The `count` best, best first. A greedy sample stands for as many as were asked for: they would all be the same. */
function answersOf({ ranked }: IcdpoOutcome, count: number): ScoredResponse[] {
  return Array.from({ length: count }, (_, place) => ranked[place] ?? (ranked[0] as ScoredResponse));
}

/** Its own, or the one that all share; empty: none. */
function thoughtOf({ reasoning }: IcdpoOutcome, { thought }: ScoredResponse): string {
  return (thought ?? reasoning?.thought)?.text ?? "";
}

/**
 * What a plain request would have used: the tokens of C⁰, and of the returned texts without their closing token. A
 * thought that they share counts once.
 */
function usageOf(outcome: IcdpoOutcome, responses: readonly ScoredResponse[]): Generated["usage"] {
  const { reasoning, basePromptTokens: promptTokens } = outcome;
  const shared = reasoning?.thought?.tokens ?? 0;
  // What a server counts has the thought in it.
  const completionTokens = responses.reduce(
    (sum, { sample, idsWithEos, thought }) =>
      sum + (sample?.counted?.completion ?? idsWithEos.length - 1 + (thought?.tokens ?? 0)),
    shared,
  );
  const own = responses.flatMap(({ thought }) => thought?.tokens ?? []);
  if (reasoning === undefined && own.length === 0) return { promptTokens, completionTokens };
  return { promptTokens, completionTokens, reasoningTokens: own.reduce((sum, tokens) => sum + tokens, shared) };
}

function finished(events: readonly AnswerEvent[]): Answer {
  const last = events.at(-1);
  if (last?.type !== "finish") throw new Error("An answer did not end");
  return last.answer;
}
