/** @module A reward model so small that a test can write it: a real GGUF file, one BERT layer with random weights and a ranking head. */
import { writeFileSync } from "node:fs";
import { randomFrom } from "../../src/icdpo/seed.ts";

const width = 32;
const hidden = 64;
const context = 512;
const special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
/** Letters at the beginning of a word, and within one. */
const vocabulary = [...special, ..."abcdefghijklmnopqrstuvwxyz.,:?!'".split("").flatMap((letter) => [`\u2581${letter}`, letter])];

interface Tensor {
  readonly name: string;
  readonly dimensions: readonly number[];
  readonly values: Float32Array;
}

/** `head`: the output layer's weights are random, or zero, so that every reward is the bias. */
export function writeTinyRewardModel(file: string, head: { readonly bias: number; readonly weights: "random" | "zero" }): void {
  const random = randomFrom(1);
  const tensor = (name: string, dimensions: readonly number[], value: () => number): Tensor => ({
    name,
    dimensions,
    values: Float32Array.from({ length: dimensions.reduce((product, size) => product * size, 1) }, value),
  });
  const weights = (name: string, dimensions: readonly number[]) => tensor(name, dimensions, () => random() - 0.5);
  const norm = (name: string) => [tensor(`${name}.weight`, [width], () => 1), tensor(`${name}.bias`, [width], () => 0)];
  const linear = (name: string, from: number, to: number) => [weights(`${name}.weight`, [from, to]), tensor(`${name}.bias`, [to], () => 0)];
  const tensors = [
    weights("token_embd.weight", [width, vocabulary.length]),
    weights("position_embd.weight", [width, context]),
    weights("token_types.weight", [width, 2]),
    ...norm("token_embd_norm"),
    ...["attn_q", "attn_k", "attn_v", "attn_output"].flatMap((name) => linear(`blk.0.${name}`, width, width)),
    ...norm("blk.0.attn_output_norm"),
    ...linear("blk.0.ffn_up", width, hidden),
    ...linear("blk.0.ffn_down", hidden, width),
    ...norm("blk.0.layer_output_norm"),
    ...linear("cls", width, width),
    tensor("cls.output.weight", [width, 1], () => (head.weights === "zero" ? 0 : random() - 0.5)),
    tensor("cls.output.bias", [1], () => head.bias),
  ];
  writeFileSync(file, gguf(tensors));
}

const alignment = 32;

function gguf(tensors: readonly Tensor[]): Buffer {
  const metadata = [
    text("general.architecture", "bert"),
    text("general.name", "tiny reward model"),
    ...Object.entries({
      context_length: context,
      embedding_length: width,
      feed_forward_length: hidden,
      block_count: 1,
      "attention.head_count": 4,
      pooling_type: 4, // rank
    }).map(([name, value]) => number(`bert.${name}`, value)),
    entry("bert.attention.layer_norm_epsilon", 6, f32(1e-12)),
    entry("bert.attention.causal", 7, Buffer.from([0])),
    text("tokenizer.ggml.model", "bert"),
    entry("tokenizer.ggml.tokens", 9, Buffer.concat([u32(8), u64(vocabulary.length), ...vocabulary.map(string)])),
    entry(
      "tokenizer.ggml.token_type",
      9,
      Buffer.concat([u32(5), u64(vocabulary.length), ...vocabulary.map((_, i) => u32(i < special.length ? 3 : 1))]),
    ),
    number("tokenizer.ggml.token_type_count", 2),
    ...Object.entries({ padding: 0, unknown: 1, bos: 2, cls: 2, eos: 3, seperator: 3, mask: 4 }).map(([name, id]) =>
      number(`tokenizer.ggml.${name}_token_id`, id),
    ),
  ];
  let offset = 0;
  const placed = tensors.map((tensor) => {
    const at = offset;
    offset += padded(tensor.values.byteLength);
    return { ...tensor, at };
  });
  const infos = placed.map(({ name, dimensions, at }) =>
    Buffer.concat([string(name), u32(dimensions.length), ...dimensions.map(u64), u32(0), u64(at)]),
  );
  const head = Buffer.concat([Buffer.from("GGUF"), u32(3), u64(tensors.length), u64(metadata.length), ...metadata, ...infos]);
  const whole = Buffer.alloc(padded(head.length) + offset);
  head.copy(whole);
  for (const { values, at } of placed) Buffer.from(values.buffer).copy(whole, padded(head.length) + at);
  return whole;
}

function padded(size: number): number {
  return Math.ceil(size / alignment) * alignment;
}

function entry(key: string, type: number, value: Buffer): Buffer {
  return Buffer.concat([string(key), u32(type), value]);
}

function text(key: string, value: string): Buffer {
  return entry(key, 8, string(value));
}

function number(key: string, value: number): Buffer {
  return entry(key, 4, u32(value));
}

function string(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function f32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}
