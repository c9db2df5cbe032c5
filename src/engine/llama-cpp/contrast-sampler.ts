/** @module Draws tokens by the contrast of two contexts, with llama.cpp's samplers. */
import type { Contrast, SampleRequest, Token } from "../engine.ts";
import type { ContrastSampler, ContrastToken, Logits } from "./backend.ts";
import { ContrastBias, contrasted } from "./contrast-bias.ts";
import { biasOf, type SamplerConfig, type SamplerModel, type SamplerSettings, samplerConfig } from "./sampler.ts";

/** What it needs of the model's samplers. */
export interface ContrastNeeds {
  readonly model: SamplerModel;
  readonly contextSize: number;
  /** The `count` likeliest tokens at a row, and the others that are asked for: log π of each, in nats. */
  likeliest(row: Logits, count: number, others: readonly Token[]): Promise<Map<Token, number>>;
  /** log π of each token at a row, in nats. */
  logprobs(row: Logits, tokens: readonly Token[]): Promise<number[]>;
  /** What is the same at every step: the seed, the grammar. */
  readonly lasting: SamplerConfig;
  /** The sampler's own; random numbers go on where the seed stays. */
  applyConfig(config: SamplerConfig): void;
  draw(row: Logits): Promise<Token>;
  dispose(): void;
}

export class ContrastDraws implements ContrastSampler {
  readonly #request: SampleRequest;
  readonly #contrast: Contrast;
  readonly #prompt: readonly Token[];
  readonly #needs: ContrastNeeds;
  readonly #bias: ContrastBias;
  readonly #sampled: Token[] = [];

  /** Throws "invalid_request" for a biased token that the model does not have. */
  constructor(request: SampleRequest, contrast: Contrast, prompt: readonly Token[], needs: ContrastNeeds) {
    biasOf({ request, mayEnd: true }, needs.model);
    this.#request = request;
    this.#contrast = contrast;
    this.#prompt = prompt;
    this.#needs = needs;
    this.#bias = new ContrastBias(needs.model.vocabularySize);
  }

  async sample(row: Logits, against: Logits): Promise<ContrastToken> {
    const { likeliest, logprobs } = this.#needs;
    const { alpha, top } = this.#contrast;
    const settings = this.#settings();
    const own = biasOf(settings, this.#needs.model);
    // Whoever asks for a token by its bias means it, likely or not.
    const wanted = [...own].flatMap(([token, bias]) => (bias > 0 ? [token] : []));
    const positive = await likeliest(row, top, wanted);
    const tokens = [...positive.keys()];
    const negative = zipped(tokens, await logprobs(against, tokens));
    this.#bias.fill(own, contrasted(positive, negative, alpha));
    this.#needs.applyConfig(this.#config(settings));
    const token = await this.#needs.draw(row);
    this.#sampled.push(token);
    // Where a grammar allows none of the likeliest, another one is drawn.
    const logprob = positive.get(token) ?? ((await logprobs(row, [token]))[0] as number);
    const below = negative.get(token) ?? ((await logprobs(against, [token]))[0] as number);
    return { token, logRatio: logprob - below };
  }

  dispose(): void {
    this.#needs.dispose();
  }

  #settings(): SamplerSettings {
    const { minTokens = 0, ignoreEos = false } = this.#request;
    const mayEnd = !ignoreEos && this.#sampled.length >= minTokens;
    return { request: this.#request, prompt: this.#prompt, sampled: this.#sampled, mayEnd };
  }

  /** Tokens that weigh nothing need not be sorted. */
  #config(settings: SamplerSettings): SamplerConfig {
    const { model, contextSize, lasting } = this.#needs;
    const config = { ...samplerConfig(settings, model, contextSize), ...lasting };
    const { tokens: tokenBiasKeys, values: tokenBiasValues } = this.#bias;
    const { top } = this.#contrast;
    const { topK = 0 } = config;
    return {
      ...config,
      tokenBiasKeys,
      tokenBiasValues,
      ...(config.temperature !== undefined && { topK: topK > 0 ? Math.min(topK, top) : top }),
    };
  }
}

function zipped(tokens: readonly Token[], values: readonly number[]): Map<Token, number> {
  return new Map(tokens.map((token, i) => [token, values[i] ?? Number.NaN]));
}
