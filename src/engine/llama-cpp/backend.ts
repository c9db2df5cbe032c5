/** @module What the scheduler needs of llama.cpp. */
import type { Contrast, SampleRequest, Token } from "../engine.ts";
import type { SequenceMemory } from "./slots.ts";

/** A row of a step's logits, valid until the next step of the same context; it knows which that is. */
export type Logits = object & { readonly __logits: never };

/** Consecutive tokens of one sequence; logits are wanted at the given offsets. */
export interface BatchChunk {
  readonly sequence: number;
  readonly position: number;
  readonly tokens: readonly Token[];
  readonly logits: readonly number[];
}

/** Draws the tokens of one completion. */
export interface Sampler {
  sample(row: Logits): Promise<Token>;
  dispose(): void;
}

export interface ContrastToken {
  readonly token: Token;
  /** log π(token ∣ C⁺, before) − log π(token ∣ C⁻, before), in nats. */
  readonly logRatio: number;
}

/** Draws the tokens of one completion by the contrast of two contexts. */
export interface ContrastSampler {
  /** `row`: after C⁺; `against`: after C⁻, of the same step. */
  sample(row: Logits, against: Logits): Promise<ContrastToken>;
  dispose(): void;
}

export interface TopLogprobs {
  readonly logprob: number;
  readonly top: readonly (readonly [token: Token, logprob: number])[];
}

export interface Backend extends SequenceMemory {
  /** Tokens per sequence. */
  readonly contextSize: number;
  /** Tokens per step, at most. */
  readonly stepTokens: number;
  /** Prompt tokens a second, measured at the start. */
  readonly prefillSpeed: number;
  /** Threads that steps use at present. */
  readonly threads: number;
  /** `[chunks][offsets]`: rows of logits. */
  decode(batch: readonly BatchChunk[]): Promise<Logits[][]>;
  /** log π of each token at a row, in nats. */
  logprobs(row: Logits, tokens: readonly Token[]): Promise<number[]>;
  /** log π of a token at a row, and `[count]` of the likeliest ones, the likeliest first. */
  topLogprobs(row: Logits, token: Token, count: number): Promise<TopLogprobs>;
  /** `prompt`: what stands before the completion. Throws "invalid_request" for a grammar or a biased token that the model cannot have. */
  createSampler(parameters: SampleRequest, seed: number, prompt: readonly Token[]): Sampler;
  /** As `createSampler` does. */
  createContrastSampler(
    parameters: SampleRequest,
    contrast: Contrast,
    seed: number,
    prompt: readonly Token[],
  ): ContrastSampler;
}
