/** @module How vocabularies spell the tokens for filling in the middle, for engines that do not name them. */
import type { InfillTokens, Token } from "./engine.ts";

/** Those that llama.cpp knows: before what precedes the gap, before what follows it, before what fills it. */
export const infillSpellings = [
  ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
  ["<fim-prefix>", "<fim-suffix>", "<fim-middle>"],
  ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
  ["<|fim\u2581begin|>", "<|fim\u2581hole|>", "<|fim\u2581end|>"],
  ["<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>"],
  ["<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"],
  ["\u2581<PRE>", "\u2581<SUF>", "\u2581<MID>"],
  ["<PRE>", "<SUF>", "<MID>"],
  ["[PREFIX]", "[SUFFIX]", "[MIDDLE]"],
] as const;

export function infillTokens(control: ReadonlyMap<string, Token>): InfillTokens | undefined {
  for (const names of infillSpellings) {
    const [prefix, suffix, middle] = names.map((name) => control.get(name));
    if (prefix !== undefined && suffix !== undefined && middle !== undefined) return { prefix, suffix, middle };
  }
  return undefined;
}
