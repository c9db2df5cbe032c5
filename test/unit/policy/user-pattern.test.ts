/** Operators' patterns, which users' texts are held against. */
import { describe, expect, it } from "vitest";
import { bypasses } from "../../../src/policy/bypass.ts";
import type { Policy } from "../../../src/policy/policy.ts";
import { policySchema } from "../../../src/policy/schema.ts";
import { compilePattern, matchedCharacters, problemWith } from "../../../src/policy/user-pattern.ts";

const policyWith = (...prompts: string[]) => ({
  settings: policySchema.parse({ score: { type: "none" }, bypass: { prompts } }),
});
const asked = (content: string) => ({
  conversation: [{ role: "user" as const, content }],
  maxTokens: 100,
  usesTools: false,
  wantsJson: false,
});

describe("a pattern", () => {
  it.each([
    ["^### Task:", "### Task: a title", true],
    ["^### Task:", "Do: ### Task:", false],
    ["^(?:Generate|Provide) a concise", "Provide a concise title", true],
    ["(?i)TITLE", "a title", true],
    ["\\u00e9t\\u00e9", "l'été", true],
    ["(?<word>tag)s", "tags", true],
    ["^\\p{L}+$", "Straße", true],
    ["a.b", "a\nb", false],
    ["[^\\w-]", "a-b", false],
    ["^[\\s\\S]{3}$", "a😀b", true],
  ])("%s matches as JavaScript's does", (source, text, isMatch) => {
    expect(compilePattern(source)(text)).toBe(isMatch);
    const own = source.startsWith("(?i)") ? new RegExp(source.slice(4), "iu") : new RegExp(source, "u");
    expect(own.test(text)).toBe(isMatch);
  });

  it.each([
    ["looks ahead", "(?=a)b", "(?="],
    ["looks back", "(?<=a)b", "(?<="],
    ["refers back", "(a)\\1", "\\1"],
    ["repeats too often", "a{1001}", "1001"],
    ["repeats repetitions", "(?:(?:a?){40}){40}", "40"],
    ["takes too many steps", "(?:a?){600}a{600}", "steps"],
    ["is too long", "a".repeat(2000), "longer"],
    ["is none", "(", "missing"],
  ])("that %s is refused, and it is said why", (_, source, reason) => {
    expect(problemWith(source)).toContain(reason);
    const parsed = policySchema.safeParse({ score: { type: "none" }, bypass: { prompts: [source] } });
    expect(parsed.error?.issues).toMatchObject([
      { path: ["bypass", "prompts", 0], message: expect.stringContaining(reason) },
    ]);
  });

  it("looks at a text's beginning", () => {
    const matches = compilePattern("end$");
    expect(matches(`${"a".repeat(matchedCharacters - 3)}end`)).toBe(true);
    expect(matches(`${"a".repeat(matchedCharacters)}end`)).toBe(false);
  });

  it("belongs to its policy", () => {
    const policy = policyWith("^one", "two$") as unknown as Policy;
    expect(["one more", "no two", "three"].map((text) => bypasses(policy, asked(text)))).toEqual([true, true, false]);
    expect(bypasses(policyWith("^three") as unknown as Policy, asked("three"))).toBe(true);
  });
});
