/**
 * @module The samplers of a model, for all of its contexts: each completion has one of its own, set up as its request says, and given back to
 * be used again.
 */
import type { SampleRequest, Token } from "../engine.ts";
import type { Logits, Sampler, TopLogprobs } from "./backend.ts";
import { GrammarTurns } from "./grammar-turns.ts";
import type { NativeLibrary } from "./native-context.ts";
import {
  type GrammarState,
  type NativeSampler,
  nativeRow,
  readLogprobs,
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
    const sampler = this.#setUp({ request, before: prompt, mayEnd: least === 0 }, seed);
    /** As long as it may not end. */
    const sampled: Token[] = [];
    return {
      sample: async (logits: Logits): Promise<Token> => {
        if (least > 0 && sampled.length === least) {
          // With the same seed, random numbers go on.
          const settings = { request, before: [...prompt, ...sampled], mayEnd: true };
          sampler.applyConfig({ ...samplerConfig(settings, this.#model, this.#contextSize), seed });
        }
        const { context, row } = nativeRow(logits);
        const draw = () => context.sampleToken(row, sampler);
        const token = await (request.grammar === undefined ? draw() : this.#oneByOne.take(draw));
        if (token === -1) throw new Error("llama.cpp could not sample a token");
        if (sampled.length <= least) sampled.push(token);
        return token;
      },
      dispose: (): void => {
        if (sampler === this.#greedy) return;
        sampler.applyConfig({}); // lets go of the grammar's state
        this.#spare.push(sampler);
      },
    };
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

  #setUp(settings: SamplerSettings, seed: number): NativeSampler {
    const { request } = settings;
    const config = { ...samplerConfig(settings, this.#model, this.#contextSize), ...this.#beginGrammar(request) };
    if (Object.keys(config).length === 0) return this.#greedy;
    const sampler = this.#spare.pop() ?? this.#library.createSampler({});
    // Random numbers start anew only where the seed changes, and penalties forget what was sampled only where there
    // were none in between.
    const { temperature, topK, topP } = request;
    sampler.applyConfig({ ...(temperature > 0 && { temperature, topK, topP }), seed: ~seed >>> 0 });
    sampler.applyConfig({ ...config, seed });
    return sampler;
  }

  #beginGrammar(request: SampleRequest): SamplerConfig {
    if (request.grammar === undefined) return {};
    const known = this.#grammars.get(request) ?? this.#library.readGrammar(request.grammar);
    this.#grammars.set(request, known);
    return { grammarEvaluationState: request.seeds.length === 1 ? known : this.#library.copyGrammar(known) };
  }
}
