/** @module Candidates that write a letter of their own each, on from wherever a call begins. */
import type { SampleRequest } from "../../../src/engine/engine.ts";
import type { Script } from "../scripted-engine.ts";
import { signOf } from "./scripted-policy.ts";

/** What has been answered before. */
export const said = (context: string): string => context.split("<assistant>").at(-1) ?? "";

export interface Letter {
  /** How much more C⁺ likes each of its letters than C⁻ does, in nats. */
  readonly gain: number;
  /** After which it ends. */
  readonly length?: number;
}

/** Candidate i writes the i-th letter; each of its tokens, EOS among them, has −1 after C⁺, and −1 − gain after C⁻. */
export function writing(letters: Readonly<Record<string, Letter>>, more: Script = {}): Script {
  const names = Object.keys(letters);
  const of = (text: string): Letter => letters[text[0] ?? ""] ?? { gain: 0 };
  return {
    sample: (index, context, { maxTokens }: SampleRequest) => {
      const name = said(context)[0] ?? names[index] ?? "?";
      const left = (letters[name]?.length ?? 10) - said(context).length;
      return { text: name.repeat(Math.min(left, maxTokens)), finish: left < maxTokens ? "stop" : "length" };
    },
    sum: (context, response) => {
      const { gain } = of(said(context) || response);
      return -(response.length + 1) * (1 + (signOf(context) === "negative" ? gain : 0));
    },
    ...more,
  };
}
