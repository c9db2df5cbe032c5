/** @module The one place that opens node-llama-cpp: loads a model with a context whose size fits the machine. */
import { availableParallelism } from "node:os";
import { GgufFileType, GgufInsights, getLlama, type Llama, LlamaLogLevel, readGgufFileInfo } from "node-llama-cpp";
import type { Backend } from "./backend.ts";
import { contextBytes, exactAttention, freeRoom, stepTokens } from "./context-memory.ts";
import { halves, measureThreads } from "./measured-threads.ts";
import { NativeBackend } from "./native-backend.ts";
import { openInternals } from "./native-context.ts";
import { describeModel, type NativeModel } from "./native-model.ts";
import { NativeSamplers } from "./native-samplers.ts";
import { chooseSize } from "./sizing.ts";
import { ThreadControl } from "./threads.ts";

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

export interface Native {
  readonly model: NativeModel;
  readonly backend: Backend;
  readonly size: EngineSize;
  readonly threads: ThreadControl;
}

/**
 * Loads the model and its context. Throws "model_unavailable" where they do not fit, and what llama.cpp says when it
 * cannot load them.
 */
export async function loadNative(options: NativeOptions): Promise<Native> {
  const llama = await getLlama({ gpu: options.gpu, logLevel: LlamaLogLevel.error, build: "never" });
  const { contextSize, sequences, why, isExact } = await fittingSize(llama, options);
  const cores = Math.min(llama.cpuMathCores, availableParallelism());
  const mostThreads = options.threads || cores;
  llama.maxThreads = mostThreads; // the library would take at least four
  const loaded = await llama.loadModel({ modelPath: options.modelPath });
  const context = await loaded.createContext({
    contextSize,
    sequences,
    batchSize: stepTokens,
    threads: llama.maxThreads,
    // Whole caches can be cut anywhere, which reusing prefixes needs.
    swaFullCache: true,
    ...(options.adapterPath !== undefined && { lora: { adapters: [{ filePath: options.adapterPath }] } }),
    ...(isExact && exactAttention),
  });
  const model = describeModel(loaded);
  const library = openInternals(context, llama, loaded);
  const measured = await measureThreads(library.context, llama.gpu === false ? halves(mostThreads) : [mostThreads]);
  const threads = new ThreadControl({ start: measured.threads, most: mostThreads });
  const gpu = llama.gpu === false ? null : llama.gpu;
  const { prefillSpeed, rewinds } = measured;
  const samplers = new NativeSamplers(library, model, contextSize);
  const backend = new NativeBackend(library.context, samplers, threads, {
    sequences,
    contextSize,
    stepTokens,
    prefillSpeed,
    rewinds,
  });
  const size = { contextSize, sequences, threads: measured.threads, mostThreads, cores, gpu, why: [why, measured.why] };
  return { model, backend, size, threads };
}

/** `isExact`: the weights are in F32. */
async function fittingSize(llama: Llama, options: NativeOptions) {
  const file = await readGgufFileInfo(options.modelPath);
  const insights = await GgufInsights.from(file, llama);
  const isExact = file.metadata.general?.file_type === GgufFileType.ALL_F32;
  const needs = {
    weights: insights.modelSize,
    trainContext: insights.trainContextSize ?? 4096,
    contextBytes: (size: number, count: number) =>
      contextBytes(insights, size, count, { exact: isExact, gpu: llama.gpu !== false }),
  };
  return { ...chooseSize(needs, await freeRoom(llama), options), isExact };
}
