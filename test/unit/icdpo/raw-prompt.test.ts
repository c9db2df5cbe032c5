import { describe, expect, it } from "vitest";
import { baseContext } from "../../../src/icdpo/prompt.ts";
import { rawConversation } from "../../../src/icdpo/raw-prompt.ts";

describe("a raw prompt as a conversation", () => {
  it.each([
    "\n\nHuman: Hi!\n\nAssistant:",
    "\n\nHuman: Hi!\n\nAssistant: Hello.\n\nHuman: Two\nlines\n\nAssistant:",
    "\n\nHuman: Hi!\n\nHuman: Again.\n\nAssistant:",
  ])("is what C⁰ writes again: %j", (prompt) => {
    expect(baseContext("hh-rlhf", rawConversation("hh-rlhf", prompt))).toEqual({ type: "text", text: prompt });
  });

  it("need not open with line breaks, nor end in the assistant's turn", () => {
    const said = [{ role: "user", content: "Hi!" }];
    for (const prompt of ["Human: Hi!\n\nAssistant:", "\n\nHuman: Hi!\n\nAssistant: ", "Human: Hi!", "\n\nHuman:Hi!"])
      expect(rawConversation("hh-rlhf", prompt)).toEqual(said);
  });

  it("is bounded in its turns", () => {
    expect(() => rawConversation("hh-rlhf", "\n\nHuman: a".repeat(100_000))).toThrow("more than 2048 turns");
  });
});
