import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { modelReport } from "../../../../src/commands/model-report.ts";
import { readModelCard } from "../../../../src/engine/llama-cpp/model-card.ts";
import { flag, gguf, integers, number, tensorOf, text, texts } from "../../../integration/gguf.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "icdpo-card-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const vocabulary = ["<s>", "</s>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>", "a"];
const [width, layers, keyHeads, headSize] = [64, 2, 2, 16];

/** The head of a file whose weights are of no account here. */
function written(name: string, more: readonly Buffer[]): string {
  const file = path.join(folder, name);
  writeFileSync(file, gguf(more, [tensorOf("token_embd.weight", [width, vocabulary.length], () => 0)]));
  return file;
}

function llama(name: string, ...more: readonly Buffer[]): string {
  return written(name, [
    text("general.architecture", "llama"),
    text("general.name", "Tiny"),
    number("general.file_type", 15),
    number("llama.context_length", 8192),
    number("llama.embedding_length", width),
    number("llama.block_count", layers),
    number("llama.attention.head_count", width / headSize),
    number("llama.attention.head_count_kv", keyHeads),
    text("tokenizer.ggml.model", "gpt2"),
    texts("tokenizer.ggml.tokens", vocabulary),
    integers("tokenizer.ggml.token_type", [3, 3, 3, 3, 3, 1]),
    number("tokenizer.ggml.bos_token_id", 0),
    number("tokenizer.ggml.eos_token_id", 1),
    flag("tokenizer.ggml.add_bos_token", true),
    ...more,
  ]);
}

describe("a model's card", () => {
  it("tells what the file says, and what a context takes", async () => {
    const file = llama(
      "tiny.gguf",
      text("tokenizer.chat_template", "{% for m in messages %}{{ m.content }}{% endfor %}"),
    );
    const card = await readModelCard(file, [1024, 2048]);
    expect(card).toMatchObject({
      ...{ file, name: "Tiny", architecture: "llama", quantisation: "Q4_K_M", trainContext: 8192, vocabulary: 6 },
      ...{ bos: { text: "<s>", prepended: true }, eos: "</s>" },
      fim: ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
      template: { system: "anywhere", tools: "none", alternates: false },
    });
    // A key and a value of each head and layer, two bytes each.
    expect(card.memory.perToken).toBe(2 * 2 * layers * keyHeads * headSize);
    expect(card.memory.contexts.map(({ tokens, sequences }) => [tokens, sequences])).toEqual(
      [1024, 2048].flatMap((size) => [1, 4, 16].map((count) => [size, count])),
    );
    const report = modelReport(card);
    expect(report).toContain("8,192 tokens");
    expect(report).toContain("system messages anywhere");
  });

  it("tells of usual contexts up to the trained one", async () => {
    const { memory } = await readModelCard(llama("usual.gguf"));
    expect([...new Set(memory.contexts.map(({ tokens }) => tokens))]).toEqual([4096, 8192]);
  });

  it("tells of a template that is none, or cannot be read", async () => {
    expect(modelReport(await readModelCard(llama("without.gguf")))).toContain("template        none");
    const broken = await readModelCard(llama("broken.gguf", text("tokenizer.chat_template", "{% for %}")));
    expect(modelReport(broken)).toContain("template        cannot be read: ");
  });

  it("is refused of what is no language model", async () => {
    const adapter = written("lora.gguf", [text("general.architecture", "llama"), text("general.type", "adapter")]);
    await expect(readModelCard(adapter)).rejects.toThrow("is an adapter");
    await expect(readModelCard(written("bare.gguf", [text("general.architecture", "llama")]))).rejects.toThrow(
      "no language model",
    );
  });
});
