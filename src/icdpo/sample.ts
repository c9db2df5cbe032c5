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

export interface SampleOptions {
  readonly parameters: SamplingParameters;
  readonly count: number;
  readonly seed: number;
  /** Note log-probabilities: they may stand in for a second pass over C⁺. */
  readonly logprobs: boolean;
  readonly signal?: AbortSignal | undefined;
  /** When it fires, what has been sampled so far is returned. */
  readonly budget?: AbortSignal | undefined;
  /** Pieces of a candidate's text, as they become certain. */
  readonly onText?: ((index: number, text: string) => void) | undefined;
}

/** Throws what the engine throws; a spent budget is not an error. */
export async function sampleCandidates(engine: Engine, prompt: Prompt, format: PromptFormat, options: SampleOptions): Promise<Candidate[]> {
  const { parameters, count, seed, logprobs, budget, onText } = options;
  const stop = format === "chat" ? parameters.stop : [...parameters.stop, ...cuts];
  const seeds = Array.from({ length: count }, (_, index) => candidateSeed(seed, index));
  const answers = seeds.map((_, index) => new Answer(format, (text) => onText?.(index, text)));
  const samples: Sample[] = [];
  const signals = [options.signal, budget].filter((signal) => signal !== undefined);
  try {
    for await (const event of engine.sample(prompt, { ...parameters, stop, seeds, logprobs }, AbortSignal.any(signals))) {
      const answer = answers[event.index] as Answer;
      if (event.type === "text") answer.push(event.text);
      else {
        samples[event.index] = event.sample;
        answer.end(event.sample.finish);
      }
    }
  } catch (error) {
    if (!budget?.aborted || options.signal?.aborted || !isCancellation(error)) throw error;
  }
  return answers.map((answer, index) => {
    const sample = samples[index] ?? null;
    const finish = sample?.finish ?? "length";
    return { index, text: answer.end(finish), finish, sample };
  });
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
