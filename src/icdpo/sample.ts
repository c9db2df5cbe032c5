/** @module Line 2 of Algorithm 1: n responses from π(· ∣ [d⁺; x]), stepped together. */
import type {
  Contrast,
  FinishReason,
  PrefillEvent,
  PromptEvent,
  Sample,
  SampleRequest,
  SamplingParameters,
  TokenDetail,
} from "../engine/engine.ts";
import type { PromptFormat } from "../policy/schema.ts";
import { CandidateText } from "./candidate-text.ts";
import type { ScoringContext } from "./contexts.ts";
import { cuts } from "./prompt.ts";
import { candidateSeed } from "./seed.ts";
import type { Thought } from "./thought.ts";
import { ThoughtText } from "./thought-text.ts";
import { TimeBudget } from "./time-budget.ts";
import { TokenCounter, type TokenUsage } from "./token-usage.ts";

/** Takes a piece of candidate `index`, and details of the tokens that begin in it, if asked for. */
export type OnText = (index: number, text: string, details: readonly TokenDetail[]) => void;

/** A response as it would be returned. */
export interface Candidate {
  readonly index: number;
  readonly text: string;
  readonly finish: FinishReason;
  /** The stop string that ended it, where one did and the engine tells. */
  readonly stopString?: string | undefined;
  /** The engine's sample; null where a deadline came first. */
  readonly sample: Sample | null;
  /** Of the tokens in the text, if asked for. */
  readonly details: readonly TokenDetail[];
  /** What was thought before it, where each candidate thinks for itself, or a server does. */
  readonly thought?: Thought | undefined;
}

export interface SampleOptions {
  readonly parameters: SamplingParameters;
  readonly count: number;
  /** Index of the first one, where others have been sampled before; absent: 0. */
  readonly first?: number | undefined;
  readonly seed: number;
  /** Return log-probabilities: they may stand in for a second pass over C⁺. */
  readonly logprobs: boolean;
  /** Details of each token, with so many alternatives. */
  readonly topLogprobs?: number | undefined;
  /** GBNF that responses keep to. */
  readonly grammar?: string | undefined;
  /** What each token is measured against; absent: nothing. */
  readonly contrast?: Contrast | undefined;
  readonly usage: TokenUsage;
  /** A part of the context has been fed. */
  readonly onPrefill?: (() => void) | undefined;
  /** The context is at hand, sampling begins. */
  readonly onBegin?: (() => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** When it fires, what has been sampled so far is returned. */
  readonly budget?: AbortSignal | undefined;
  /** Pieces of a candidate's text, as they become certain. */
  readonly onText?: OnText | undefined;
  /** Pieces of what a server tells of a candidate's thought. */
  readonly onThought?: ((index: number, text: string) => void) | undefined;
}

/**
 * Candidates y₁ … yₙ ~ π(· ∣ C), each as it ends: one seed each, so that a request's seed decides them all. In the
 * paper's formats a text is cut before the first marker, and trimmed. Throws what the engine throws; a spent budget is
 * not an error: what has been sampled by then comes as it is.
 *
 * @example for await (const { index, text } of sampleCandidates(contexts.sampled, options)) texts[index] = text;
 */
export async function* sampleCandidates(context: ScoringContext, options: SampleOptions): AsyncGenerator<Candidate> {
  const { count, first = 0, seed, usage, onText, onThought, contrast } = options;
  const { engine, format, prompt } = context;
  const budget = new TimeBudget(options.budget, options.signal);
  const seeds = Array.from({ length: count }, (_, place) => candidateSeed(seed, first + place));
  const textOf = (index: number) => new CandidateText(format, (text, details) => onText?.(index, text, details));
  const unfinished = new Map(seeds.map((_, place) => [first + place, textOf(first + place)]));
  /** Of servers that think for themselves. */
  const thoughts = new Map<number, ThoughtText>();
  const thoughtOf = (index: number): ThoughtText => {
    const thought = thoughts.get(index) ?? new ThoughtText((text) => onThought?.(index, text));
    thoughts.set(index, thought);
    return thought;
  };
  const contexts = [prompt, ...(contrast === undefined ? [] : [contrast.prompt])];
  const fed = contexts.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const counter = new TokenCounter(fed, usage, contexts.length);
  const tell = teller(options);
  try {
    for await (const event of engine.sample(prompt, sampleRequest(format, seeds, budget, options), budget.signal)) {
      counter.count(event);
      if (event.type === "prefill" || event.type === "prompt") {
        tell(event);
        continue;
      }
      const index = first + event.index;
      const candidate = unfinished.get(index) as CandidateText;
      if (event.type === "text") candidate.push(event.text, event.details ?? []);
      else if (event.type === "thought") thoughtOf(index).push(event.text);
      else {
        const { sample } = event;
        unfinished.delete(index);
        const { finish, stopString, thought } = sample;
        const told = thought && { thought: { ...thought, text: thought.text.trim(), isClosed: true } };
        yield { index, ...candidate.end(finish), finish, stopString, sample, ...told };
      }
    }
  } catch (error) {
    if (!budget.explains(error)) throw error;
  }
  for (const [index, candidate] of unfinished)
    yield { index, ...candidate.end("length"), finish: "length", sample: null };
}

function sampleRequest(
  format: PromptFormat,
  seeds: readonly number[],
  budget: TimeBudget,
  { parameters, logprobs, topLogprobs, grammar, contrast, onText }: SampleOptions,
): SampleRequest {
  const stop = format === "chat" || grammar !== undefined ? parameters.stop : [...parameters.stop, ...cuts];
  const whole = onText === undefined && !budget.isLimited;
  return { ...parameters, stop, seeds, logprobs, topLogprobs, grammar, contrast, whole };
}

/** Tells on what the engine tells of the context, until it is at hand. */
export function teller({
  onPrefill,
  onBegin,
}: Pick<SampleOptions, "onPrefill" | "onBegin">): (event: PrefillEvent | PromptEvent) => void {
  let hasBegun = false;
  return ({ type }) => {
    if (!hasBegun) (type === "prompt" ? onBegin : onPrefill)?.();
    hasBegun ||= type === "prompt";
  };
}
