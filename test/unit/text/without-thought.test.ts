import { describe, expect, it } from "vitest";
import { withoutThought } from "../../../src/text/without-thought.ts";

describe("an answer without its thought", () => {
  it.each([
    ["Qwen3's", "<think>\nTwo and two…\n</think>\n\nFour.", "Four."],
    ["an empty one", "<think>\n\n</think>\n\nFour.", "Four."],
    ["one after white space", "\n <think>Hm.</think> Four.", "Four."],
    ["several", "<think>One.</think>\n<think>Two.</think>\nFour.", "Four."],
    ["one that speaks of its mark", "<think>I close <think> soon.</think>Four.", "Four."],
    ["by other names", "<thinking>Hm.</thinking><thought>Hm.</thought><seed:think>Hm.</seed:think>Four.", "Four."],
    ["Mistral's", "[THINK]Hm.[/THINK]Four.", "Four."],
    ["R1's, which the prompt has opened", "Two and two…\n</think>\n\nFour.", "Four."],
    ["R1's, which is empty", "</think>\n\nFour.", "Four."],
    ["Mistral's, which the prompt has opened", "Hm.\n[/THINK]Four.", "Four."],
    [
      "gpt-oss's",
      "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Four.<|return|>",
      "Four.",
    ],
    [
      "gpt-oss's, with what it says meanwhile",
      "<|start|>assistant<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>Wait.<|end|><|start|>assistant<|channel|>final<|message|>Four.",
      "Four.",
    ],
    ["gpt-oss's answer alone", "<|channel|>final <|constrain|>json<|message|>{}", "{}"],
  ])("goes on after it: %s", (_, text, answer) => {
    expect(withoutThought(text)).toBe(answer);
  });

  it.each([
    "<think>",
    "<think>\nTwo and two",
    "<think>One.</think><think>Two",
    "<think>It ends with </think",
    "[THINK]Hm.",
    "<|channel|>analysis<|message|>Hm.",
    "<|channel|>analysis<|message|>Hm.<|end|>",
    "<think>Hm.</think>\n",
  ])("is empty where there is no more than a thought: %j", (text) => {
    expect(withoutThought(text)).toBe("");
  });

  it.each([
    "",
    "  Four.\n",
    "Models write <think> before they answer.",
    "Models write\n<think>\nHm.\n</think>\nbefore they answer.",
    "A thought ends with </think>, which I never wrote.",
    "See [THINK]ing\n",
    "gpt-oss begins with <|channel|>analysis<|message|>.",
    "<thinker>Rodin</thinker>",
    "<b>Four.</b>",
  ])("is the text as it is where it begins with none: %j", (text) => {
    expect(withoutThought(text)).toBe(text);
  });

  it("is found at once in a text of many marks", () => {
    const many = 100_000;
    expect(withoutThought(`${"<think></think>".repeat(many)}Four.`)).toBe("Four.");
    expect(withoutThought(`${"<|channel|>analysis<|message|><|end|>".repeat(many)}`)).toBe("");
    const unopened = `${"\n<think>\n</think>".repeat(many)}`;
    expect(withoutThought(`x${unopened}`)).toBe(`x${unopened}`);
  });
});
