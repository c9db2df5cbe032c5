/** @module The thread that computes sentence embeddings by ONNX: mean-pooled, L2-normalised, as SBERT's are. Tokenising and the network block it, not the gateway. */
import path from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { env, type FeatureExtractionPipeline, pipeline } from "@huggingface/transformers";

export interface ThreadOptions {
  /** Holds `onnx/model_quantized.onnx`, `config.json` and the tokenizer's files. */
  readonly folder: string;
}

export interface ToThread {
  readonly id: number;
  readonly text: string;
}

export type FromThread =
  /** Loaded; the model reads so many tokens of a text. */
  | { readonly type: "ready"; readonly window: number }
  | { readonly type: "embedding"; readonly id: number; readonly embedding: Float32Array; readonly tokens: number }
  | { readonly type: "failed"; readonly id: number; readonly reason: string };

/** Of models that do not say how many tokens they read. */
const usualWindow = 512;

const { folder } = workerData as ThreadOptions;
env.allowRemoteModels = false;
env.localModelPath = path.dirname(folder);
const extract: FeatureExtractionPipeline = await pipeline("feature-extraction", path.basename(folder), { dtype: "q8" });
const { max_position_embeddings: positions } = extract.model.config as { readonly max_position_embeddings?: number };
const window = Math.min(extract.tokenizer.model_max_length ?? Number.POSITIVE_INFINITY, positions ?? usualWindow);
let turn: Promise<void> = Promise.resolve();

function tell(message: FromThread, transfer: readonly ArrayBuffer[] = []): void {
  parentPort?.postMessage(message, transfer);
}

// One at a time: int8 activations are scaled over a whole batch, so a text's embedding would depend on its neighbours.
async function answer({ id, text }: ToThread): Promise<void> {
  try {
    const tensor = await extract([text], { pooling: "mean", normalize: true });
    const embedding = Float32Array.from(tensor.data as Float32Array);
    const tokens = Math.min(extract.tokenizer.encode(text).length, window);
    tell({ type: "embedding", id, embedding, tokens }, [embedding.buffer]);
  } catch (error) {
    tell({ type: "failed", id, reason: error instanceof Error ? error.message : String(error) });
  }
}

parentPort?.on("message", (message: ToThread) => {
  turn = turn.then(() => answer(message));
});
tell({ type: "ready", window });
