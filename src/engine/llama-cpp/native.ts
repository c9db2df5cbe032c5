/** @module The one place that opens node-llama-cpp: loads a model with a context whose size fits the machine. */
import { availableParallelism } from "node:os";
import {
  GgufFileType,
  GgufInsights,
  getLlama,
  type Llama,
  type LlamaContext,
  LlamaLogLevel,
  type LlamaModel,
  readGgufFileInfo,
} from "node-llama-cpp";
import type { Backend } from "./backend.ts";
import { contextBytes, exactAttention, freeRoom, stepTokens } from "./context-memory.ts";
import type { LongBackend } from "./long-sequences.ts";
import { halves, measureThreads } from "./measured-threads.ts";
import { NativeBackend } from "./native-backend.ts";
import { type NativeContext, nativeContext, openInternals } from "./native-context.ts";
import { describeModel, type NativeModel } from "./native-model.ts";
import { NativeSamplers } from "./native-samplers.ts";
import { adviceForMore, chooseSize, fewerThatFit, longerSequences, type Sequences, whyLonger } from "./sizing.ts";
import { ThreadControl } from "./threads.ts";

export interface NativeOptions {
  readonly modelPath: string;
  /** A LoRA adapter: a GGUF file. */
  readonly adapterPath?: string | undefined;
  /** In place of the model's own. */
  readonly chatTemplate?: string | undefined;
  /** Tokens of a request, and of each sequence; 0: what the model was trained with, as far as there is memory. */
  readonly contextSize: number;
  /** 0: as many as fit. */
  readonly sequences: number;
  /** At most; 0: as many as there are cores. */
  readonly threads: number;
  readonly gpu: "auto" | false;
}

/** What was chosen for this machine, and why. */
export interface EngineSize {
  /** Tokens that one request may take, its answer among them. */
  readonly contextSize: number;
  /** What can be done for more: a sentence. */
  readonly longerContext: string;
  /** Sequences that are always open, and the tokens of each. */
  readonly sequences: number;
  readonly sequenceTokens: number;
  /** At the start. */
  readonly threads: number;
  readonly mostThreads: number;
  /** Of the machine, those that are good at arithmetic. */
  readonly cores: number;
  readonly gpu: string | null;
  readonly why: readonly string[];
}

export interface Native {
  readonly model: NativeModel;
  readonly backend: Backend;
  /** Sequences for requests that are longer, by their length. */
  readonly longer: readonly Sequences[];
  /** Throws "out_of_room" where the memory that there was for them is taken. */
  openLonger(sequences: Sequences): Promise<LongBackend>;
  readonly size: EngineSize;
  readonly threads: ThreadControl;
}

/**
 * Loads the model and its context. Throws "model_unavailable" where they do not fit, and what llama.cpp says when it
 * cannot load them.
 */
export async function loadNative(options: NativeOptions): Promise<Native> {
  const llama = await getLlama({ gpu: options.gpu, logLevel: LlamaLogLevel.error, build: "never" });
  const { usual, longer, request, why, bytesOf, isExact } = await fittingSize(llama, options);
  const cores = Math.min(llama.cpuMathCores, availableParallelism());
  const mostThreads = options.threads || cores;
  llama.maxThreads = mostThreads; // the library would take at least four
  const loaded = await llama.loadModel({ modelPath: options.modelPath });
  const create = contextMaker(loaded, options, isExact);
  const context = nativeContext(await create(usual));
  const measured = await measureThreads(context, llama.gpu === false ? halves(mostThreads) : [mostThreads]);
  const threads = new ThreadControl({ start: measured.threads, most: mostThreads });
  const { chatTemplate } = options;
  const model = { ...describeModel(loaded), ...(chatTemplate !== undefined && { chatTemplate }) };
  const samplers = new NativeSamplers(openInternals(llama, loaded), model, request.contextSize);
  const { prefillSpeed, rewinds } = measured;
  const backend = (native: NativeContext, control: ThreadControl, sequences: Sequences): NativeBackend =>
    new NativeBackend(native, samplers, control, { ...sequences, stepTokens, prefillSpeed, rewinds });
  const openLonger = async (wanted: Sequences): Promise<LongBackend> => {
    const sequences = fewerThatFit(wanted, await freeRoom(llama), bytesOf);
    const opened = await create(sequences);
    // Its steps take longer: it learns of its own which threads are fastest.
    const control = new ThreadControl({ start: threads.settled, most: mostThreads });
    return {
      backend: backend(nativeContext(opened), control, sequences),
      limitThreads: (most) => control.limit(most),
      close: () => opened.dispose(),
    };
  };
  const gpu = llama.gpu === false ? null : llama.gpu;
  const { sequences, contextSize: sequenceTokens } = usual;
  const size = { ...request, sequences, sequenceTokens, threads: measured.threads, mostThreads, cores, gpu };
  return {
    model,
    backend: backend(context, threads, usual),
    longer,
    openLonger,
    size: { ...size, why: [...why, measured.why] },
    threads,
  };
}

function contextMaker(loaded: LlamaModel, options: NativeOptions, isExact: boolean) {
  return ({ contextSize, sequences }: Sequences): Promise<LlamaContext> =>
    loaded.createContext({
      contextSize,
      sequences,
      batchSize: stepTokens,
      threads: loaded.llama.maxThreads,
      // Whole caches can be cut anywhere, which reusing prefixes needs.
      swaFullCache: true,
      ...(options.adapterPath !== undefined && { lora: { adapters: [{ filePath: options.adapterPath }] } }),
      ...(isExact && exactAttention),
    });
}

/** `isExact`: the weights are in F32. */
async function fittingSize(llama: Llama, options: NativeOptions) {
  const file = await readGgufFileInfo(options.modelPath);
  const insights = await GgufInsights.from(file, llama);
  const isExact = file.metadata.general?.file_type === GgufFileType.ALL_F32;
  const bytesOf = (sequences: Sequences): number =>
    contextBytes(insights, sequences, { exact: isExact, gpu: llama.gpu !== false });
  const needs = { weights: insights.modelSize, trainContext: insights.trainContextSize ?? 4096, bytesOf };
  const room = await freeRoom(llama);
  const { why, ...usual } = chooseSize(needs, room, options);
  const longer = longerSequences(needs, room, usual, options);
  const { contextSize } = longer.at(-1) ?? usual;
  const request = { contextSize, longerContext: adviceForMore(contextSize, needs.trainContext, options) };
  return {
    usual,
    longer,
    bytesOf,
    isExact,
    request,
    why: [why, ...longer.slice(-1).map((longest) => whyLonger(longest, bytesOf))],
  };
}
