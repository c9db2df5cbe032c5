/**
 * @module The thread that computes sentence embeddings by ONNX: pooled, L2-normalised, as SBERT's are. Tokenising
 * and the network block it, not the gateway.
 */
import path from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { Tokenizer } from "@huggingface/tokenizers";
import { env, InferenceSession, Tensor } from "onnxruntime-node";
import { z } from "zod";
import { inOrder } from "../async/in-order.ts";
import { readText } from "../system/text-files.ts";
import { messageOf } from "../types/error.ts";

export interface ThreadOptions {
  /** Holds the weights, `config.json` and the tokenizer's files. */
  readonly folder: string;
  /** The ONNX file, relative to the folder. */
  readonly weights: string;
  /** The mean of all tokens' states, or the first one's. */
  readonly pooling: "mean" | "cls";
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
const configSchema = z.object({ max_position_embeddings: z.number().positive().nullish() });
const tokenizerConfigSchema = z.looseObject({ model_max_length: z.number().positive().nullish() });

const { folder, weights, pooling } = workerData as ThreadOptions;
const { max_position_embeddings: positions } = configSchema.parse(await readJson("config.json"));
const tokenizerConfig = tokenizerConfigSchema.parse(await readJson("tokenizer_config.json"));
const tokenizer = new Tokenizer(z.looseObject({}).parse(await readJson("tokenizer.json")), tokenizerConfig);
env.logLevel = "error";
const session = await InferenceSession.create(path.join(folder, weights), {
  executionProviders: ["cpu"],
  logSeverityLevel: 3,
});
const window = Math.min(tokenizerConfig.model_max_length ?? Number.POSITIVE_INFINITY, positions ?? usualWindow);
const known = ["input_ids", "attention_mask", "token_type_ids"];
const unknown = session.inputNames.filter((name) => !known.includes(name)).join(", ");
if (unknown !== "") throw new Error(`The embedding model in ${folder} takes ${unknown}, which a text has not.`);
const inTurn = inOrder();

async function readJson(name: string): Promise<unknown> {
  return JSON.parse(await readText(path.join(folder, name)));
}

function tell(message: FromThread, transfer: readonly ArrayBuffer[] = []): void {
  parentPort?.postMessage(message, transfer);
}

/** What the model makes of each token: `[tokens][size]`. */
async function statesOf(ids: readonly number[]): Promise<Float32Array> {
  const row = (values: BigInt64Array) => new Tensor("int64", values, [1, ids.length]);
  const inputs = {
    input_ids: row(BigInt64Array.from(ids, BigInt)),
    attention_mask: row(new BigInt64Array(ids.length).fill(1n)),
    token_type_ids: row(new BigInt64Array(ids.length)),
  };
  const taken = Object.entries(inputs).filter(([name]) => session.inputNames.includes(name));
  const { last_hidden_state, logits, token_embeddings } = await session.run(Object.fromEntries(taken));
  const states = (last_hidden_state ?? logits ?? token_embeddings)?.data;
  if (!(states instanceof Float32Array))
    throw new Error(`it gives ${session.outputNames.join(", ")}, no states in float32`);
  return states;
}

/** One vector of the tokens' states, of length one. */
function pool(all: Float32Array, read: number): Float32Array<ArrayBuffer> {
  const embedding = new Float32Array(all.length / read);
  const [states, tokens] = pooling === "cls" ? [all.subarray(0, embedding.length), 1] : [all, read];
  let squares = 0;
  for (let i = 0; i < embedding.length; i++) {
    let sum = 0;
    for (let at = i; at < states.length; at += embedding.length) sum += states[at] as number;
    embedding[i] = sum / tokens;
    // Rounded as they are where the embeddings came from that are kept on disks: so they stay the same to the bit.
    squares = Math.fround(squares + (embedding[i] as number) ** 2);
  }
  const length = Math.fround(Math.sqrt(squares));
  return embedding.map((value) => value / length);
}

// One at a time: int8 activations are scaled over a whole batch, so a text's embedding would depend on its neighbours.
async function answer({ id, text }: ToThread): Promise<void> {
  try {
    const ids = tokenizer.encode(text).ids.slice(0, window);
    const embedding = pool(await statesOf(ids), ids.length);
    tell({ type: "embedding", id, embedding, tokens: ids.length }, [embedding.buffer]);
  } catch (error) {
    tell({ type: "failed", id, reason: messageOf(error) });
  }
}

parentPort?.on("message", (message: ToThread) => {
  void inTurn(() => answer(message));
});
tell({ type: "ready", window });
