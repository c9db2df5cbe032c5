/**
 * @module The one place that touches node-llama-cpp. It drives the library's native context directly (internal types, hence the exact version
 * in package.json): a batch may then mix decode tokens, scored tokens and prefill chunks of many sequences. Bookkeeping of sequences and
 * positions is the scheduler's; the library's own `LlamaContextSequence` must never be used on this context.
 */
import { availableParallelism } from "node:os";
import {
  GgmlType,
  GgufFileType,
  GgufInsights,
  getLlama,
  type Llama,
  type LlamaContext,
  LlamaLogLevel,
  type LlamaModel,
  type Token as LlamaToken,
  readGgufFileInfo,
} from "node-llama-cpp";
import { GatewayError } from "../../types/error.ts";
import type { SampleRequest, Token } from "../engine.ts";
import { AvailableCores } from "./available-cores.ts";
import type { Backend, BatchChunk, Logits, Sampler } from "./backend.ts";
import type { Detokenize } from "./completion-text.ts";
import { GrammarTurns } from "./grammar-turns.ts";
import { type GrammarState, type NativeSampler, readLogprobs, type SamplerConfig, samplerConfig, type TokenSampling } from "./sampler.ts";
import { chooseSize, type Room } from "./sizing.ts";
import { ThreadControl } from "./threads.ts";
import { tokenBytes } from "./token-bytes.ts";

interface NativeContext extends TokenSampling {
  initBatch(size: number): void;
  addToBatch(sequence: number, position: number, tokens: Uint32Array, logitIndexes: Uint32Array): Uint32Array;
  decodeBatch(): Promise<void>;
  disposeSequence(sequence: number): void;
  removeTokenCellsFromSequence(sequence: number, start: number, end: number): boolean;
  copySequenceStateFromOtherSequence(target: number, source: number): Promise<number>;
  setThreads(threads: number): void;
}
interface NativeInternals {
  readonly context: { readonly _ctx: NativeContext };
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

export interface NativeOptions {
  readonly modelPath: string;
  /** A LoRA adapter: a GGUF file. */
  readonly adapterPath?: string | undefined;
  /** Tokens per sequence; 0: what the model was trained with, 4,096 at most, less where memory is short. */
  readonly contextSize: number;
  /** 0: as many as fit. */
  readonly sequences: number;
  /** At most; 0: as many as there are cores. */
  readonly threads: number;
  readonly gpu: "auto" | false;
}

/** What was chosen for this machine, and why. */
export interface EngineSize {
  readonly contextSize: number;
  readonly sequences: number;
  /** At the start. */
  readonly threads: number;
  readonly mostThreads: number;
  /** Of the machine, those that are good at arithmetic. */
  readonly cores: number;
  readonly gpu: string | null;
  readonly why: readonly string[];
}

/** The tokenizer's side of a model, without the library's types. */
export interface NativeModel {
  readonly vocabularySize: number;
  /** No token is written with more characters. */
  readonly longestToken: number;
  readonly chatTemplate: string | undefined;
  readonly bos: Token | undefined;
  readonly eos: Token | undefined;
  readonly prependsBos: boolean;
  /** Those that do not end a generation. */
  readonly controlTokens: readonly Token[];
  kind(token: Token): "text" | "control" | "user-defined";
  endsGeneration(token: Token): boolean;
  spelling(token: Token): string;
  /** What a token adds to a text, in UTF-8. */
  bytes(token: Token): Uint8Array;
  tokenize(text: string, special: boolean): Token[];
  /** Plain text that goes on where another stopped: without the space that some tokenizers put first. */
  tokenizeContinuation(text: string): Token[];
  readonly detokenize: Detokenize;
}

export interface Native {
  readonly model: NativeModel;
  readonly backend: Backend;
  readonly size: EngineSize;
  readonly threads: ThreadControl;
}

/** Tokens in a step, at most. On a CPU the scheduler takes fewer, so that steps stay short. */
const stepTokens = 512;

/**
 * Who loads F32 weights wants exact sums. llama.cpp's flash attention on a CPU and its F16 cache move a sum by up to 0.12 nat (measured over
 * contexts of 300 to 700 tokens); without both it is 0.01. Quantised weights move it by more, and flash attention is a seventh faster.
 */
const exactAttention = {
  flashAttention: false,
  experimentalKvCacheKeyType: GgmlType.F32,
  experimentalKvCacheValueType: GgmlType.F32,
} as const;

/** Loads the model and its context. Throws "model_unavailable" where they do not fit, and what llama.cpp says when it cannot load them. */
export async function loadNative(options: NativeOptions): Promise<Native> {
  const llama = await getLlama({ gpu: options.gpu, logLevel: LlamaLogLevel.error, build: "never" });
  const file = await readGgufFileInfo(options.modelPath);
  const insights = await GgufInsights.from(file, llama);
  const exact = file.metadata.general?.file_type === GgufFileType.ALL_F32;
  const needs = {
    weights: insights.modelSize,
    trainContext: insights.trainContextSize ?? 4096,
    contextBytes: (size: number, count: number) => contextBytes(insights, size, count, { exact, gpu: llama.gpu !== false }),
  };
  const { contextSize, sequences, why } = chooseSize(needs, await freeRoom(llama), options);
  const cores = Math.min(llama.cpuMathCores, availableParallelism());
  llama.maxThreads = options.threads || cores; // the library would take at least four
  const model = await llama.loadModel({ modelPath: options.modelPath });
  const context = await model.createContext({
    contextSize,
    sequences,
    batchSize: stepTokens,
    threads: llama.maxThreads,
    // Whole caches can be cut anywhere, which reusing prefixes needs.
    swaFullCache: true,
    ...(options.adapterPath !== undefined && { lora: { adapters: [{ filePath: options.adapterPath }] } }),
    ...(exact && exactAttention),
  });
  const described = describe(model);
  const { native, createSampler, readGrammar, copyGrammar } = openInternals(context, llama, model);
  const most = options.threads || cores;
  const measured = await measureThreads(native, llama.gpu === false ? halves(most) : [most]);
  const threads = new ThreadControl({ start: measured.threads, most });
  const available = new AvailableCores();
  const gpu = llama.gpu === false ? null : llama.gpu;
  const size = { contextSize, sequences, threads: measured.threads, mostThreads: most, cores, gpu, why: [why, measured.why] };
  // Without a temperature the chain is greedy and leaves the logits as they are: the selected token is then the maximum.
  const greedy = createSampler({});
  /** Before any text: read once for all the samples of a request. */
  const grammars = new WeakMap<SampleRequest, GrammarState>();
  const beginGrammar = (request: SampleRequest): SamplerConfig => {
    if (request.grammar === undefined) return {};
    const known = grammars.get(request) ?? readGrammar(request.grammar);
    grammars.set(request, known);
    return { grammarEvaluationState: request.seeds.length === 1 ? known : copyGrammar(known) };
  };
  const oneByOne = new GrammarTurns();
  /** Not in use at present. Each holds a vocabulary's worth of memory, which only the garbage collector would free, and it does not know of it. */
  const spare: NativeSampler[] = [];

  const truncate = (sequence: number, length: number): void => {
    if (!native.removeTokenCellsFromSequence(sequence, length, -1)) throw new Error(`A sequence could not be cut to ${length} tokens`);
  };

  const backend: Backend = {
    sequences,
    contextSize,
    stepTokens,
    prefillSpeed: measured.prefillSpeed,
    get threads() {
      return threads.threads;
    },

    async decode(batch: readonly BatchChunk[]): Promise<Logits[][]> {
      const tokens = batch.reduce((sum, chunk) => sum + chunk.tokens.length, 0);
      native.initBatch(tokens);
      const rows = batch.map((chunk) =>
        Array.from(
          native.addToBatch(chunk.sequence, chunk.position, Uint32Array.from(chunk.tokens), Uint32Array.from(chunk.logits)),
          (row) => row as Logits,
        ),
      );
      const start = performance.now();
      native.setThreads(threads.next(tokens, start, available.get(start)));
      await native.decodeBatch();
      const end = performance.now();
      threads.record(tokens, end - start, end);
      return rows;
    },

    async logprobs(row: Logits, tokens: readonly Token[]): Promise<number[]> {
      const logprobs = await readLogprobs(native, greedy, row, tokens, 0);
      return tokens.map((token) => logprobs.get(token) ?? Number.NEGATIVE_INFINITY);
    },

    async topLogprobs(row: Logits, token: Token, count: number) {
      const logprobs = await readLogprobs(native, greedy, row, [token], count);
      const top = [...logprobs].sort(([a, x], [b, y]) => y - x || a - b).slice(0, count);
      return { logprob: logprobs.get(token) ?? Number.NEGATIVE_INFINITY, top };
    },

    createSampler(request: SampleRequest, seed: number): Sampler {
      const config = { ...samplerConfig(request, described, contextSize), ...beginGrammar(request) };
      const isPlain = Object.keys(config).length === 0;
      const sampler = isPlain ? greedy : (spare.pop() ?? createSampler({}));
      if (sampler !== greedy) {
        // Random numbers start anew only where the seed changes, and penalties forget what was sampled only where there were none in between.
        const { temperature, topK, topP } = request;
        sampler.applyConfig({ ...(temperature > 0 && { temperature, topK, topP }), seed: ~seed >>> 0 });
        sampler.applyConfig({ ...config, seed });
      }
      return {
        async sample(row: Logits): Promise<Token> {
          const draw = () => native.sampleToken(row, sampler);
          const token = await (request.grammar === undefined ? draw() : oneByOne.take(draw));
          if (token === -1) throw new Error("llama.cpp could not sample a token");
          return token;
        },
        dispose(): void {
          if (sampler === greedy) return;
          sampler.applyConfig({}); // lets go of the grammar's state
          spare.push(sampler);
        },
      };
    },

    rewinds: measured.rewinds,

    async copy(source: number, target: number, length: number): Promise<void> {
      native.disposeSequence(target);
      if (length === 0) return;
      const last = await native.copySequenceStateFromOtherSequence(target, source);
      if (last < length - 1) throw new Error(`A copied sequence ends at position ${last}, before ${length - 1}`);
      if (last > length - 1) truncate(target, length);
    },

    truncate,
    clear: (sequence: number) => native.disposeSequence(sequence),
  };
  return { model: described, backend, size, threads };
}

/** Private to the library: the integration tests fail loudly where a version changes them. */
function openInternals(context: LlamaContext, llama: Llama, model: LlamaModel) {
  const internals = { context, llama, model } as unknown as NativeInternals;
  const createSampler = (config: Parameters<NativeSampler["applyConfig"]>[0]): NativeSampler => {
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
      throw new GatewayError("invalid_request", "The engine cannot read the grammar of this request: it is too large or too deep.", {
        cause: error,
      });
    }
    return new AddonGrammarEvaluationState(internals.model._model, grammar);
  };
  const copyGrammar = (state: GrammarState): GrammarState => new AddonGrammarEvaluationState(state);
  return { native: internals.context._ctx, createSampler, readGrammar, copyGrammar };
}

/** What may be used: of the GPU if there is one, else of the machine, or of the container it runs in. */
async function freeRoom(llama: Llama): Promise<Room> {
  if (llama.gpu === false) return { bytes: process.availableMemory(), where: "memory" };
  const { free } = await llama.getVramState();
  return { bytes: free, where: "GPU memory" };
}

function contextBytes(
  insights: GgufInsights,
  contextSize: number,
  sequences: number,
  { exact, gpu }: { readonly exact: boolean; readonly gpu: boolean },
): number {
  const { cpuRam, gpuVram } = insights.estimateContextResourceRequirements({
    contextSize,
    sequences,
    batchSize: stepTokens,
    modelGpuLayers: gpu ? insights.totalLayers : 0,
    swaFullCache: true,
    flashAttention: !exact,
    ...(exact && { kvCacheKeyType: GgmlType.F32, kvCacheValueType: GgmlType.F32 }),
  });
  return gpu ? gpuVram : cpuRam;
}

/** All the cores that are good at arithmetic, half of them, and so on: a container may be given less than it sees. */
function halves(cores: number): number[] {
  return cores <= 1 ? [1] : [cores, ...halves(Math.floor(cores / 2))];
}

const measuredPrompt = 64;
const measuredSteps = 8;

/** Times a short prompt and a few steps with each number of threads; the fastest stays. Then tries whether their state can be cut. */
async function measureThreads(native: NativeContext, choices: readonly number[]) {
  const feed = async (position: number, tokens: number): Promise<void> => {
    native.initBatch(tokens);
    native.addToBatch(0, position, new Uint32Array(tokens).fill(1), Uint32Array.of(tokens - 1));
    await native.decodeBatch();
  };
  const measure = async (threads: number) => {
    native.setThreads(threads);
    native.disposeSequence(0);
    const start = performance.now();
    await feed(0, measuredPrompt);
    const prefilled = performance.now();
    for (let step = 0; step < measuredSteps; step++) await feed(measuredPrompt + step, 1);
    const end = performance.now();
    return {
      threads,
      prefill: (measuredPrompt / (prefilled - start)) * 1000,
      decode: (measuredSteps / (end - prefilled)) * 1000,
      ms: end - start,
    };
  };
  await measure(choices[0] as number); // touches the weights for the first time
  const measured = [];
  for (const threads of choices) measured.push(await measure(threads));
  const best = measured.reduce((a, b) => (b.ms < a.ms ? b : a));
  native.setThreads(best.threads);
  // A recurrent state is that after its last token, and no other: llama.cpp then refuses.
  const rewinds = native.removeTokenCellsFromSequence(0, 1, -1);
  native.disposeSequence(0);
  const figures = measured.map(
    ({ threads, prefill, decode }) => `${threads}: ${prefill.toFixed(0)} prompt, ${decode.toFixed(0)} decoded tokens/s`,
  );
  return { threads: best.threads, prefillSpeed: best.prefill, rewinds, why: `threads ${figures.join("; ")}` };
}

function describe(model: LlamaModel): NativeModel {
  const { metadata } = model.fileInfo;
  // llama.cpp takes plain text for what it is at the beginning only: a SentencePiece vocabulary puts a space before it.
  const addsSpace = model.detokenize(model.tokenize("a", false)).startsWith(" ");
  const { tokens, model: vocabulary } = metadata.tokenizer.ggml;
  const kind = (token: Token) => {
    const attributes = model.getTokenAttributes(token as LlamaToken);
    return attributes.control || attributes.unknown ? "control" : attributes.userDefined ? "user-defined" : "text";
  };
  const spelling = (token: Token) => model.detokenize([token as LlamaToken], true);
  return {
    vocabularySize: tokens.length,
    longestToken: tokens.reduce((longest, entry) => Math.max(longest, entry.length), 1),
    controlTokens: [...tokens.keys()].filter((token) => kind(token) === "control" && !model.isEogToken(token as LlamaToken)),
    chatTemplate: metadata.tokenizer.chat_template,
    bos: model.tokens.bos ?? undefined,
    eos: model.tokens.eos ?? undefined,
    prependsBos: model.tokens.shouldPrependBosToken,
    kind,
    endsGeneration: (token) => model.isEogToken(token as LlamaToken),
    spelling,
    bytes: (token) =>
      (kind(token) === "text" ? tokenBytes(vocabulary, tokens[token] ?? "") : undefined) ?? new TextEncoder().encode(spelling(token)),
    tokenize: (text, special) => model.tokenize(text, special),
    tokenizeContinuation: (text) => model.tokenize(text, false, addsSpace ? "trimLeadingSpace" : undefined),
    detokenize: (tokens, previous) => model.detokenize(tokens as LlamaToken[], false, previous as LlamaToken[]),
  };
}
