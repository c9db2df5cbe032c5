/** The recipe of a reward model (`lab/ranking-head`), on an encoder and pairs that are written here. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { randomFrom } from "../../src/icdpo/seed.ts";
import { LlamaReward } from "../../src/reward/llama-reward.ts";
import type { Conversation } from "../../src/types/conversation.ts";
import { needing } from "../needs.ts";
import { childModule } from "./gateway.ts";

const recipe = fileURLToPath(new URL("../../lab/ranking-head/train.py", import.meta.url));
const width = 32;
const hidden = 64;
const letters = "abcdefghijklmnopqrstuvwxyz".split("");
const words = [
  "[PAD]",
  "[UNK]",
  "[CLS]",
  "[SEP]",
  "[MASK]",
  ":",
  ...letters,
  ...letters.map((letter) => `##${letter}`),
];

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "icdpo-head-"));
  mkdirSync(path.join(folder, "encoder"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** One BERT layer with random weights, as sentence-transformers keeps them. */
function writeEncoder(): void {
  const random = randomFrom(1);
  const linear = (name: string, out: number, from: number) => ({
    [`${name}.weight`]: [out, from],
    [`${name}.bias`]: [out],
  });
  const norm = (name: string) => ({ [`${name}.weight`]: [width], [`${name}.bias`]: [width] });
  const layer = "encoder.layer.0";
  const shapes: Readonly<Record<string, readonly number[]>> = {
    "embeddings.word_embeddings.weight": [words.length, width],
    "embeddings.position_embeddings.weight": [64, width],
    "embeddings.token_type_embeddings.weight": [2, width],
    ...norm("embeddings.LayerNorm"),
    ...linear(`${layer}.attention.self.query`, width, width),
    ...linear(`${layer}.attention.self.key`, width, width),
    ...linear(`${layer}.attention.self.value`, width, width),
    ...linear(`${layer}.attention.output.dense`, width, width),
    ...norm(`${layer}.attention.output.LayerNorm`),
    ...linear(`${layer}.intermediate.dense`, hidden, width),
    ...linear(`${layer}.output.dense`, width, hidden),
    ...norm(`${layer}.output.LayerNorm`),
  };
  let offset = 0;
  const header: Record<string, object> = {};
  const parts = Object.entries(shapes).map(([name, shape]) => {
    const isNorm = name.endsWith("LayerNorm.weight");
    const size = shape.reduce((product, one) => product * one, 1);
    const values = Float32Array.from({ length: size }, () => (isNorm ? 1 : random() - 0.5));
    header[name] = { dtype: "F32", shape, data_offsets: [offset, offset + values.byteLength] };
    offset += values.byteLength;
    return Buffer.from(values.buffer);
  });
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const place = (name: string) => path.join(folder, "encoder", name);
  writeFileSync(place("model.safetensors"), Buffer.concat([length, text, ...parts]));
  writeFileSync(place("vocab.txt"), words.join("\n"));
  const sizes = { hidden_size: width, intermediate_size: hidden, num_hidden_layers: 1, num_attention_heads: 4 };
  const others = { max_position_embeddings: 64, layer_norm_eps: 1e-12, vocab_size: words.length };
  writeFileSync(place("config.json"), JSON.stringify({ _name_or_path: "random", ...sizes, ...others }));
}

/** Chosen answers are made of vowels, rejected ones of consonants. */
function writePairs(file: string): void {
  const random = randomFrom(2);
  const said = (from: string): string =>
    Array.from({ length: 6 }, () => from[Math.floor(random() * from.length)] as string).join("");
  const rows = Array.from({ length: 60 }, () => {
    const before = `\n\nHuman: ${said("abcdefgh")}\n\nAssistant: `;
    return JSON.stringify({ chosen: before + said("aeiou"), rejected: before + said("bcdfg") });
  });
  writeFileSync(file, rows.join("\n"));
}

it("makes a reward model that says in service what the recipe says of pairs that it was not fitted on", {
  ...needing("python-gguf"),
  timeout: 300_000,
}, async () => {
  writeEncoder();
  const place = (name: string): string => path.join(folder, name);
  writePairs(place("pairs.jsonl"));
  const files = ["--encoder", place("encoder"), "--pairs", place("pairs.jsonl"), "--out", place("reward.gguf")];
  const printed = execFileSync("python3", [recipe, ...files, "--held-out", place("held.jsonl")], { encoding: "utf8" });
  const [, percent, count] = /^held out: ([\d.]+) % of (\d+)/mu.exec(printed) ?? [];
  expect(Number(percent)).toBeGreaterThan(80);

  const held = readFileSync(place("held.jsonl"), "utf8").trim().split("\n");
  expect(held).toHaveLength(Number(count));
  const settings = { model: "made", modelPath: place("reward.gguf"), contextSize: 0, threads: 1, gpu: false } as const;
  const reward = await LlamaReward.start({ ...settings, hangMs: 30_000, childModule, log: () => {} });
  try {
    const rewardOf = (turns: Conversation) => reward.reward(turns.slice(0, -1), turns.at(-1)?.content ?? "");
    let right = 0;
    for (const line of held) {
      const { chosen, rejected } = JSON.parse(line) as { chosen: Conversation; rejected: Conversation };
      if ((await rewardOf(chosen)) > (await rewardOf(rejected))) right += 1;
    }
    expect(((100 * right) / held.length).toFixed(1)).toBe(percent);
  } finally {
    await reward.close();
  }
});
