/** @module Opens a model with a ranking head: one sequence, whose size fits the machine. */
import { availableParallelism } from "node:os";
import { GgufInsights, getLlama, type Llama, LlamaLogLevel, readGgufFileInfo } from "node-llama-cpp";
import { GatewayError } from "../../types/error.ts";
import { freeRoom, rankingBytes, stepTokens } from "./context-memory.ts";
import type { EngineSize, NativeOptions } from "./native.ts";
import { nativeRankingContext } from "./native-context.ts";
import { describeModel } from "./native-model.ts";
import type { RankingContext } from "./ranking-steps.ts";
import type { RankingFile } from "./ranking-text.ts";
import { adviceForMore, chooseContext } from "./sizing.ts";

export interface NativeRanking extends RankingFile, RankingContext {
  readonly size: EngineSize;
  setThreads(threads: number): void;
}

/** Where llama.cpp puts a softmax over the head's outputs. */
const normalizing: ReadonlySet<string> = new Set(["qwen3", "qwen3vl"]);

/**
 * Loads the model. Throws "model_unavailable" where it does not fit, "configuration" where it has no ranking head, and
 * what llama.cpp says when it cannot load it.
 */
export async function openRanking(options: NativeOptions): Promise<NativeRanking> {
  const llama = await getLlama({ gpu: options.gpu, logLevel: LlamaLogLevel.error, build: "never" });
  const { metadata } = await readGgufFileInfo(options.modelPath);
  const sized = await fittingContext(llama, options);
  const { contextSize, batchSize } = sized;
  const cores = Math.min(llama.cpuMathCores, availableParallelism());
  const threads = options.threads || cores;
  llama.maxThreads = threads; // the library would take at least four
  const loaded = await llama.loadModel({ modelPath: options.modelPath });
  if (!loaded.fileInsights.supportsRanking)
    throw new GatewayError(
      "configuration",
      "it has no ranking head that llama.cpp knows: a GGUF with the tensors cls.output or cls, and an end token",
    );
  const context = nativeRankingContext(await loaded.createRankingContext({ contextSize, batchSize, threads }));
  const gpu = llama.gpu === false ? null : llama.gpu;
  return {
    model: describeModel(loaded),
    separator: loaded.tokens.sep ?? undefined,
    rerankTemplate: metadata.tokenizer["chat_template.rerank"],
    size: {
      contextSize,
      longerContext: sized.longerContext,
      sequences: 1,
      sequenceTokens: contextSize,
      threads,
      mostThreads: threads,
      cores,
      gpu,
      why: [sized.why],
    },
    stepTokens: batchSize,
    isNormalized: normalizing.has(metadata.general.architecture),
    async feed(tokens, position) {
      context.initBatch(tokens.length);
      context.addToBatch(0, position, Uint32Array.from(tokens), Uint32Array.of(tokens.length - 1));
      await context.decodeBatch();
    },
    outputs: (tokens) => context.getEmbedding(tokens),
    clear: () => context.disposeSequence(0),
    setThreads: (most) => context.setThreads(Math.min(most, threads)),
  };
}

/** A model whose tokens see all others reads a text in one step; the others read in steps that stay short. */
async function fittingContext(llama: Llama, options: NativeOptions) {
  const file = await readGgufFileInfo(options.modelPath);
  const insights = await GgufInsights.from(file, llama);
  const isCausal = file.architectureMetadata.attention?.causal ?? true;
  const batchOf = (contextSize: number): number => (isCausal ? Math.min(stepTokens, contextSize) : contextSize);
  const needs = {
    weights: insights.modelSize,
    trainContext: insights.trainContextSize ?? 4096,
    bytesOf: ({ contextSize }: { readonly contextSize: number }): number =>
      rankingBytes(insights, contextSize, { batchSize: batchOf(contextSize), gpu: llama.gpu !== false }),
  };
  const { contextSize, why } = chooseContext(needs, await freeRoom(llama), options.contextSize);
  const longerContext = adviceForMore(contextSize, needs.trainContext, options);
  return { contextSize, batchSize: batchOf(contextSize), why, longerContext };
}
