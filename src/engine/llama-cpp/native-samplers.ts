/**
 * @module The samplers of a model, for all of its contexts: each completion has one of its own, set up as its request says, and given back to
 * be used again.
 */
import type { Contrast, SampleRequest, Token } from "../engine.ts";
import type { ContrastSampler, Logits, Sampler, TopLogprobs } from "./backend.ts";
import { ContrastDraws } from "./contrast-sampler.ts";
import { GrammarTurns } from "./grammar-turns.ts";
import type { NativeLibrary } from "./native-context.ts";
import {
  type GrammarState,
  type NativeSampler,
  nativeRow,
  readLogprobs,
  readTopLogits,
  type SamplerConfig,
  type SamplerModel,
  type SamplerSettings,
  samplerConfig,
} from "./sampler.ts";

export class NativeSamplers {
  readonly #library: NativeLibrary;
  readonly #model: SamplerModel;
  readonly #contextSize: number;
  /**
   * Without a temperature the chain is greedy and leaves the logits as they are: the selected token is then the
   * maximum.
   */
  readonly #greedy: NativeSampler;
  /** By their number of tokens: what leaves so many of the likeliest, and their logits as they are. */
  readonly #likeliest = new Map<number, NativeSampler>();
  /**
   * Not in use at present. Each holds a vocabulary's worth of memory, which only the garbage collector would free, and
   * it does not know of it.
   */
  readonly #spare: NativeSampler[] = [];
  /** Before any text: read once for all the samples of a request. */
  readonly #grammars = new WeakMap<SampleRequest, GrammarState>();
  readonly #oneByOne = new GrammarTurns();

  constructor(library: NativeLibrary, model: SamplerModel, contextSize: number) {
    this.#library = library;
    this.#model = model;
    this.#contextSize = contextSize;
    this.#greedy = library.createSampler({});
  }

  /** Throws "invalid_request" for a grammar or a biased token that the model cannot have. */
  create(request: SampleRequest, seed: number, prompt: readonly Token[]): Sampler {
    const least = request.ignoreEos ? Number.POSITIVE_INFINITY : (request.minTokens ?? 0);
    const sampler = this.#setUp({ request, prompt, sampled: [], mayEnd: least === 0 }, seed);
    /** As long as it may not end. */
    const sampled: Token[] = [];
    return {
      sample: async (logits: Logits): Promise<Token> => {
        if (least > 0 && sampled.length === least) {
          // With the same seed, random numbers go on.
          const settings = { request, prompt, sampled, mayEnd: true };
          sampler.applyConfig({ ...samplerConfig(settings, this.#model, this.#contextSize), seed });
        }
        const token = await this.#draw(logits, sampler, request);
        if (sampled.length <= least) sampled.push(token);
        return token;
      },
      dispose: () => this.#giveBack(sampler),
    };
  }

  /** As `create` does, for two contexts in step. */
  createContrast(request: SampleRequest, contrast: Contrast, seed: number, prompt: readonly Token[]): ContrastSampler {
    const lasting = { ...this.#beginGrammar(request), seed };
    const sampler = this.#renewed(request, seed);
    return new ContrastDraws(request, contrast, prompt, {
      model: this.#model,
      contextSize: this.#contextSize,
      lasting,
      likeliest: (row, count, others) => this.#likeliestOf(row, count, others),
      logprobs: (row, tokens) => this.logprobs(row, tokens),
      applyConfig: (config) => sampler.applyConfig(config),
      draw: (row) => this.#draw(row, sampler, request),
      dispose: () => this.#giveBack(sampler),
    });
  }

  /** log π of each token at a row, in nats. */
  async logprobs(row: Logits, tokens: readonly Token[]): Promise<number[]> {
    const logprobs = await readLogprobs(nativeRow(row), this.#greedy, tokens, 0);
    return tokens.map((token) => logprobs.get(token) ?? Number.NEGATIVE_INFINITY);
  }

  async topLogprobs(row: Logits, token: Token, count: number): Promise<TopLogprobs> {
    const logprobs = await readLogprobs(nativeRow(row), this.#greedy, [token], count);
    const top = [...logprobs].sort(([a, x], [b, y]) => y - x || a - b).slice(0, count);
    return { logprob: logprobs.get(token) ?? Number.NEGATIVE_INFINITY, top };
  }

  /** As `readLogprobs` reads them, without sorting the vocabulary. */
  async #likeliestOf(row: Logits, count: number, others: readonly Token[]): Promise<Map<Token, number>> {
    const known = this.#likeliest.get(count);
    const sampler = known ?? this.#library.createSampler({ temperature: 1, topK: count, topP: 1, seed: 0 });
    this.#likeliest.set(count, sampler);
    const logits = await readTopLogits(nativeRow(row), sampler, count);
    const logprobs = await readLogprobs(nativeRow(row), this.#greedy, others, 0);
    const [token, logit] = [...logits].reduce((best, one) => (one[1] > best[1] ? one : best));
    const logSum = logit - (logprobs.get(token) ?? Math.max(...logprobs.values()));
    return new Map([
      ...[...logits].map(([likely, value]) => [likely, value - logSum] as const),
      ...others.map((other) => [other, logprobs.get(other) ?? Number.NEGATIVE_INFINITY] as const),
    ]);
  }

  async #draw(logits: Logits, sampler: NativeSampler, { grammar }: SampleRequest): Promise<Token> {
    const { context, row } = nativeRow(logits);
    const draw = () => context.sampleToken(row, sampler);
    const token = await (grammar === undefined ? draw() : this.#oneByOne.take(draw));
    if (token === -1) throw new Error("llama.cpp could not sample a token");
    return token;
  }

  #giveBack(sampler: NativeSampler): void {
    if (sampler === this.#greedy) return;
    sampler.applyConfig({}); // lets go of the grammar's state
    this.#spare.push(sampler);
  }

  #setUp(settings: SamplerSettings, seed: number): NativeSampler {
    const { request } = settings;
    const config = { ...samplerConfig(settings, this.#model, this.#contextSize), ...this.#beginGrammar(request) };
    if (Object.keys(config).length === 0) return this.#greedy;
    const sampler = this.#renewed(request, seed);
    sampler.applyConfig({ ...config, seed });
    return sampler;
  }

  /** One that has sampled nothing, once it is set up. */
  #renewed({ temperature, topK, topP }: SampleRequest, seed: number): NativeSampler {
    const sampler = this.#spare.pop() ?? this.#library.createSampler({});
    // Random numbers start anew only where the seed changes, and penalties forget what was sampled only where there
    // were none in between.
    sampler.applyConfig({ ...(temperature > 0 && { temperature, topK, topP }), seed: ~seed >>> 0 });
    return sampler;
  }

  #beginGrammar(request: SampleRequest): SamplerConfig {
    if (request.grammar === undefined) return {};
    const known = this.#grammars.get(request) ?? this.#library.readGrammar(request.grammar);
    this.#grammars.set(request, known);
    return { grammarEvaluationState: request.seeds.length === 1 ? known : this.#library.copyGrammar(known) };
  }
}
