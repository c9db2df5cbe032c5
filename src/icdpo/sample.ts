/** @module Line 2 of Algorithm 1: n responses from π(· ∣ [d⁺; x]), stepped together. */
import type { FinishReason, Sample, SamplingParameters, TokenDetail } from "../engine/engine.ts";
import type { PromptFormat } from "../policy/schema.ts";
import { isCancellation } from "../types/error.ts";
import type { Side } from "./contexts.ts";
import { cuts } from "./prompt.ts";
import { candidateSeed } from "./seed.ts";
import { counted, type TokenWork } from "./work.ts";

/** Takes a piece of candidate `index`, and details of the tokens that begin in it, if asked for. */
export type OnText = (index: number, text: string, details: readonly TokenDetail[]) => void;

/** A response as it would be returned. */
export interface Candidate {
  readonly index: number;
  readonly text: string;
  readonly finish: FinishReason;
  /** What the engine noted while sampling; null where a deadline came first. */
  readonly sample: Sample | null;
  /** Of the tokens in the text, if asked for. */
  readonly details: readonly TokenDetail[];
}

export interface SampleOptions {
  readonly parameters: SamplingParameters;
  readonly count: number;
  readonly seed: number;
  /** Note log-probabilities: they may stand in for a second pass over C⁺. */
  readonly logprobs: boolean;
  /** Details of each token, with so many alternatives. */
  readonly topLogprobs?: number | undefined;
  /** GBNF that responses keep to. */
  readonly grammar?: string | undefined;
  readonly work: TokenWork;
  /** A part of the context has been fed. */
  readonly onPrefill?: (() => void) | undefined;
  /** The context is at hand, sampling begins. */
  readonly onBegin?: (() => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** When it fires, what has been sampled so far is returned. */
  readonly budget?: AbortSignal | undefined;
  /** Pieces of a candidate's text, as they become certain. */
  readonly onText?: OnText | undefined;
}

/** Candidates as they end. Throws what the engine throws; a spent budget is not an error: what has been sampled by then comes as it is. */
export async function* sampleCandidates({ engine, format, prompt }: Side, options: SampleOptions): AsyncGenerator<Candidate> {
  const { parameters, count, seed, logprobs, topLogprobs, grammar, budget, work, onText } = options;
  const stop = format === "chat" || grammar !== undefined ? parameters.stop : [...parameters.stop, ...cuts];
  const seeds = Array.from({ length: count }, (_, index) => candidateSeed(seed, index));
  const unfinished = new Map(seeds.map((_, index) => [index, new Answer(format, (text, details) => onText?.(index, text, details))]));
  const signals = [options.signal, budget].filter((signal) => signal !== undefined);
  let hasBegun = false;
  try {
    const whole = onText === undefined && budget === undefined;
    const request = { ...parameters, stop, seeds, logprobs, topLogprobs, grammar, whole };
    const events = engine.sample(prompt, request, signals.length > 1 ? AbortSignal.any(signals) : signals[0]);
    for await (const event of counted(events, prompt.tokens.length, work)) {
      if (event.type === "prefill") {
        if (!hasBegun) options.onPrefill?.();
        continue;
      }
      if (event.type === "prompt") {
        if (!hasBegun) options.onBegin?.();
        hasBegun = true;
        continue;
      }
      const { index } = event;
      const answer = unfinished.get(index) as Answer;
      if (event.type === "text") answer.push(event.text, event.details ?? []);
      else {
        const { sample } = event;
        unfinished.delete(index);
        yield { index, ...answer.end(sample.finish), finish: sample.finish, sample };
      }
    }
  } catch (error) {
    if (!budget?.aborted || options.signal?.aborted || !isCancellation(error)) throw error;
  }
  for (const [index, answer] of unfinished) yield { index, ...answer.end("length"), finish: "length", sample: null };
}

/** The end of a text that may be the beginning of a turn or block marker of the paper's templates. */
const openMarker = /(?:^|\n)(?:#|[Hh](?:u(?:m(?:an?)?)?)?|[Aa](?:s(?:s(?:i(?:s(?:t(?:a(?:nt?)?)?)?)?)?)?)?)?$/u;

/** The text of one answer. In the paper's formats it is trimmed, and never ends in half a marker. */
export class Answer {
  readonly #trims: boolean;
  readonly #onText: (text: string, details: readonly TokenDetail[]) => void;
  #raw = "";
  #shown = 0;
  /** Details of the tokens not shown yet, and of all those shown. */
  #waiting: readonly TokenDetail[] = [];
  readonly #details: TokenDetail[] = [];

  constructor(format: PromptFormat, onText: (text: string, details: readonly TokenDetail[]) => void) {
    this.#trims = format !== "chat";
    this.#onText = onText;
  }

  push(text: string, details: readonly TokenDetail[]): void {
    this.#raw += text;
    this.#waiting = [...this.#waiting, ...details];
    this.#show(this.#trims ? this.#certain() : this.#raw);
  }

  /** The whole text, and its tokens' details; what was held back is shown. */
  end(finish: FinishReason): Pick<Candidate, "text" | "details"> {
    const text = !this.#trims ? this.#raw : finish === "length" ? this.#certain() || this.#raw.trim() : this.#raw.trim();
    this.#show(text);
    return { text, details: this.#details };
  }

  #certain(): string {
    return this.#raw.trimStart().trimEnd().replace(openMarker, "").trimEnd();
  }

  #show(text: string): void {
    if (text.length <= this.#shown) return;
    const details = this.#detailsUpTo(text.length);
    this.#details.push(...details);
    this.#onText(text.slice(this.#shown), details);
    this.#shown = text.length;
  }

  /** Of the tokens that begin before `end`; those that lie in white space which was trimmed off are dropped. */
  #detailsUpTo(end: number): TokenDetail[] {
    const lead = this.#trims ? this.#raw.length - this.#raw.trimStart().length : 0;
    const begun = this.#waiting.filter(({ offset }) => offset - lead < end);
    const kept = begun.filter(({ offset }, i) => offset >= lead || (this.#waiting[i + 1]?.offset ?? this.#raw.length) > lead);
    this.#waiting = this.#waiting.slice(begun.length);
    return kept.map((detail) => ({ ...detail, offset: Math.max(0, detail.offset - lead) }));
  }
}
