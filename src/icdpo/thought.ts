/**
 * @module Thoughts before answers, for models that think: one for all candidates of a request, which then branch from
 * the same state, or one for each.
 */
import { EventQueue } from "../async/event-queue.ts";
import type { SamplingParameters, Thinking } from "../engine/engine.ts";
import { isScored } from "../policy/bypass.ts";
import type { Policy } from "../policy/policy.ts";
import { type AskedReasoning, type Reasoning, reasoningOf } from "../policy/reasoning-schema.ts";
import type { Contexts, ScoringContext } from "./contexts.ts";
import { type Candidate, type SampleOptions, sampleCandidates, teller } from "./sample.ts";
import { candidateSeed } from "./seed.ts";
import type { Run } from "./strategy.ts";
import { ThoughtText } from "./thought-text.ts";
import { TimeBudget } from "./time-budget.ts";
import { TokenCounter, type TokenUsage } from "./token-usage.ts";

export interface Thought {
  /** Without white space around it. */
  readonly text: string;
  /** How many were sampled. */
  readonly tokens: number;
  /** The model has closed it; if not, its budget was spent. */
  readonly isClosed: boolean;
}

export interface ThoughtOptions {
  /** Of the answer; what is about its end does not hold for thoughts. */
  readonly parameters: SamplingParameters;
  /** Tokens of a thought. */
  readonly limit: number;
  /** One a thought. */
  readonly seeds: readonly number[];
  readonly usage: TokenUsage;
  readonly signal?: AbortSignal | undefined;
  /** When it fires, thoughts are cut off. */
  readonly budget?: AbortSignal | undefined;
  readonly onPrefill?: (() => void) | undefined;
  readonly onBegin?: (() => void) | undefined;
  /** Pieces of thought `index`, as they become certain. */
  readonly onThought?: ((index: number, text: string) => void) | undefined;
}

/** An answer may always have a quarter of what a client allows for thought and answer together. */
const answerShare = 1 / 4;

/** Tokens that a thought may take: within the client's limit, and the room that the contexts leave. */
export function thoughtLimit({ budget, within = Number.POSITIVE_INFINITY }: Reasoning, room: number): number {
  const most = Math.min(within, room);
  return Math.max(0, Math.min(budget, most - Math.max(1, Math.ceil(most * answerShare))));
}

/** Tokens that an answer may have after a thought. */
export function answerRoom({ within = Number.POSITIVE_INFINITY }: Reasoning, room: number, thought: Thought): number {
  return Math.max(1, Math.min(room, within - thought.tokens));
}

/** How a request to a policy is thought about; null: the model does not think, or its prompts have no place for it. */
export async function reasoningFor(
  policy: Policy,
  {
    reasoning: asked,
    within,
  }: { readonly reasoning?: AskedReasoning | undefined; readonly within?: number | undefined },
  signal?: AbortSignal,
): Promise<Reasoning | null> {
  const { engine, format } = policy.sampler;
  const { thinking } = (await engine.info(signal)).capabilities;
  if (thinking === undefined || format !== "chat") return null;
  return reasoningOf(policy.settings.reasoning, { isScored: isScored(policy), within, asked }, thinking);
}

/** Candidates that are alone share their thought with nobody: it is as well sampled before them. */
export function hasOwnThoughts(reasoning: Reasoning | null, candidates: number): boolean {
  return reasoning?.thinks === true && reasoning.thoughts === "own" && candidates > 1;
}

/** The thought that all of a request's candidates share, after C⁺ of the model that samples. */
export async function shareThought(run: Run, { sampled, room }: Contexts, reasoning: Reasoning): Promise<Thought> {
  const { request, usage, signal } = run;
  const { onStage, onThought } = request;
  const options: ThoughtOptions = {
    parameters: request.sampling,
    limit: thoughtLimit(reasoning, room),
    seeds: [thoughtSeed(request.seed, 0)],
    usage,
    signal,
    budget: request.budget,
    onPrefill: () => onStage?.("prefill"),
    onBegin: () => onStage?.("sample"),
    onThought: onThought && ((_, text) => onThought(null, text)),
  };
  for await (const { thought } of sampleThoughts(sampled, reasoning.thinking, options)) return thought;
  throw new Error("No thought came of a prompt");
}

/** Of another stream than the candidates': they are those of a request that does not think. */
export function thoughtSeed(seed: number, index: number): number {
  return candidateSeed(seed ^ 0x2c1b3c6d, index);
}

/**
 * Thoughts after a context whose prompt opens one, each as it ends: closed by the model, or cut off at the limit. Throws
 * what the engine throws.
 */
export async function* sampleThoughts(
  { engine, prompt }: ScoringContext,
  thinking: Thinking,
  options: ThoughtOptions,
): AsyncGenerator<{ readonly index: number; readonly thought: Thought }> {
  const { limit, seeds, usage, onThought } = options;
  const unfinished = new Map(
    seeds.map((_, index) => [
      index,
      { shown: new ThoughtText((text) => onThought?.(index, text)), text: "", tokens: 0 },
    ]),
  );
  const budget = new TimeBudget(options.budget, options.signal);
  const counter = new TokenCounter(prompt.tokens.length, usage);
  const tell = teller(options);
  const { markerToken, marker } = thinking;
  const request = {
    ...options.parameters,
    minTokens: undefined,
    ignoreEos: undefined,
    stop: [marker],
    ...(markerToken !== undefined && { endTokens: [markerToken] }),
    maxTokens: limit,
    seeds,
    logprobs: false,
    whole: onThought === undefined && !budget.isLimited,
  };
  try {
    if (limit > 0)
      for await (const event of engine.sample(prompt, request, budget.signal)) {
        counter.count(event);
        if (event.type === "prefill" || event.type === "prompt") {
          tell(event);
          continue;
        }
        const { index } = event;
        const begun = unfinished.get(index);
        if (event.type !== "done") {
          if (begun === undefined) continue;
          begun.shown.push(event.text);
          begun.text += event.text;
          begun.tokens += event.tokens;
          continue;
        }
        unfinished.delete(index);
        const { text, tokens, finish } = event.sample;
        yield { index, thought: { text: text.trim(), tokens: tokens.length, isClosed: finish === "stop" } };
      }
  } catch (error) {
    if (!budget.explains(error)) throw error;
  }
  for (const [index, { text, tokens }] of unfinished)
    yield { index, thought: { text: text.trim(), tokens, isClosed: false } };
}

/**
 * The context, ready for the answer after this thought. Like answers it is tokenised anew, as it would be returned; a
 * model that does not think is given the answer alone.
 *
 * @example (await contextAfter(contexts.positive, "It rains.", signal)).prompt.tokens // C⁺, the thought, </think>
 */
export async function contextAfter(
  context: ScoringContext,
  thought: string,
  signal?: AbortSignal,
): Promise<ScoringContext> {
  const { engine, prompt } = context;
  const { thinking } = (await engine.info(signal)).capabilities;
  if (thinking === undefined) return context;
  const [tokens = []] = await engine.tokenize([thought + thinking.space], signal);
  return { ...context, prompt: { ...prompt, tokens: [...prompt.tokens, ...tokens, ...thinking.closing] } };
}

/** The contexts of a request whose candidates share a thought: it follows each but C⁰, which says what was asked. */
export async function contextsAfter(
  contexts: Contexts,
  thought: Thought,
  reasoning: Reasoning,
  signal?: AbortSignal,
): Promise<Contexts> {
  const { sampled, positive, negative, reference } = contexts;
  const before = { sampled, positive, negative, reference };
  const after = await allAfter(before, thought.text, signal);
  const lengthOf = (context: ScoringContext | null): number => context?.prompt.tokens.length ?? 0;
  const names = Object.keys(before) as (keyof typeof before)[];
  const longer = Math.max(...names.map((name) => lengthOf(after[name]) - lengthOf(before[name])));
  return { ...contexts, ...after, room: answerRoom(reasoning, contexts.room - longer, thought) };
}

/** Each of the contexts after the thought; those that are one stay one, for each is fed once. */
export async function allAfter<Named extends Readonly<Record<string, ScoringContext | null>>>(
  contexts: Named,
  thought: string,
  signal?: AbortSignal,
): Promise<Named> {
  const known = new Map<ScoringContext, Promise<ScoringContext>>();
  const after = (context: ScoringContext): Promise<ScoringContext> => {
    const done = known.get(context) ?? contextAfter(context, thought, signal);
    known.set(context, done);
    return done;
  };
  const entries = Object.entries(contexts).map(async ([name, context]) => [name, context && (await after(context))]);
  return Object.fromEntries(await Promise.all(entries)) as Named;
}

/**
 * Candidates that think for themselves: n thoughts side by side, each gone on from as soon as it has ended. Each is a
 * candidate of `sampleCandidates`, with its thought.
 */
export async function* sampleThinking(
  context: ScoringContext,
  options: SampleOptions & Pick<ThoughtOptions, "limit" | "onThought"> & { readonly reasoning: Reasoning },
): AsyncGenerator<Candidate> {
  const { first = 0, count, seed, parameters, reasoning, onThought } = options;
  const seeds = Array.from({ length: count }, (_, place) => thoughtSeed(seed, first + place));
  const candidates = new EventQueue<Candidate>();
  const answer = async (place: number, thought: Thought): Promise<void> => {
    const own = await contextAfter(context, thought.text, options.signal);
    const maxTokens = answerRoom(reasoning, parameters.maxTokens, thought);
    const one = { ...options, parameters: { ...parameters, maxTokens }, first: first + place, count: 1 };
    for await (const candidate of sampleCandidates(own, { ...one, onPrefill: undefined, onBegin: undefined }))
      candidates.push({ ...candidate, thought });
  };
  const all = async (): Promise<void> => {
    const answers: Promise<void>[] = [];
    const tellThought = (place: number, text: string): void => onThought?.(first + place, text);
    const thoughts = sampleThoughts(context, reasoning.thinking, {
      ...options,
      seeds,
      onThought: onThought && tellThought,
    });
    for await (const { index, thought } of thoughts) answers.push(answer(index, thought));
    await Promise.all(answers);
  };
  all().then(
    () => candidates.end(),
    (error: unknown) => candidates.fail(error),
  );
  yield* candidates;
}
