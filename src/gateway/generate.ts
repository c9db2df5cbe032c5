/** @module Generates the answers of a request, whatever protocol it came in: whole, or as events while they are generated. */
import type { Context } from "hono";
import type { TokenDetail } from "../engine/engine.ts";
import { checkLength } from "../icdpo/contexts.ts";
import { type Beginning, type IcdpoOutcome, type IcdpoRequest, icdpo } from "../icdpo/pipeline.ts";
import type { ScoredResponse } from "../icdpo/response.ts";
import { candidateCount, choosesAmong } from "../icdpo/strategy.ts";
import { genericToolSyntax } from "../icdpo/tool-prompt.ts";
import type { Policy } from "../policy/policy.ts";
import { GatewayError } from "../types/error.ts";
import { AnswerGrammars } from "./answer-grammar.ts";
import { AnswerReader } from "./answer-reader.ts";
import { checkAnswerSize } from "./answer-room.ts";
import { recordCounterfactual } from "./counterfactual.ts";
import { type Demand, generationDemand } from "./demand.ts";
import type { AppDependencies } from "./dependencies.ts";
import type { Answer, AnswerEvent, Generated, Generation } from "./generation.ts";
import { outcomeHeaders, retrieveTiming, routeHeaders, setHeaders } from "./headers.ts";
import { recordedSettings } from "./recorded-settings.ts";
import type { ResolvedRoute } from "./route.ts";
import { tenantOf } from "./tenant.ts";
import { type Terms, termsOf } from "./terms.ts";
import { askerOf, sizeOf, streamWork, type Work, type WorkStream, withRequest } from "./work.ts";

/** Of every request: what a schema comes to depends on nothing else. */
const grammars = new AnswerGrammars();

/** A request, once everything about it is known. */
interface Prepared {
  /** The route's policy, or what a bypass leaves of it. */
  readonly policy: Policy;
  readonly bypassed: boolean;
  readonly request: IcdpoRequest;
  /** Candidates compete: nothing can be shown before the choice. */
  readonly choosing: boolean;
  readonly reader: (index: number) => AnswerReader;
}

/** Generates whole answers, and sets the response's headers. */
export async function generate(
  c: Context,
  dependencies: AppDependencies,
  resolved: ResolvedRoute,
  generation: Generation,
  answerId: string,
): Promise<Generated> {
  c.get("observer").note({ answer: answerId });
  const terms = agree(dependencies, resolved, generation);
  const { prepared, outcome } = await withRequest(askerOf(c), dependencies, demandOf(terms, generation), async (work) => {
    const prepared = await prepare(c, dependencies, resolved, generation, terms, work);
    return { prepared, outcome: await work.attempt((tokens) => run(prepared, { ...prepared.request, usage: tokens })) };
  });
  setHeaders(c, outcomeHeaders(outcome));
  const responses = answersOf(outcome, generation.answers);
  const answers = responses.map((response, index) => {
    const reader = prepared.reader(index);
    reader.push(response.text, response.details);
    return finished(reader.end(response.finish));
  });
  void recordCounterfactual(c, dependencies, resolved, { id: answerId, ...prepared, outcome });
  return noted(c, { answers, usage: usageOf(outcome, responses), outcome });
}

/** Tells what came of a request. */
function noted(c: Context, generated: Generated): Generated {
  const { outcome, usage, answers } = generated;
  const [best, next] = outcome.ranked;
  const observer = c.get("observer");
  observer.note({
    ...usage,
    ...(typeof best?.score === "number" && { score: best.score }),
    ...(typeof best?.score === "number" && typeof next?.score === "number" && { margin: best.score - next.score }),
    ...(answers[0] && { finish: answers[0].finish }),
    ...(outcome.fallback !== null && { fallback: outcome.fallback }),
  });
  observer.text(
    "answers",
    answers.map(({ content, toolCalls }) => ({ content, toolCalls })),
  );
  return generated;
}

export interface GenerationStream extends WorkStream<AnswerEvent, Generated> {
  /** Nothing comes before the choice: something else must keep the connection alive until then. */
  readonly choosing: boolean;
  /** Of C⁰. */
  readonly promptTokens: number;
}

/** Resolves when sampling begins: everything wrong with the request is thrown before. */
export async function generateStream(
  c: Context,
  dependencies: AppDependencies,
  resolved: ResolvedRoute,
  generation: Generation,
  answerId: string,
): Promise<GenerationStream> {
  const observer = c.get("observer");
  observer.note({ answer: answerId, stream: true });
  const terms = agree(dependencies, resolved, generation);
  let prepared: Prepared | undefined;
  let promptTokens = 0;
  const demand = demandOf(terms, generation);
  const stream = await streamWork<AnswerEvent, Generated>(askerOf(c), dependencies, demand, async (work, { begin, push }) => {
    prepared = await prepare(c, dependencies, resolved, generation, terms, work);
    const given = prepared;
    const onSampling = ({ retrieveMs, basePromptTokens }: Beginning): void => {
      promptTokens = basePromptTokens;
      observer.note({ promptTokens });
      if (!c.finalized) c.header("server-timing", retrieveTiming(retrieveMs));
      begin();
    };
    const { outcome, readers } = await work.attempt(async (tokens) => {
      const readers = Array.from({ length: generation.answers }, (_, index) => given.reader(index));
      const onText = (index: number, text: string, details: readonly TokenDetail[]): void => {
        for (const event of readers[index]?.push(text, details) ?? []) push(event, sizeOfEvent(event));
      };
      const request = { ...given.request, usage: tokens, onSampling, onText: given.choosing ? undefined : onText };
      return { outcome: await run(given, request), readers };
    });
    const { generated, rest } = finishAnswers(outcome, generation, given.choosing, readers);
    return { result: noted(c, generated), rest };
  });
  const { choosing, policy, request } = prepared as Prepared;
  stream.done.then(
    ({ outcome }) => recordCounterfactual(c, dependencies, resolved, { id: answerId, policy, request, outcome }),
    () => {}, // its events say so
  );
  return { ...stream, choosing, promptTokens };
}

function sizeOfEvent(event: AnswerEvent): number {
  return "text" in event ? sizeOf(event.text, event.type === "text" ? (event.logprobs ?? []) : []) : 0;
}

/** Whose parameters count, and what that comes to. Throws "invalid_request" and "unsupported_parameter". */
function agree({ maxAnswers }: AppDependencies, { policy }: ResolvedRoute, generation: Generation): Terms {
  checkAnswers(generation.answers, maxAnswers);
  return termsOf(policy, generation);
}

function demandOf({ policy, sampling }: Terms, { conversation, answers, tools }: Generation): Demand {
  return generationDemand(policy, { conversation, sampling, answers, tools });
}

async function prepare(
  c: Context,
  dependencies: AppDependencies,
  resolved: ResolvedRoute,
  generation: Generation,
  { policy, bypassed, sampling }: Terms,
  { signal, enter }: Work,
): Promise<Prepared> {
  const { tools, answers, topLogprobs, conversation } = generation;
  // Before anything reads the texts from end to end.
  await checkLength([policy.sampler], generation, signal);
  const { engine } = policy.sampler;
  const observer = c.get("observer");
  const { capabilities, contextSize } = await engine.info(signal);
  const syntax = capabilities.tools ?? genericToolSyntax;
  const details = topLogprobs === null ? 0 : 1 + topLogprobs;
  checkAnswerSize(answers * Math.min(sampling.maxTokens, contextSize), details, details > 1 ? "top_logprobs" : "n");
  const { budget_ms: budget } = policy.settings;
  const request: IcdpoRequest = {
    conversation,
    sampling,
    tools,
    grammar: await grammars.of(generation, syntax, dependencies.turn),
    topLogprobs: topLogprobs ?? undefined,
    answers,
    seed: (generation.seed ?? dependencies.randomSeed()) >>> 0,
    tenant: tenantOf(c, dependencies, { user: generation.user, isUsers: resolved.isUsers }),
    bringsOpening: resolved.bringsOpening,
    signal,
    budget: budget === undefined ? undefined : AbortSignal.timeout(budget),
    now: dependencies.now,
    onStage: enter,
  };
  observer.note({ answers, candidates: candidateCount(policy, request) });
  observer.text("request", conversation);
  observer.text("settings", recordedSettings(generation, request.seed));
  setHeaders(c, routeHeaders(resolved, candidateCount(policy, request)));
  const mustCall = tools.length > 0 && generation.toolChoice !== "auto";
  const newCallId = (): string => dependencies.newId("call_");
  const reader = (index: number): AnswerReader =>
    new AnswerReader({ index, mustCall, syntax: tools.length > 0 ? syntax : null, logprobs: topLogprobs !== null, newCallId });
  return { policy, bypassed, request, choosing: choosesAmong(policy, request), reader };
}

function checkAnswers(answers: number, most: number): void {
  if (answers > most)
    throw new GatewayError("invalid_request", `Invalid 'n': ${answers} answers are more than the ${most} allowed.`, { param: "n" });
}

async function run({ policy, bypassed }: Prepared, request: IcdpoRequest): Promise<IcdpoOutcome> {
  const outcome = await icdpo(policy, request);
  return bypassed ? { ...outcome, fallback: outcome.fallback ?? "bypass" } : outcome;
}

/** The answers, and the events of what has not been given while it was sampled. */
function finishAnswers(
  outcome: IcdpoOutcome,
  { answers, topLogprobs }: Generation,
  choosing: boolean,
  readers: readonly AnswerReader[],
): { generated: Generated; rest: AnswerEvent[] } {
  const best = answersOf(outcome, answers);
  // What was given as it was sampled keeps its place.
  const ordered = choosing ? best : best.toSorted((a, b) => a.index - b.index);
  const rest: AnswerEvent[] = [];
  const given = ordered.map((response, index) => {
    const reader = readers[index] as AnswerReader;
    for (const { text, details } of piecesFrom(response, reader.consumed, topLogprobs !== null)) rest.push(...reader.push(text, details));
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

/** What a plain request would have used: the tokens of C⁰, and of the returned texts without their closing token. */
function usageOf(outcome: IcdpoOutcome, responses: readonly ScoredResponse[]): Generated["usage"] {
  const completionTokens = responses.reduce(
    (sum, { sample, idsWithEos }) => sum + (sample?.counted?.completion ?? idsWithEos.length - 1),
    0,
  );
  return { promptTokens: outcome.basePromptTokens, completionTokens };
}

function finished(events: readonly AnswerEvent[]): Answer {
  const last = events.at(-1);
  if (last?.type !== "finish") throw new Error("An answer did not end");
  return last.answer;
}
