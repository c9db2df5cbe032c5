/** @module What a context takes of the memory, and how much of it there is. */
import { GgmlType, type GgufInsights, type Llama } from "node-llama-cpp";
import type { Room, Sequences } from "./sizing.ts";

/** Tokens in a step, at most. On a CPU the scheduler takes fewer, so that steps stay short. */
export const stepTokens = 512;

/**
 * Who loads F32 weights wants exact sums. llama.cpp's flash attention on a CPU and its F16 cache move a sum by up to
 * 0.12 nat (measured over contexts of 300 to 700 tokens); without both it is 0.01. Quantised weights move it by more,
 * and flash attention is a seventh faster.
 */
export const exactAttention = {
  flashAttention: false,
  experimentalKvCacheKeyType: GgmlType.F32,
  experimentalKvCacheValueType: GgmlType.F32,
} as const;

/** What may be used: of the GPU if there is one, else of the machine, or of the container it runs in. */
export async function freeRoom(llama: Llama): Promise<Room> {
  if (llama.gpu === false) return { bytes: process.availableMemory(), where: "memory" };
  const { free } = await llama.getVramState();
  return { bytes: free, where: "GPU memory" };
}

export function contextBytes(
  insights: GgufInsights,
  { contextSize, sequences }: Sequences,
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

/** Of one sequence of a model with a ranking head; `batchSize`: tokens in a step. */
export function rankingBytes(
  insights: GgufInsights,
  contextSize: number,
  { batchSize, gpu }: { readonly batchSize: number; readonly gpu: boolean },
): number {
  const { cpuRam, gpuVram } = insights.estimateContextResourceRequirements({
    contextSize,
    sequences: 1,
    batchSize,
    isEmbeddingContext: true,
    modelGpuLayers: gpu ? insights.totalLayers : 0,
  });
  return gpu ? gpuVram : cpuRam;
}
