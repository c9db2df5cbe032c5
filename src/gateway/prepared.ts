/** @module A request once everything about it is known: its policy, and what the method is asked. */
import type { Context } from "hono";
import type { LooseRules } from "../constraint/loose-call-reader.ts";
import { checkLength } from "../icdpo/contexts.ts";
import type { IcdpoRequest } from "../icdpo/pipeline.ts";
import type { ResponseCheck } from "../icdpo/response.ts";
import { candidateCount } from "../icdpo/strategy.ts";
import { genericToolSyntax } from "../icdpo/tool-prompt.ts";
import { contrastOf } from "../policy/decoding.ts";
import type { Policy } from "../policy/policy.ts";
import { GatewayError } from "../types/error.ts";
import { checkAbilities, checkEnding } from "./abilities.ts";
import { AnswerCheck } from "./answer-check.ts";
import { AnswerGrammars } from "./answer-grammar.ts";
import { AnswerReader } from "./answer-reader.ts";
import { checkAnswerSize, fittingTokens } from "./answer-room.ts";
import type { AppDependencies } from "./dependencies.ts";
import type { Generation } from "./generation.ts";
import { ignoredHeader, routeHeaders, schemaHeaders, setHeaders } from "./headers.ts";
import { recordedSettings } from "./recorded-settings.ts";
import type { ResolvedRoute } from "./route.ts";
import { tenantOf } from "./tenant.ts";
import { type Terms, termsOf } from "./terms.ts";
import type { Work } from "./work.ts";

/** Of every request: what a schema comes to depends on nothing else. */
const grammars = new AnswerGrammars();

export interface Prepared {
  /** The route's policy, or what a bypass leaves of it. */
  readonly policy: Policy;
  readonly bypassed: boolean;
  readonly request: IcdpoRequest;
  readonly reader: (index: number) => AnswerReader;
}

/** Whose parameters count, and what that comes to. Throws "invalid_request" and "unsupported_parameter". */
export function agree(
  { maxAnswers }: AppDependencies,
  { policy }: ResolvedRoute,
  generation: Generation,
  isStreamed: boolean,
): Terms {
  checkAnswers(generation.answers, maxAnswers);
  const terms = termsOf(policy, generation, isStreamed);
  if (contrastOf(terms.policy.settings) !== undefined && generation.answers > 1) throw oneAnswerOnly();
  return terms;
}

function oneAnswerOnly(): GatewayError {
  const message = "Invalid 'n': this route's policy decodes by contrast, which makes one answer a request.";
  return new GatewayError("unsupported_parameter", message, { param: "n" });
}

function checkAnswers(answers: number, most: number): void {
  if (answers > most)
    throw new GatewayError("invalid_request", `Invalid 'n': ${answers} answers are more than the ${most} allowed.`, {
      param: "n",
    });
}

/** What ends answers with what there is: the policy's time, or the caller's limit. */
function budgetOf({ settings: { budget_ms: ms } }: Policy, spent: AbortSignal | undefined): AbortSignal | undefined {
  if (ms === undefined) return spent;
  return spent === undefined ? AbortSignal.timeout(ms) : AbortSignal.any([AbortSignal.timeout(ms), spent]);
}

/** Checks the request against its engine, tells what is known of it, and sets the headers of its route. */
export async function prepare(
  c: Context,
  dependencies: AppDependencies,
  resolved: ResolvedRoute,
  generation: Generation,
  { policy, bypassed, sampling: agreed, isBounded }: Terms,
  { signal, enter, spent }: Work,
): Promise<Prepared> {
  const { tools, answers, topLogprobs, conversation, variables } = generation;
  // Before anything reads the texts from end to end.
  await checkLength([policy.sampler], generation, signal);
  const { engine } = policy.sampler;
  const observer = c.get("observer");
  const { capabilities, contextSize } = await engine.info(signal);
  checkAbilities(capabilities, { sampling: { ...agreed, topK: generation.sampling.topK }, variables });
  const syntax = capabilities.tools ?? genericToolSyntax;
  const details = topLogprobs === null ? 0 : 1 + topLogprobs;
  // Who says nothing of an answer's length is given one that can be held.
  const maxTokens = isBounded ? agreed.maxTokens : Math.min(agreed.maxTokens, fittingTokens(answers, details));
  const sampling = { ...agreed, maxTokens };
  checkAnswerSize(answers * Math.min(maxTokens, contextSize), details, details > 1 ? "top_logprobs" : "n");
  const { gbnf, relaxed } = await grammars.of(generation, syntax, dependencies.turn);
  checkEnding(sampling, gbnf);
  const { cachesPrompt = true, user } = generation;
  const own = tenantOf(c, dependencies, { user, isUsers: resolved.isUsers });
  const mustCall = tools.length > 0 && generation.toolChoice !== "auto";
  // What a JSON format asks for is no call, whatever it looks like.
  const isLoose = tools.length > 0 && !mustCall && generation.format.type === "text";
  const check = new AnswerCheck(generation);
  const loose = isLoose ? looseRules(generation, check) : null;
  const readerOf = (index: number, newCallId: () => string): AnswerReader =>
    new AnswerReader({
      index,
      mustCall,
      loose,
      syntax: tools.length > 0 ? syntax : null,
      logprobs: topLogprobs !== null,
      newCallId,
    });
  const request: IcdpoRequest = {
    conversation,
    sampling,
    tools,
    variables,
    reasoning: generation.reasoning,
    within: generation.sampling.maxTokens,
    grammar: gbnf,
    check: gbnf === undefined ? undefined : checkOf(check, () => readerOf(0, () => "")),
    topLogprobs: topLogprobs ?? undefined,
    answers,
    seed: (generation.seed ?? dependencies.randomSeed()) >>> 0,
    // Nobody else is called so.
    tenant: cachesPrompt ? own : dependencies.newId("once_"),
    bringsOpening: resolved.bringsOpening,
    signal,
    budget: budgetOf(policy, spent),
    now: dependencies.now,
    onStage: enter,
  };
  observer.note({ answers });
  observer.text("request", conversation);
  observer.text("settings", recordedSettings(generation, request.seed));
  if (capabilities.thinking === undefined && generation.reasoningField !== undefined)
    setHeaders(c, ignoredHeader(c, generation.reasoningField));
  setHeaders(c, { ...routeHeaders(resolved, candidateCount(policy, request)), ...schemaHeaders(relaxed) });
  const reader = (index: number): AnswerReader => readerOf(index, () => dependencies.newId("call_"));
  return { policy, bypassed, request, reader };
}

/** Calls in the model's own way: those of strict tools must fit, for there is no grammar that keeps them to it. */
function looseRules(
  { tools, parallelToolCalls: parallel }: Generation,
  check: AnswerCheck,
): Omit<LooseRules, "trigger"> {
  const strict = new Set(tools.filter((tool) => tool.strict === true).map(({ name }) => name));
  const accepts = (name: string, text: string): boolean => !strict.has(name) || check.fitsTool(name, text) === true;
  return { names: new Set(tools.map(({ name }) => name)), accepts, parallel };
}

/** Candidates are held against the whole schemas, as they would be answered. */
function checkOf(check: AnswerCheck, newReader: () => AnswerReader): ResponseCheck {
  return ({ text, finish }) => {
    const reader = newReader();
    reader.push(text, []);
    const last = reader.end(finish).at(-1);
    return last?.type === "finish" ? check.fits(last.answer) : null;
  };
}
