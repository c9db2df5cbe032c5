/** @module A scripted model that thinks: thoughts stand between `<t>` and `</t>`. */
import type { Capabilities, Thinking, Token } from "../../src/engine/engine.ts";
import type { Script } from "./scripted-engine.ts";

function spelled(text: string): Token[] {
  return Array.from(text, (character) => character.charCodeAt(0));
}

export const thinking: Thinking = {
  on: { think: true },
  off: { think: false },
  opening: spelled("<t>"),
  skipping: [],
  marker: "</t>",
  space: " ",
  closing: spelled("</t>"),
  byDefault: true,
  efforts: ["low", "medium", "high"],
};

export function capabilities(changes: Partial<Thinking> = {}): Capabilities {
  const able = { chat: true, text: true, score: true, grammar: true, contrast: true, tools: null };
  return { ...able, thinking: { ...thinking, ...changes } };
}

/** Thinks `thoughts` and says `answers`, each by its index. */
export function thinks(
  thoughts: readonly string[],
  answers: readonly string[],
  changes: Partial<Thinking> = {},
): Required<Pick<Script, "sample" | "capabilities">> {
  return {
    capabilities: capabilities(changes),
    sample: (index, prompt, { maxTokens }) => {
      if (!prompt.endsWith("<t>")) return { text: answers[index] ?? "" };
      const thought = `${thoughts[index] ?? ""} </t>`;
      return thought.length <= maxTokens ? { text: thought } : { text: thought.slice(0, maxTokens), finish: "length" };
    },
  };
}
