/** @module Requests that go past a policy's demonstrations and scores: one plain sample each. */
import type { Conversation } from "../types/conversation.ts";
import type { Policy } from "./policy.ts";
import { compilePattern, type Pattern } from "./user-pattern.ts";

export interface BypassFacts {
  readonly conversation: Conversation;
  readonly maxTokens: number;
  readonly usesTools: boolean;
  readonly wantsJson: boolean;
}

export function bypasses(
  { settings: { bypass } }: Policy,
  { conversation, maxTokens, usesTools, wantsJson }: BypassFacts,
): boolean {
  if (bypass === undefined) return false;
  const prompt = conversation.findLast(({ role }) => role === "user")?.content ?? "";
  const { prompts, system } = patternsOf(bypass);
  return (
    (bypass.max_tokens !== undefined && maxTokens <= bypass.max_tokens) ||
    (bypass.tools && usesTools) ||
    (bypass.json && wantsJson) ||
    prompts.some((matches) => matches(prompt)) ||
    (system.length > 0 && matchesSystem(system, conversation))
  );
}

/** Whichever of several a request has said it in: their beginning counts, all together. */
function matchesSystem(patterns: readonly Pattern[], conversation: Conversation): boolean {
  const text = conversation.flatMap(({ role, content }) => (role === "system" ? [content] : [])).join("\n\n");
  return text !== "" && patterns.some((matches) => matches(text));
}

type Bypass = NonNullable<Policy["settings"]["bypass"]>;

/** Compiled once for each policy's settings. */
const compiled = new WeakMap<Bypass, { readonly [Name in "prompts" | "system"]: readonly Pattern[] }>();

function patternsOf(bypass: Bypass) {
  const patterns = compiled.get(bypass) ?? {
    prompts: bypass.prompts.map((source) => compilePattern(source)),
    system: bypass.system.map((source) => compilePattern(source)),
  };
  compiled.set(bypass, patterns);
  return patterns;
}

/** Whether a policy that shows similar demonstrations only has found none. */
export function lacksDemonstrations({ retriever, settings }: Policy, retrieved: readonly unknown[]): boolean {
  const { min_similarity: least = undefined } = "min_similarity" in settings.retriever ? settings.retriever : {};
  return retriever !== null && least !== undefined && retrieved.length === 0;
}

/** Whether candidates compete by scores, or would, if the request had not gone past the method. */
export function isScored({ isScored: known, settings }: Pick<Policy, "isScored" | "settings">): boolean {
  return known ?? settings.score.type !== "none";
}

/** The same policy, without its method. */
export function plainly(policy: Policy): Policy {
  const settings = {
    ...policy.settings,
    candidates: 1,
    score: { type: "none", pick: "first" } as const,
    instructions: undefined,
    decode: undefined,
  };
  return { ...policy, settings, retriever: null, isScored: isScored(policy) };
}
