/**
 * @module Tokens that a request took, as the engine's events tell of them: right at any moment, whatever becomes of the
 * request.
 */
import type { SampleEvent, ScoreEvent } from "../engine/engine.ts";

export interface TokenUsage {
  /** Contexts fed to the model, for sampling and for scoring. */
  prompt: number;
  sampled: number;
  scored: number;
  /** Of the contexts: found in a cache of prefixes. */
  cached: number;
}

export function noUsage(): TokenUsage {
  return { prompt: 0, sampled: 0, scored: 0, cached: 0 };
}

/** Tokens that the machine went through: what limits count, and records keep. */
export function computedTokens({ prompt, cached, sampled, scored }: Readonly<TokenUsage>): number {
  return prompt - cached + sampled + scored;
}

/**
 * The same events; `work` has grown by what an event tells when it is yielded. `promptTokens`: the length of the prompt
 * they are about.
 */
export async function* counted<Event extends SampleEvent | ScoreEvent>(
  events: AsyncIterable<Event>,
  promptTokens: number,
  usage: TokenUsage,
): AsyncGenerator<Event> {
  const counter = new TokenCounter(promptTokens, usage);
  for await (const event of events) {
    counter.count(event);
    yield event;
  }
}

/** Counts in a usage what events tell. */
export class TokenCounter {
  readonly #usage: TokenUsage;
  readonly #promptTokens: number;
  readonly #contexts: number;
  /** Of the prompt, in `work`. */
  #prompt = 0;
  #isFed = false;
  /** Of each sample, in `work`. */
  readonly #sampled = new Map<number, number>();

  /** `contexts`: what is sampled is fed after so many; after each but the first it counts as scored. */
  constructor(promptTokens: number, usage: TokenUsage, contexts = 1) {
    this.#contexts = contexts;
    this.#promptTokens = promptTokens;
    this.#usage = usage;
  }

  count(event: SampleEvent | ScoreEvent): void {
    if (event.type === "prefill") {
      if (!this.#isFed) this.#setPrompt(event.fed);
      return;
    }
    // An engine may say nothing of the prompt: where anything has come of it, it has been fed.
    if (!this.#isFed) this.#setPrompt(this.#promptTokens);
    this.#isFed = true;
    switch (event.type) {
      case "prompt":
        this.#usage.cached += event.cached;
        break;
      case "text":
      case "thought":
        this.#setSampled(event.index, (this.#sampled.get(event.index) ?? 0) + event.tokens);
        break;
      case "done":
        this.#setSampled(event.index, event.sample.tokens.length);
        this.#setPrompt(event.sample.counted?.prompt ?? this.#prompt);
        break;
      case "scored":
        this.#usage.scored += event.logprobs.length;
        break;
    }
  }

  #setPrompt(tokens: number): void {
    this.#usage.prompt += tokens - this.#prompt;
    this.#prompt = tokens;
  }

  #setSampled(index: number, tokens: number): void {
    const further = tokens - (this.#sampled.get(index) ?? 0);
    this.#usage.sampled += further;
    this.#usage.scored += further * (this.#contexts - 1);
    this.#sampled.set(index, tokens);
  }
}
