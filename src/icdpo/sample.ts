/** @module Line 2 of Algorithm 1: n responses from π(· ∣ [d⁺; x]), stepped together. */
import type { FinishReason, Sample, SamplingParameters, TokenDetail } from "../engine/engine.ts";
import type { PromptFormat } from "../policy/schema.ts";
import { isCancellation } from "../types/error.ts";
import type { ScoringContext } from "./contexts.ts";
import { cuts } from "./prompt.ts";
import { candidateSeed } from "./seed.ts";
import { counted, type TokenUsage } from "./token-usage.ts";

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
}

export interface SampleOptions {
  readonly parameters: SamplingParameters;
  readonly count: number;
  readonly seed: number;
  /** Return log-probabilities: they may stand in for a second pass over C⁺. */
  readonly logprobs: boolean;
  /** Details of each token, with so many alternatives. */
  readonly topLogprobs?: number | undefined;
  /** GBNF that responses keep to. */
  readonly grammar?: string | undefined;
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
}

/** Candidates as they end. Throws what the engine throws; a spent budget is not an error: what has been sampled by then comes as it is. */
export async function* sampleCandidates({ engine, format, prompt }: ScoringContext, options: SampleOptions): AsyncGenerator<Candidate> {
  const { parameters, count, seed, logprobs, topLogprobs, grammar, budget, usage, onText } = options;
  const stop = format === "chat" || grammar !== undefined ? parameters.stop : [...parameters.stop, ...cuts];
  const seeds = Array.from({ length: count }, (_, index) => candidateSeed(seed, index));
  const unfinished = new Map(
    seeds.map((_, index) => [index, new CandidateText(format, (text, details) => onText?.(index, text, details))]),
  );
  const signals = [options.signal, budget].filter((signal) => signal !== undefined);
  let hasBegun = false;
  try {
    const whole = onText === undefined && budget === undefined;
    const request = { ...parameters, stop, seeds, logprobs, topLogprobs, grammar, whole };
    const events = engine.sample(prompt, request, signals.length > 1 ? AbortSignal.any(signals) : signals[0]);
    for await (const event of counted(events, prompt.tokens.length, usage)) {
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
      const answer = unfinished.get(index) as CandidateText;
      if (event.type === "text") answer.push(event.text, event.details ?? []);
      else {
        const { sample } = event;
        unfinished.delete(index);
        yield { index, ...answer.end(sample.finish), finish: sample.finish, stopString: sample.stopString, sample };
      }
    }
  } catch (error) {
    if (!budget?.aborted || options.signal?.aborted || !isCancellation(error)) throw error;
  }
  for (const [index, answer] of unfinished) yield { index, ...answer.end("length"), finish: "length", sample: null };
}

/** What a text ends in that may be the beginning of a turn or block marker of the paper's templates. */
const markerBeginning = "(?:#|[Hh](?:u(?:m(?:an?)?)?)?|[Aa](?:s(?:s(?:i(?:s(?:t(?:a(?:nt?)?)?)?)?)?)?)?)?$";
/** On a line of its own: in a text, and in the rest of one whose beginning has been shown, up to the end of a line at most. */
const openMarker = new RegExp(`(?:^|\\n)${markerBeginning}`, "u");
const laterOpenMarker = new RegExp(`\\n${markerBeginning}`, "u");

/** The text of one answer. In the paper's formats it is trimmed, and never ends in half a marker. What has been shown is not looked at again. */
export class CandidateText {
  readonly #trims: boolean;
  readonly #onText: (text: string, details: readonly TokenDetail[]) => void;
  readonly #shown: string[] = [];
  #shownLength = 0;
  /** What has come and is not shown yet. */
  #held = "";
  /** Characters that have come, and those at their beginning that were trimmed off. */
  #length = 0;
  #lead = 0;
  /** Details of the tokens not shown yet, and of all those shown. */
  #waiting: readonly TokenDetail[] = [];
  readonly #details: TokenDetail[] = [];

  constructor(format: PromptFormat, onText: (text: string, details: readonly TokenDetail[]) => void) {
    this.#trims = format !== "chat";
    this.#onText = onText;
  }

  push(text: string, details: readonly TokenDetail[]): void {
    this.#length += text.length;
    this.#held += text;
    if (details.length > 0) this.#waiting = [...this.#waiting, ...details];
    if (this.#trims && this.#shownLength === 0) {
      this.#held = this.#held.trimStart();
      this.#lead = this.#length - this.#held.length;
    }
    this.#show(this.#trims ? this.#certain() : this.#held.length);
  }

  /** The whole text, and its tokens' details; what was held back is shown. */
  end(finish: FinishReason): Pick<Candidate, "text" | "details"> {
    const whole = this.#trims ? this.#held.trimEnd().length : this.#held.length;
    const certain = this.#trims && finish === "length" ? this.#certain() : whole;
    // Nothing but what may be half a marker is better than nothing.
    this.#show(certain === 0 && this.#shownLength === 0 ? whole : certain);
    return { text: this.#shown.join(""), details: this.#details };
  }

  /** Characters of what is held that will not turn out to belong to a marker, or to be white space at the end. */
  #certain(): number {
    const marker = this.#shownLength === 0 ? openMarker : laterOpenMarker;
    return this.#held.trimEnd().replace(marker, "").trimEnd().length;
  }

  /** Shows so many characters of what is held. */
  #show(count: number): void {
    if (count === 0) return;
    const text = this.#held.slice(0, count);
    this.#held = this.#held.slice(count);
    this.#shown.push(text);
    this.#shownLength += count;
    const details = this.#waiting.length === 0 ? this.#waiting : this.#detailsUpTo(this.#shownLength);
    this.#details.push(...details);
    this.#onText(text, details);
  }

  /** Of the tokens that begin before `end`; those that lie in white space which was trimmed off are dropped. */
  #detailsUpTo(end: number): TokenDetail[] {
    const lead = this.#lead;
    const begun = this.#waiting.filter(({ offset }) => offset - lead < end);
    const kept = begun.filter(({ offset }, i) => offset >= lead || (this.#waiting[i + 1]?.offset ?? this.#length) > lead);
    this.#waiting = this.#waiting.slice(begun.length);
    return kept.map((detail) => ({ ...detail, offset: Math.max(0, detail.offset - lead) }));
  }
}
