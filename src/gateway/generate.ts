/**
 * @module Generates the answers of a request, whatever protocol it came in: whole, or as a stream of events from the
 * request to its answers.
 */
import type { Context } from "hono";
import type { TokenDetail } from "../engine/engine.ts";
import {
  type Beginning,
  type IcdpoOutcome,
  type IcdpoRequest,
  icdpo,
  type Standing,
  type Watch,
} from "../icdpo/pipeline.ts";
import type { AnswerReader } from "./answer-reader.ts";
import { recordCounterfactual } from "./counterfactual.ts";
import { type Demand, generationDemand } from "./demand.ts";
import type { AppDependencies } from "./dependencies.ts";
import { finishAnswers } from "./finished-answers.ts";
import type { AnswerEvent, Generated, Generation, GenerationEvent } from "./generation.ts";
import { candidatesHeader, outcomeHeaders, retrieveTiming, setHeaders } from "./headers.ts";
import { agree, type Prepared, prepare } from "./prepared.ts";
import type { ResolvedRoute } from "./route.ts";
import { askerOf, type Outlet, type Reader, sizeOf, streamWork, type Work, withRequest } from "./work.ts";

/**
 * Events from a request to its answers, as they happen: "begin" first, since what is wrong with the request is thrown
 * before, and "end" last.
 */
export function generate(
  c: Context,
  dependencies: AppDependencies,
  resolved: ResolvedRoute,
  generation: Generation,
  answerId: string,
  reader: Reader,
): AsyncIterable<GenerationEvent> {
  c.get("observer").note({ answer: answerId, stream: true });
  const { demand, answer } = agreed(c, dependencies, resolved, generation, { answerId, isStreamed: true });
  return streamWork<GenerationEvent>(askerOf(c), reader, dependencies, demand, async (work, out) => {
    const { rest, generated, after } = await answer(work, (readers) => showing(c, readers, out));
    return { rest: [...rest, { type: "end", generated }], after };
  });
}

/** The answers whole; sets the response's headers. Nobody looks at them before: until then the work may be tried again. */
export async function generateWhole(
  c: Context,
  dependencies: AppDependencies,
  resolved: ResolvedRoute,
  generation: Generation,
  answerId: string,
): Promise<Generated> {
  c.get("observer").note({ answer: answerId });
  const { demand, answer } = agreed(c, dependencies, resolved, generation, { answerId, isStreamed: false });
  const { generated, after } = await withRequest(askerOf(c), dependencies, demand, (work) => answer(work));
  after();
  setHeaders(c, outcomeHeaders(generated.outcome));
  return generated;
}

/** What happens until the answers are there whole, for somebody who watches candidates compete. */
export type WatchedEvent =
  /** Everything wrong with the request has been thrown before. */
  | { readonly type: "begin"; readonly candidates: number }
  | { readonly type: "text"; readonly index: number; readonly text: string }
  | ({ readonly type: "standing" } & Standing)
  | { readonly type: "end"; readonly generated: Generated };

/** The answers of `generateWhole`, and what happens to all candidates until then. */
export function generateWatched(
  c: Context,
  dependencies: AppDependencies,
  resolved: ResolvedRoute,
  generation: Generation,
  answerId: string,
  reader: Reader,
): AsyncIterable<WatchedEvent> {
  c.get("observer").note({ answer: answerId, stream: true });
  const { demand, answer } = agreed(c, dependencies, resolved, generation, { answerId, isStreamed: false });
  return streamWork<WatchedEvent>(askerOf(c), reader, dependencies, demand, async (work, { begin, push }) => {
    const watch: Watch = {
      onText: (index, text) => push({ type: "text", index, text }, text.length),
      onStanding: ({ index, text, score, isDropped = false }) =>
        push({ type: "standing", index, text, score, isDropped }, text.length),
    };
    const onSampling = ({ candidates }: Beginning): void => begin({ type: "begin", candidates });
    const { generated, after } = await answer(work, () => ({ onSampling, watch }));
    return { rest: [{ type: "end", generated }], after };
  });
}

interface Answered {
  readonly generated: Generated;
  /** Events of what has not been shown. */
  readonly rest: readonly AnswerEvent[];
  /** Called once the request is over. */
  readonly after: () => void;
}

/** What is shown of answers before they are whole, each read by one of the readers. */
type Show = (
  readers: readonly AnswerReader[],
) => Pick<IcdpoRequest, "isStreamed" | "onSampling" | "onThought" | "onText" | "watch">;

/** What a request may take, and how it is answered; with `show`, shown as it happens. */
function agreed(
  c: Context,
  dependencies: AppDependencies,
  resolved: ResolvedRoute,
  generation: Generation,
  { answerId, isStreamed }: { readonly answerId: string; readonly isStreamed: boolean },
): { readonly demand: Demand; readonly answer: (work: Work, show?: Show) => Promise<Answered> } {
  const terms = agree(dependencies, resolved, generation, isStreamed);
  const { conversation, answers, tools, reasoning } = generation;
  const { sampling, isBounded } = terms;
  const within = generation.sampling.maxTokens;
  const asked = { conversation, sampling, answers, tools, reasoning, within, isBounded };
  const demand = generationDemand(terms.policy, asked);
  const answer = async (work: Work, show: Show = () => ({})): Promise<Answered> => {
    const prepared = await prepare(c, dependencies, resolved, generation, terms, work);
    const { outcome, readers } = await work.attempt(async (usage) => {
      const readers = Array.from({ length: answers }, (_, index) => prepared.reader(index));
      const shown = show(readers);
      return { outcome: await run(prepared, { ...prepared.request, ...shown, usage }, work.spent), readers };
    });
    const asSampled = isStreamed && outcome.isAsSampled;
    const { generated, rest } = finishAnswers(outcome, generation, { readers, asSampled, inPieces: isStreamed });
    tell(c, generated);
    const { policy, request } = prepared;
    const scored = { id: answerId, policy, request, outcome };
    return { generated, rest, after: () => void recordCounterfactual(c, dependencies, resolved, scored) };
  };
  return { demand, answer };
}

/** What a reader is shown while answers are sampled: the beginning, and text where nothing is left to choose. */
function showing(
  c: Context,
  readers: readonly AnswerReader[],
  { begin, push }: Outlet<GenerationEvent>,
): ReturnType<Show> {
  const onSampling = ({ retrieveMs, basePromptTokens: promptTokens, candidates }: Beginning): void => {
    c.get("observer").note({ promptTokens });
    if (!c.finalized) setHeaders(c, { ...candidatesHeader(candidates), "server-timing": retrieveTiming(retrieveMs) });
    begin({ type: "begin", promptTokens });
  };
  // A thought that all answers share is each one's.
  const onThought = (index: number | null, text: string): void => {
    for (const reader of index === null ? readers : readers.slice(index, index + 1))
      push(reader.think(text), text.length);
  };
  const onText = (index: number, text: string, details: readonly TokenDetail[]): void => {
    for (const event of readers[index]?.push(text, details) ?? []) push(event, sizeOfEvent(event));
  };
  return { isStreamed: true, onSampling, onThought, onText };
}

async function run(
  { policy, bypassed }: Prepared,
  request: IcdpoRequest,
  spent: AbortSignal | undefined,
): Promise<IcdpoOutcome> {
  const outcome = await icdpo(policy, request);
  if (spent?.aborted && outcome.fallback === "budget") return { ...outcome, fallback: "limit" };
  return bypassed ? { ...outcome, fallback: outcome.fallback ?? "bypass" } : outcome;
}

/** Tells what came of a request. */
function tell(c: Context, { outcome, usage, answers }: Generated): void {
  const [best, next] = outcome.ranked.filter(({ dropped }) => dropped === undefined);
  const observer = c.get("observer");
  observer.note({
    ...usage,
    candidates: outcome.candidates,
    ...(typeof best?.score === "number" && { score: best.score }),
    ...(typeof best?.score === "number" && typeof next?.score === "number" && { margin: best.score - next.score }),
    ...(outcome.natsPerToken !== null && { natsPerToken: outcome.natsPerToken }),
    ...(best?.copied && { copied: best.copied.share }),
    ...(answers[0] && { finish: answers[0].finish }),
    ...(outcome.fallback !== null && { fallback: outcome.fallback }),
  });
  observer.text(
    "answers",
    answers.map(({ content, toolCalls }) => ({ content, toolCalls })),
  );
}

function sizeOfEvent(event: AnswerEvent): number {
  return "text" in event ? sizeOf(event.text, event.type === "text" ? (event.logprobs ?? []) : []) : 0;
}
