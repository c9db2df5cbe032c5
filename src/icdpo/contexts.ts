/** @module The tokenised contexts of one request, with as many demonstrations as fit the model. */
import type { Engine, Prompt } from "../engine/engine.ts";
import type { PromptFormat } from "../policy/schema.ts";
import { GatewayError } from "../types/error.ts";
import { baseContext, type ContextParts, encodeContext, signedContext } from "./prompt.ts";

/** Which context the scores are measured against: C⁻ of rejected responses (Ŝ), C⁰ (S), or none. */
export type Negative = "rejected" | "base" | null;

export interface Contexts {
  /** C⁺; without demonstrations and instructions this is C⁰. */
  readonly positive: Prompt;
  readonly negative: Prompt | null;
  /** C⁰ */
  readonly base: Prompt;
  /** Demonstrations that fitted, of those retrieved. */
  readonly shots: number;
  /** Tokens that the longest context leaves for the response. */
  readonly room: number;
  /** "context:1-of-2-demonstrations" where some did not. */
  readonly fallback: string | null;
}

export interface ContextNeeds {
  readonly negative: Negative;
  /** Tokens that must remain for the response. */
  readonly reserve: number;
  readonly signal?: AbortSignal | undefined;
}

/** Drops demonstrations, the least similar first, until both contexts fit. Throws "context_length_exceeded" where even none leave too little room. */
export async function buildContexts(engine: Engine, format: PromptFormat, parts: ContextParts, needs: ContextNeeds): Promise<Contexts> {
  const { contextSize } = await engine.info(needs.signal);
  const base = await encodeContext(engine, baseContext(format, parts.conversation, parts.tools), needs.signal);
  const retrieved = parts.demonstrations.length;
  for (let shots = retrieved; ; shots--) {
    const kept = { ...parts, demonstrations: parts.demonstrations.slice(0, shots) };
    const { positive, negative } = await signedContexts(engine, format, kept, base, needs);
    const longest = Math.max(positive.tokens.length, negative?.tokens.length ?? 0);
    if (shots > 0 && longest + needs.reserve > contextSize) continue;
    if (longest >= contextSize) throw tooLong(contextSize, longest);
    const fallback = shots < retrieved ? `context:${shots}-of-${retrieved}-demonstrations` : null;
    return { positive, negative, base, shots, room: contextSize - longest, fallback };
  }
}

async function signedContexts(engine: Engine, format: PromptFormat, parts: ContextParts, base: Prompt, { negative, signal }: ContextNeeds) {
  if (parts.demonstrations.length === 0 && parts.instructions === null)
    return { positive: base, negative: negative === null ? null : base };
  const encode = (sign: "positive" | "negative") => encodeContext(engine, signedContext(format, sign, parts), signal);
  return {
    positive: await encode("positive"),
    negative: negative === null ? null : negative === "base" ? base : await encode("negative"),
  };
}

function tooLong(contextSize: number, tokens: number): GatewayError {
  const message = `The model's context holds ${contextSize} tokens, but the messages take ${tokens} and leave no room for a response. Shorten them.`;
  return new GatewayError("context_length_exceeded", message, { param: "messages" });
}
