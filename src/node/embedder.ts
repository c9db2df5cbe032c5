/** @module Sentence embeddings by ONNX: mean-pooled, L2-normalised, as SBERT's are. */
import path from "node:path";
import type { FeatureExtractionPipeline } from "@huggingface/transformers";
import { LRUCache } from "lru-cache";
import type { EmbeddingModel } from "../retrieval/retriever.ts";
import { cancelled } from "../types/error.ts";

/** Texts whose embeddings are kept: what several policies share, and prompts that come again. 1.5 kB each. */
const keptTexts = 2_000;

/** Loads the model from a folder that holds `onnx/model_quantized.onnx`, `config.json` and the tokenizer's files. */
export async function loadEmbedder(folder: string, model: string): Promise<EmbeddingModel> {
  // Imported when first needed: a gateway without embeddings does not pay for the runtime.
  const { env, pipeline } = await import("@huggingface/transformers");
  env.allowRemoteModels = false;
  env.localModelPath = path.dirname(folder);
  const extract: FeatureExtractionPipeline = await pipeline("feature-extraction", path.basename(folder), { dtype: "q8" });
  const kept = new LRUCache<string, Float32Array>({ max: keptTexts });
  // One at a time: int8 activations are scaled over a whole batch, so a text's embedding would depend on its neighbours.
  const embedOne = async (text: string): Promise<Float32Array> => {
    const tensor = await extract([text], { pooling: "mean", normalize: true });
    const embedding = Float32Array.from(tensor.data as Float32Array);
    kept.set(text, embedding);
    return embedding;
  };
  const embed = async (texts: readonly string[], signal?: AbortSignal): Promise<Float32Array[]> => {
    const embeddings: Float32Array[] = [];
    for (const text of texts) {
      if (signal?.aborted) throw cancelled(signal);
      embeddings.push(kept.get(text) ?? (await embedOne(text)));
    }
    return embeddings;
  };
  return {
    model,
    name: path.basename(folder),
    countTokens: (text) => Math.min(extract.tokenizer.encode(text).length, extract.tokenizer.model_max_length ?? Number.POSITIVE_INFINITY),
    embed,
    embedKept: embed,
  };
}
