/**
 * @module The native context of node-llama-cpp, behind the library's types: its internals, hence the exact version in
 * package.json. A batch may hold decode tokens, scored tokens and prefill chunks of many sequences. Which sequence
 * holds what is the scheduler's business; the library's own `LlamaContextSequence` must never be used on this context.
 */
import type { Llama, LlamaContext, LlamaModel, LlamaRankingContext } from "node-llama-cpp";
import { GatewayError } from "../../types/error.ts";
import type { GrammarState, NativeSampler, SamplerConfig, TokenSampling } from "./sampler.ts";

export interface NativeContext extends TokenSampling {
  initBatch(size: number): void;
  addToBatch(sequence: number, position: number, tokens: Uint32Array, logitIndexes: Uint32Array): Uint32Array;
  decodeBatch(): Promise<void>;
  disposeSequence(sequence: number): void;
  removeTokenCellsFromSequence(sequence: number, start: number, end: number): boolean;
  copySequenceStateFromOtherSequence(target: number, source: number): Promise<number>;
  setThreads(threads: number): void;
}

/** Of a model with a ranking head. */
export interface NativeRankingContext
  extends Pick<NativeContext, "initBatch" | "addToBatch" | "decodeBatch" | "disposeSequence" | "setThreads"> {
  /** `[outputs]` of the head for the tokens of the last batch. */
  getEmbedding(tokens: number): Float64Array;
}

interface NativeInternals {
  readonly llama: {
    readonly _bindings: {
      readonly AddonSampler: new (model: unknown) => NativeSampler;
      readonly AddonGrammar: new (gbnf: string, options: { readonly addonExports: unknown }) => object;
      /** From a grammar, or as a copy of a state. */
      readonly AddonGrammarEvaluationState: {
        new (model: unknown, grammar: object): GrammarState;
        new (state: GrammarState): GrammarState;
      };
    };
  };
  readonly model: { readonly _model: unknown };
}

/** What a model has of the native library, whatever the context. */
export interface NativeLibrary {
  createSampler(config: SamplerConfig): NativeSampler;
  /** Throws "invalid_request" where llama.cpp cannot read it. */
  readGrammar(gbnf: string): GrammarState;
  copyGrammar(state: GrammarState): GrammarState;
}

/** Private to the library, as all of these: the integration tests fail loudly where a version changes them. */
export function nativeContext(context: LlamaContext): NativeContext {
  return (context as unknown as { readonly _ctx: NativeContext })._ctx;
}

/** A context that the library has opened for ranking: its own `rank` tokenises and squashes, and takes no chat template. */
export function nativeRankingContext(context: LlamaRankingContext): NativeRankingContext {
  const { _llamaContext } = context as unknown as { readonly _llamaContext: { readonly _ctx: NativeRankingContext } };
  return _llamaContext._ctx;
}

export function openInternals(llama: Llama, model: LlamaModel): NativeLibrary {
  const internals = { llama, model } as unknown as NativeInternals;
  const createSampler = (config: SamplerConfig): NativeSampler => {
    const sampler = new internals.llama._bindings.AddonSampler(internals.model._model);
    sampler.applyConfig(config);
    return sampler;
  };
  const { AddonGrammar, AddonGrammarEvaluationState } = internals.llama._bindings;
  const readGrammar = (gbnf: string): GrammarState => {
    let grammar: object;
    try {
      grammar = new AddonGrammar(gbnf, { addonExports: internals.llama._bindings });
    } catch (error) {
      throw new GatewayError(
        "invalid_request",
        "The engine cannot read the grammar of this request: it is too large or too deep.",
        {
          cause: error,
        },
      );
    }
    return new AddonGrammarEvaluationState(internals.model._model, grammar);
  };
  const copyGrammar = (state: GrammarState): GrammarState => new AddonGrammarEvaluationState(state);
  return { createSampler, readGrammar, copyGrammar };
}
