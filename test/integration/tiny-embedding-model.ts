/** @module An embedding model so small that a test can write it: ONNX that looks up a token's two numbers. */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";

/** What the model makes of each token: "a" and "b" point two ways, marks nowhere. */
const usualStates: Readonly<Record<string, readonly [number, number]>> = {
  "[UNK]": [0, 0],
  "[CLS]": [0, 0],
  "[SEP]": [0, 0],
  a: [3, 0],
  b: [0, 4],
};
const size = 2;

const usualInputs = ["input_ids", "attention_mask", "token_type_ids"];

interface TinyModel {
  /** In place of the usual ones. */
  readonly states?: typeof usualStates;
  readonly inputs?: readonly string[];
  readonly output?: string;
  readonly tokenizerConfig?: object;
  /** Relative to the folder. */
  readonly weights?: string;
  /** 1_Pooling/config.json; absent: there is none. */
  readonly pooling?: object;
}

export function writeTinyEmbeddingModel(folder: string, model: TinyModel = {}): void {
  const { inputs = usualInputs, output = "last_hidden_state", tokenizerConfig = {}, pooling } = model;
  const { weights = "onnx/model_quantized.onnx" } = model;
  const states = { ...usualStates, ...model.states };
  mkdirSync(path.dirname(path.join(folder, weights)), { recursive: true });
  writeFileSync(path.join(folder, weights), onnx(states, inputs, output));
  const json = (name: string, value: object) => writeFileSync(path.join(folder, name), JSON.stringify(value));
  if (pooling !== undefined) {
    mkdirSync(path.join(folder, "1_Pooling"), { recursive: true });
    json("1_Pooling/config.json", pooling);
  }
  json("config.json", { max_position_embeddings: 6 });
  json("tokenizer_config.json", tokenizerConfig);
  json("tokenizer.json", {
    added_tokens: [],
    normalizer: { type: "Lowercase" },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: { type: "BertProcessing", cls: ["[CLS]", 1], sep: ["[SEP]", 2] },
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
    model: {
      type: "WordPiece",
      unk_token: "[UNK]",
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(Object.keys(states).map((token, id) => [token, id])),
    },
  });
}

const float = 1;
const int64 = 7;

/** ONNX's `ModelProto`: its fields by their numbers in onnx.proto. */
function onnx(states: typeof usualStates, inputs: readonly string[], output: string): Buffer {
  const rows = Object.values(states);
  const table = Buffer.from(Float32Array.from(rows.flat()).buffer);
  const initializer = [number(1, rows.length), number(1, size), number(2, float), bytes(8, "table"), bytes(9, table)];
  const node = [bytes(1, "table"), bytes(1, "input_ids"), bytes(2, output), bytes(4, "Gather")];
  const graph = [
    bytes(1, ...node),
    bytes(2, "tiny"),
    bytes(5, ...initializer),
    ...inputs.map((name) => bytes(11, value(name, int64, [number(1, 1), bytes(2, "tokens")]))),
    bytes(12, value(output, float, [number(1, 1), bytes(2, "tokens"), number(1, size)])),
  ];
  return Buffer.concat([number(1, 8), bytes(7, ...graph), bytes(8, bytes(1, ""), number(2, 13))]);
}

function value(name: string, type: number, dimensions: readonly Buffer[]): Buffer {
  const shape = dimensions.map((dimension) => bytes(1, dimension));
  return Buffer.concat([bytes(1, name), bytes(2, bytes(1, number(1, type), bytes(2, ...shape)))]);
}

/** A field of Protocol Buffers that holds a number, below 128 as all here are. */
function number(field: number, content: number): Buffer {
  return Buffer.of(field << 3, content);
}

/** One that holds text, bytes or a message. */
function bytes(field: number, ...parts: readonly (string | Buffer)[]): Buffer {
  const content = Buffer.concat(parts.map((part) => Buffer.from(part)));
  return Buffer.concat([Buffer.of((field << 3) | 2, (content.length & 127) | 128, content.length >> 7), content]);
}
