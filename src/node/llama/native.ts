/**
 * @module The one place that touches node-llama-cpp. It drives the library's native context directly (internal types, hence the exact version
 * in package.json): a batch may then mix decode tokens, scored tokens and prefill chunks of many sequences. Bookkeeping of sequences and
 * positions is the scheduler's; the library's own `LlamaContextSequence` must never be used on this context.
 */
import { availableParallelism } from "node:os";
import { GgufFileType, getLlama, LlamaLogLevel, type LlamaModel, type Token as LlamaToken } from "node-llama-cpp";
import type { SamplingParameters, Token } from "../../engine/engine.ts";
import type { Backend, Feed, Logits, Sampler } from "./scheduler.ts";
import type { Detokenize } from "./text-stream.ts";

interface NativeSampler {
  applyConfig(config: { temperature?: number; topK?: number; topP?: number; seed?: number }): void;
  dispose(): void;
}
type SampledLogits = [token: Token, probabilities: unknown, confidence: unknown, logits?: number[], totalWeight?: number];
interface NativeContext {
  initBatch(size: number): void;
  addToBatch(sequence: number, position: number, tokens: Uint32Array, logitIndexes: Uint32Array): Uint32Array;
  decodeBatch(): Promise<void>;
  sampleToken(row: number, sampler: NativeSampler): Promise<Token>;
  sampleToken(
    row: number,
    sampler: NativeSampler,
    probabilities: false,
    confidence: false,
    logits: [tokens: readonly Token[], max: boolean, min: boolean, selected: boolean, top: number],
    totalWeight: true,
  ): Promise<SampledLogits>;
  disposeSequence(sequence: number): void;
  removeTokenCellsFromSequence(sequence: number, start: number, end: number): boolean;
  copySequenceStateFromOtherSequence(target: number, source: number): Promise<number>;
  setThreads(threads: number): void;
}
interface NativeInternals {
  readonly context: { readonly _ctx: NativeContext };
  readonly llama: { readonly _bindings: { readonly AddonSampler: new (model: unknown) => NativeSampler } };
  readonly model: { readonly _model: unknown };
}

export interface NativeOptions {
  readonly modelPath: string;
  /** Tokens per sequence; 0: what the model was trained with, 4,096 at most. */
  readonly contextSize: number;
  readonly sequences: number;
  /** 0: as many as the machine has cores that are good at arithmetic. */
  readonly threads: number;
  readonly gpu: "auto" | false;
}

/** The tokenizer's side of a model, without the library's types. */
export interface NativeModel {
  readonly vocabularySize: number;
  readonly chatTemplate: string | undefined;
  readonly bos: Token | undefined;
  readonly eos: Token | undefined;
  readonly prependsBos: boolean;
  kind(token: Token): "text" | "control" | "user-defined";
  endsGeneration(token: Token): boolean;
  spelling(token: Token): string;
  tokenize(text: string, special: boolean): Token[];
  /** Plain text that goes on where another stopped: without the space that some tokenizers put first. */
  tokenizeContinuation(text: string): Token[];
  readonly detokenize: Detokenize;
}

export interface Native {
  readonly model: NativeModel;
  readonly backend: Backend;
}

const largestDefaultContext = 4096;

/**
 * Who loads F32 weights wants exact sums. llama.cpp's flash attention on a CPU and its F16 cache move a sum by up to 0.12 nat (measured over
 * contexts of 300 to 700 tokens); without both it is 0.01. Quantised weights move it by more, and flash attention is a seventh faster.
 */
const exactAttention = { flashAttention: false, experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32" } as const;

function hasExactWeights(model: LlamaModel): boolean {
  return model.fileInfo.metadata.general?.file_type === GgufFileType.ALL_F32;
}

/** Loads the model and its context. Throws what llama.cpp says when it cannot. */
export async function loadNative(options: NativeOptions): Promise<Native> {
  const llama = await getLlama({ gpu: options.gpu, logLevel: LlamaLogLevel.error, build: "never" });
  const threads = options.threads || Math.min(llama.cpuMathCores, availableParallelism());
  llama.maxThreads = threads; // the library would take at least four
  const model = await llama.loadModel({ modelPath: options.modelPath });
  const contextSize = options.contextSize || Math.min(model.trainContextSize, largestDefaultContext);
  // A step takes at most this many tokens: on a CPU few enough that no step holds up the others for long.
  const stepTokens = llama.gpu === false ? 128 : 512;
  const context = await model.createContext({
    contextSize,
    sequences: options.sequences,
    batchSize: stepTokens,
    threads,
    ...(hasExactWeights(model) && exactAttention),
  });
  // Private to the library: the integration tests fail loudly where a version changes them.
  const internals = { context, llama, model } as unknown as NativeInternals;
  const native = internals.context._ctx;
  native.setThreads(threads);
  const createSampler = (config: Parameters<NativeSampler["applyConfig"]>[0]): NativeSampler => {
    const sampler = new internals.llama._bindings.AddonSampler(internals.model._model);
    sampler.applyConfig(config);
    return sampler;
  };
  // Without a temperature the chain is greedy and leaves the logits as they are: the selected token is then the maximum.
  const greedy = createSampler({});

  const backend: Backend = {
    sequences: options.sequences,
    contextSize,
    stepTokens,

    async decode(feeds: readonly Feed[]): Promise<Logits[][]> {
      native.initBatch(feeds.reduce((sum, feed) => sum + feed.tokens.length, 0));
      const rows = feeds.map((feed) =>
        Array.from(
          native.addToBatch(feed.sequence, feed.position, Uint32Array.from(feed.tokens), Uint32Array.from(feed.logits)),
          (row) => row as Logits,
        ),
      );
      await native.decodeBatch();
      return rows;
    },

    /** log π(token) = logit − max − log Σ exp(logit − max). The library's `includeMax` does not work; "selected" of a greedy chain is the max. */
    async logprobs(row: Logits, tokens: readonly Token[]): Promise<number[]> {
      const filter: [readonly Token[], boolean, boolean, boolean, number] = [tokens, false, false, true, 0];
      const [, , , pairs, totalWeight] = await native.sampleToken(row, greedy, false, false, filter, true);
      if (pairs === undefined || totalWeight === undefined) throw new Error("llama.cpp returned no logits");
      const logits = new Map<number, number>();
      for (let i = 0; i + 1 < pairs.length; i += 2) logits.set(pairs[i] as number, pairs[i + 1] as number);
      const logSum = Math.max(...logits.values()) + Math.log(totalWeight);
      return tokens.map((token) => (logits.get(token) ?? Number.NEGATIVE_INFINITY) - logSum);
    },

    createSampler(parameters: SamplingParameters, seed: number): Sampler {
      const { temperature, topK, topP } = parameters;
      const sampler = createSampler(temperature > 0 ? { temperature, topK, topP, seed } : {});
      return {
        async sample(row: Logits): Promise<Token> {
          const token = await native.sampleToken(row, sampler);
          if (token === -1) throw new Error("llama.cpp could not sample a token");
          return token;
        },
        dispose: () => sampler.dispose(),
      };
    },

    async copy(source: number, target: number, length: number): Promise<void> {
      native.disposeSequence(target);
      if (length === 0) return;
      const last = await native.copySequenceStateFromOtherSequence(target, source);
      if (last !== length - 1) throw new Error(`A copied sequence ends at position ${last}, not ${length - 1}`);
    },

    truncate(sequence: number, length: number): void {
      if (!native.removeTokenCellsFromSequence(sequence, length, -1))
        throw new Error("This model's memory cannot be rewound; set ICDPO_SEQUENCES to at least the number of candidates");
    },

    clear: (sequence: number) => native.disposeSequence(sequence),
  };
  return { model: describe(model), backend };
}

function describe(model: LlamaModel): NativeModel {
  const { metadata } = model.fileInfo;
  // llama.cpp takes plain text for what it is at the beginning only: a SentencePiece vocabulary puts a space before it.
  const addsSpace = model.detokenize(model.tokenize("a", false)).startsWith(" ");
  return {
    vocabularySize: metadata.tokenizer.ggml.tokens.length,
    chatTemplate: metadata.tokenizer.chat_template,
    bos: model.tokens.bos ?? undefined,
    eos: model.tokens.eos ?? undefined,
    prependsBos: model.tokens.shouldPrependBosToken,
    kind(token) {
      const attributes = model.getTokenAttributes(token as LlamaToken);
      return attributes.control || attributes.unknown ? "control" : attributes.userDefined ? "user-defined" : "text";
    },
    endsGeneration: (token) => model.isEogToken(token as LlamaToken),
    spelling: (token) => model.detokenize([token as LlamaToken], true),
    tokenize: (text, special) => model.tokenize(text, special),
    tokenizeContinuation: (text) => model.tokenize(text, false, addsSpace ? "trimLeadingSpace" : undefined),
    detokenize: (tokens, previous) => model.detokenize(tokens as LlamaToken[], false, previous as LlamaToken[]),
  };
}
