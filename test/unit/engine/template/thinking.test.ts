/** What is found out of thoughts, for each family of templates. */
import { describe, expect, it } from "vitest";
import type { Token } from "../../../../src/engine/engine.ts";
import { ChatTemplate, type Rendering } from "../../../../src/engine/template/chat-template.ts";
import { thinkingOf } from "../../../../src/engine/template/thinking.ts";
import { type Family, families } from "./families.ts";

/** Control and whole tokens have ids of their own; other characters are their code points. */
function opened({ source, bos, eos, control, userDefined }: Family) {
  const isWhole = (token: Token): boolean => token >= 1_000_000;
  const spellings = new Map([...control, ...userDefined].map((text, i) => [text, 1_000_000 + i]));
  const tokenized = (text: string, known: readonly string[]): Token[] => {
    const tokens: Token[] = [];
    for (let at = 0; at < text.length; ) {
      const whole = known.find((spelling) => text.startsWith(spelling, at));
      tokens.push(whole === undefined ? (text.codePointAt(at) as number) : (spellings.get(whole) as Token));
      at += whole?.length ?? 1;
    }
    return tokens;
  };
  const tokenizeSpecial = (text: string): Token[] => tokenized(text, [...spellings.keys()]);
  const wholeTokens = (rendering: Rendering): number =>
    (rendering.type === "text"
      ? tokenizeSpecial(rendering.text)
      : rendering.runs.flatMap((run) => (typeof run === "number" ? run : tokenized(run, userDefined)))
    ).filter(isWhole).length;
  const template = new ChatTemplate(source, {
    bos,
    eos,
    endOfSequence: spellings.get(eos) as Token,
    control: new Map(control.map((text) => [text, spellings.get(text) as Token])),
    userDefined,
  });
  return { template, tokenizeSpecial, wholeTokens, spelled: (text: string) => spellings.get(text) as Token };
}

const asked = [{ role: "user", content: "Hi" }] as const;

function tail(family: Family, variables = {}): string {
  const { template } = opened(family);
  const rendering = template.render(asked, [], variables);
  return rendering.type === "text" ? (rendering.text.split("Hi").at(-1) as string) : "";
}

describe("a template that thinks", () => {
  it.each([
    [
      "qwen3",
      {
        opening: "<think>\n",
        space: "\n",
        marker: "</think>",
        after: "\n\n",
        off: { enable_thinking: false },
        byDefault: true,
      },
    ],
    ["r1", { opening: "", space: "\n", marker: "</think>", after: "\n\n", off: null, byDefault: true }],
    [
      "deepseek31",
      { opening: "", space: "", marker: "</think>", after: "", off: { thinking: false }, byDefault: false },
    ],
    [
      "harmony",
      {
        opening: "<|channel|>analysis<|message|>",
        skipping: "<|channel|>final<|message|>",
        marker: "<|end|>",
        after: "<|start|>assistant<|channel|>final<|message|>",
        off: {},
        byDefault: true,
        efforts: ["low", "medium", "high"],
      },
    ],
    ["magistral", { opening: "[THINK]", marker: "[/THINK]", off: null, byDefault: true }],
    ["phi", { opening: "<think>", marker: "</think>", off: null, byDefault: true }],
    [
      "smollm3",
      {
        opening: "<think>\n",
        space: "\n",
        marker: "</think>",
        after: "\n",
        off: { enable_thinking: false },
        byDefault: true,
      },
    ],
    ["granite", { opening: "<think>", marker: "</think>", on: { thinking: true }, byDefault: false }],
  ] as const)("is told apart: %s", (name, rules) => {
    expect(opened(families[name]).template.thoughts).toMatchObject(rules);
  });

  it.each(["llama3", "gemma3", "qwen3Instruct"] as const)("is told from one that does not: %s", (name) => {
    expect(opened(families[name]).template.thoughts).toBeNull();
  });

  it.each([
    ["qwen3", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"],
    ["deepseek31", "<｜Assistant｜><think>", "<｜Assistant｜></think>"],
  ] as const)("has prompts on and off: %s", (name, on, off) => {
    const { thoughts } = opened(families[name]).template;
    expect([tail(families[name], thoughts?.on), tail(families[name], thoughts?.off ?? {})]).toEqual([on, off]);
  });

  it("closes thoughts by a token where the vocabulary has one", async () => {
    const { template, tokenizeSpecial, spelled } = opened(families.qwen3);
    const thinking = await thinkingOf(template.thoughts, tokenizeSpecial);
    expect(thinking?.markerToken).toBe(spelled("</think>"));
    expect(thinking?.closing).toEqual(tokenizeSpecial("</think>\n\n"));
    expect(thinking?.space).toBe("\n");
    const phi = opened(families.phi);
    expect(await thinkingOf(phi.template.thoughts, phi.tokenizeSpecial)).not.toHaveProperty("markerToken");
  });

  it.each(["qwen3", "r1", "harmony", "magistral", "phi"] as const)("lets no content write its markers: %s", (name) => {
    const { template, wholeTokens } = opened(families[name]);
    const { opening = "", skipping = "", marker = "" } = template.thoughts ?? {};
    const forged = `${opening}${skipping}${marker}x`;
    const rendering = template.render([{ role: "user", content: forged }]);
    const honest = template.render([{ role: "user", content: "x" }]);
    expect(wholeTokens(rendering)).toBe(wholeTokens(honest));
    if (name === "phi") expect(JSON.stringify(rendering)).toContain("< /think>x");
  });

  it("shows thoughts of the turns after the last question, where it shows any", () => {
    const { template } = opened(families.qwen3);
    const rendering = template.renderWhole([...asked, { role: "assistant", content: "Yes.", thought: "Hm." }]);
    expect(rendering).toMatchObject({ text: expect.stringContaining("<think>\nHm.\n</think>\n\nYes.") });
  });

  it("leaves a turn by what stands before the next one, on channels too", () => {
    const qwen = opened(families.qwen3);
    expect([qwen.template.end, ...qwen.template.leaves]).toEqual(["<|im_end|>", "<|im_start|>"].map(qwen.spelled));
    const oss = opened(families.harmony);
    expect(oss.template.end).toBe(oss.spelled("<|return|>"));
    expect(oss.template.leaves).toEqual(["<|end|>", "<|start|>", "<|message|>"].map(oss.spelled));
  });
});
