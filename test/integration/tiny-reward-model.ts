/**
 * @module A reward model so small that a test can write it: a real GGUF file, one BERT layer with random weights and a
 * ranking head.
 */
import { writeFileSync } from "node:fs";
import { randomFrom } from "../../src/icdpo/seed.ts";
import { flag, float, gguf, integers, number, tensorOf, text, texts } from "./gguf.ts";

const width = 32;
const hidden = 64;
const context = 512;
const special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
/** Letters at the beginning of a word, and within one. */
const vocabulary = [
  ...special,
  ..."abcdefghijklmnopqrstuvwxyz.,:?!'".split("").flatMap((letter) => [`\u2581${letter}`, letter]),
];

/**
 * `head`: the output layer's weights are random, or zero, so that every reward is the bias; or there is no head. With a chat template it reads
 * what that writes, without one a query and a document.
 */
export function writeTinyRewardModel(
  file: string,
  head: { readonly bias: number; readonly weights: "random" | "zero" | "none"; readonly chatTemplate?: string },
): void {
  const random = randomFrom(1);
  const weights = (name: string, dimensions: readonly number[]) => tensorOf(name, dimensions, () => random() - 0.5);
  const norm = (name: string) => [
    tensorOf(`${name}.weight`, [width], () => 1),
    tensorOf(`${name}.bias`, [width], () => 0),
  ];
  const linear = (name: string, from: number, to: number) => [
    weights(`${name}.weight`, [from, to]),
    tensorOf(`${name}.bias`, [to], () => 0),
  ];
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
    ...(head.weights === "none"
      ? []
      : [
          ...linear("cls", width, width),
          tensorOf("cls.output.weight", [width, 1], () => (head.weights === "zero" ? 0 : random() - 0.5)),
          tensorOf("cls.output.bias", [1], () => head.bias),
        ]),
  ];
  writeFileSync(file, gguf(metadata(head.chatTemplate), tensors));
}

function metadata(chatTemplate: string | undefined): Buffer[] {
  return [
    text("general.architecture", "bert"),
    text("general.name", "tiny reward model"),
    ...(chatTemplate === undefined ? [] : [text("tokenizer.chat_template", chatTemplate)]),
    ...Object.entries({
      context_length: context,
      embedding_length: width,
      feed_forward_length: hidden,
      block_count: 1,
      "attention.head_count": 4,
      pooling_type: 4, // rank
    }).map(([name, value]) => number(`bert.${name}`, value)),
    float("bert.attention.layer_norm_epsilon", 1e-12),
    flag("bert.attention.causal", false),
    text("tokenizer.ggml.model", "bert"),
    texts("tokenizer.ggml.tokens", vocabulary),
    integers(
      "tokenizer.ggml.token_type",
      vocabulary.map((_, i) => (i < special.length ? 3 : 1)),
    ),
    number("tokenizer.ggml.token_type_count", 2),
    ...Object.entries({ padding: 0, unknown: 1, bos: 2, cls: 2, eos: 3, seperator: 3, mask: 4 }).map(([name, id]) =>
      number(`tokenizer.ggml.${name}_token_id`, id),
    ),
  ];
}
