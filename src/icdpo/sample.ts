/** @module Line 2 of Algorithm 1: n responses from π(· ∣ [d⁺; x]), stepped together. */
import type { Engine, FinishReason, Prompt, Sample, SamplingParameters } from "../engine/engine.ts";
import type { PromptFormat } from "../policy/schema.ts";
import { isCancellation } from "../types/error.ts";
import { cuts } from "./prompt.ts";
import { candidateSeed } from "./seed.ts";

/** A response as it would be returned. */
export interface Candidate {
  readonly index: number;
  readonly text: string;
  readonly finish: FinishReason;
  /** What the engine noted while sampling; null where a deadline came first. */
  readonly sample: Sample | null;
}

/** Tokens that a request took. */
export interface TokenWork {
  /** Contexts fed to the model, for sampling and for scoring. */
  prompt: number;
  sampled: number;
  scored: number;
  /** Of the contexts: found in a cache of prefixes. */
  cached: number;
}

export interface SampleOptions {
  readonly parameters: SamplingParameters;
  readonly count: number;
  readonly seed: number;
  /** Note log-probabilities: they may stand in for a second pass over C⁺. */
  readonly logprobs: boolean;
  readonly work: TokenWork;
  /** The context is at hand, sampling begins. */
  readonly onBegin?: (() => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** When it fires, what has been sampled so far is returned. */
  readonly budget?: AbortSignal | undefined;
  /** Pieces of a candidate's text, as they become certain. */
  readonly onText?: ((index: number, text: string) => void) | undefined;
}

/** Candidates as they end. Throws what the engine throws; a spent budget is not an error: what has been sampled by then comes as it is. */
export async function* sampleCandidates(
  engine: Engine,
  prompt: Prompt,
  format: PromptFormat,
  options: SampleOptions,
): AsyncGenerator<Candidate> {
  const { parameters, count, seed, logprobs, budget, work, onText } = options;
  const stop = format === "chat" ? parameters.stop : [...parameters.stop, ...cuts];
  const seeds = Array.from({ length: count }, (_, index) => candidateSeed(seed, index));
  const unfinished = new Map(seeds.map((_, index) => [index, new Answer(format, (text) => onText?.(index, text))]));
  const signals = [options.signal, budget].filter((signal) => signal !== undefined);
  work.prompt += prompt.tokens.length;
  try {
    for await (const event of engine.sample(prompt, { ...parameters, stop, seeds, logprobs }, AbortSignal.any(signals))) {
      if (event.type === "prompt") {
        work.cached += event.cached;
        options.onBegin?.();
        continue;
      }
      const { index } = event;
      const answer = unfinished.get(index) as Answer;
      if (event.type === "text") answer.push(event.text);
      else {
        const { sample } = event;
        unfinished.delete(index);
        work.sampled += sample.tokens.length;
        yield { index, text: answer.end(sample.finish), finish: sample.finish, sample };
      }
    }
  } catch (error) {
    if (!budget?.aborted || options.signal?.aborted || !isCancellation(error)) throw error;
  }
  for (const [index, answer] of unfinished) yield { index, text: answer.end("length"), finish: "length", sample: null };
}

/** The end of a text that may be the beginning of a turn or block marker of the paper's templates. */
const openMarker = /(?:^|\n)(?:#|[Hh](?:u(?:m(?:an?)?)?)?|[Aa](?:s(?:s(?:i(?:s(?:t(?:a(?:nt?)?)?)?)?)?)?)?)?$/u;

/** The text of one answer. In the paper's formats it is trimmed, and never ends in half a marker. */
class Answer {
  readonly #trims: boolean;
  readonly #onText: (text: string) => void;
  #raw = "";
  #shown = 0;

  constructor(format: PromptFormat, onText: (text: string) => void) {
    this.#trims = format !== "chat";
    this.#onText = onText;
  }

  push(text: string): void {
    this.#raw += text;
    this.#show(this.#trims ? this.#certain() : this.#raw);
  }

  /** The whole text; what was held back is shown. */
  end(finish: FinishReason): string {
    const text = !this.#trims ? this.#raw : finish === "length" ? this.#certain() || this.#raw.trim() : this.#raw.trim();
    this.#show(text);
    return text;
  }

  #certain(): string {
    return this.#raw.trimStart().trimEnd().replace(openMarker, "").trimEnd();
  }

  #show(text: string): void {
    if (text.length <= this.#shown) return;
    this.#onText(text.slice(this.#shown));
    this.#shown = text.length;
  }
}
