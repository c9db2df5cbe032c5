/**
 * @module Language models so small that a test can write them, whose memory cannot be cut: Mamba, which is recurrent,
 * and Jamba, a hybrid with attention. Their weights are random.
 */
import { writeFileSync } from "node:fs";
import { randomFrom } from "../../src/icdpo/seed.ts";
import { float, floats, gguf, integers, number, type Tensor, tensorOf, text, texts } from "./gguf.ts";

const [width, inner, state, rank, kernel, hidden, heads] = [32, 64, 16, 4, 4, 64, 4];
const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
const letters = ["\u2581", ..."abcdefghijklmnopqrstuvwxyz.,:?!'".split("")];
const infill = ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"];
const vocabulary = ["<unk>", "<s>", "</s>", ...bytes, ...letters, ...infill];
/** llama.cpp's: 1 normal, 2 unknown, 3 control, 6 a byte. */
const kinds = [2, 3, 3, ...bytes.map(() => 6), ...letters.map(() => 1), ...infill.map(() => 3)];

export type RecurrentArchitecture = "mamba" | "jamba";

/** Layers of each: those with attention are true. */
const layers: Readonly<Record<RecurrentArchitecture, readonly boolean[]>> = {
  mamba: [false, false],
  jamba: [false, true],
};

/** `context`: tokens that it says it was trained with. */
export function writeTinyRecurrentModel(file: string, architecture: RecurrentArchitecture, context = 1024): void {
  const random = randomFrom(1);
  const weights = (name: string, dimensions: readonly number[], scale = 1) =>
    tensorOf(`${name}.weight`, dimensions, () => (random() - 0.5) * scale);
  const norm = (name: string, size: number) => tensorOf(`${name}.weight`, [size], () => 1);
  const mixer = (layer: string): Tensor[] => [
    weights(`${layer}.ssm_in`, [width, 2 * inner]),
    weights(`${layer}.ssm_conv1d`, [kernel, inner]),
    tensorOf(`${layer}.ssm_conv1d.bias`, [inner], () => 0),
    weights(`${layer}.ssm_x`, [inner, rank + 2 * state]),
    weights(`${layer}.ssm_dt`, [rank, inner]),
    tensorOf(`${layer}.ssm_dt.bias`, [inner], () => 0.5),
    // How fast what was read is forgotten.
    tensorOf(`${layer}.ssm_a`, [state, inner], () => -0.01 - random()),
    tensorOf(`${layer}.ssm_d`, [inner], () => 1),
    weights(`${layer}.ssm_out`, [inner, width]),
  ];
  const attention = (layer: string): Tensor[] =>
    ["attn_q", "attn_k", "attn_v", "attn_output"].map((name) => weights(`${layer}.${name}`, [width, width]));
  const hybrid = (layer: string, attends: boolean): Tensor[] => [
    ...(attends
      ? []
      : [norm(`${layer}.ssm_dt_norm`, rank), norm(`${layer}.ssm_b_norm`, state), norm(`${layer}.ssm_c_norm`, state)]),
    norm(`${layer}.ffn_norm`, width),
    weights(`${layer}.ffn_gate`, [width, hidden]),
    weights(`${layer}.ffn_up`, [width, hidden]),
    weights(`${layer}.ffn_down`, [hidden, width]),
  ];
  const tensors = [
    weights("token_embd", [width, vocabulary.length], 4),
    norm("output_norm", width),
    weights("output", [width, vocabulary.length], 4),
    ...layers[architecture].flatMap((attends, index) => {
      const layer = `blk.${index}`;
      const mixes = attends ? attention(layer) : mixer(layer);
      return [norm(`${layer}.attn_norm`, width), ...mixes, ...(architecture === "jamba" ? hybrid(layer, attends) : [])];
    }),
  ];
  writeFileSync(file, gguf(metadata(architecture, context), tensors));
}

function metadata(architecture: RecurrentArchitecture, context: number): Buffer[] {
  const sizes = {
    context_length: context,
    embedding_length: width,
    feed_forward_length: architecture === "jamba" ? hidden : 0,
    block_count: layers[architecture].length,
    "attention.head_count": architecture === "jamba" ? heads : 0,
    vocab_size: vocabulary.length,
    "ssm.conv_kernel": kernel,
    "ssm.inner_size": inner,
    "ssm.state_size": state,
    "ssm.time_step_rank": rank,
  };
  const keyHeads = layers[architecture].map((attends) => (attends ? heads : 0));
  return [
    text("general.architecture", architecture),
    text("general.name", `tiny ${architecture}`),
    number("general.file_type", 0),
    ...Object.entries(sizes).map(([name, value]) => number(`${architecture}.${name}`, value)),
    ...(architecture === "jamba" ? [integers("jamba.attention.head_count_kv", keyHeads)] : []),
    float(`${architecture}.attention.layer_norm_rms_epsilon`, 1e-5),
    text("tokenizer.ggml.model", "llama"),
    texts("tokenizer.ggml.tokens", vocabulary),
    floats(
      "tokenizer.ggml.scores",
      vocabulary.map(() => 0),
    ),
    integers("tokenizer.ggml.token_type", kinds),
    ...Object.entries({ unknown: 0, bos: 1, eos: 2 }).map(([name, id]) =>
      number(`tokenizer.ggml.${name}_token_id`, id),
    ),
  ];
}
