/**
 * @module What requests say of thoughts before answers, in the words of OpenAI, vLLM, llama.cpp and Ollama. Models that
 * do not think do not heed it.
 */
import { z } from "zod";
import { thinkingSwitches } from "../engine/template/thinking.ts";
import type { ReasoningWord } from "../gateway/generation.ts";
import type { AskedReasoning } from "../policy/reasoning-schema.ts";

/** Tokens of a thought, by the effort that is asked for. */
const budgets = { minimal: 128, low: 512, medium: 2_048, high: 8_192, xhigh: 16_384, max: 16_384 } as const;
/** Templates know three levels. */
const levels = { minimal: "low", low: "low", medium: "medium", high: "high", xhigh: "high", max: "high" } as const;
/** Not to be reached: the context ends before. */
const unlimited = 1_000_000;

export const effort = z.enum(
  ["none", "minimal", "low", "medium", "high", "xhigh", "max", "default", "auto"],
  "must be none, minimal, low, medium or high",
);
const budget = z.int().min(-1).max(unlimited);

export const reasoningFields = {
  reasoning_effort: effort.nullish().describe("none: no thought; else how long one may be"),
  thinking_budget_tokens: budget.nullish().describe("of a thought; 0: none, -1: any number"),
  thinking_token_budget: budget.nullish().describe("the same"),
  reasoning_budget: budget.nullish().describe("the same"),
  think: z.union([z.boolean(), effort]).nullish().describe("whether there is a thought, or an effort"),
};

const fields = z.object(reasoningFields);
type Fields = z.output<typeof fields>;

/** What is said most exactly counts: a budget before an effort, an effort before a switch. */
export function toReasoning(
  body: Fields,
  variables: Readonly<Record<string, unknown>> = {},
): AskedReasoning | undefined {
  const { reasoning_effort: said, think } = body;
  const tokens = body.thinking_budget_tokens ?? body.thinking_token_budget ?? body.reasoning_budget ?? undefined;
  // Who switches it for the template means thoughts as well.
  const switched = thinkingSwitches.map((name) => variables[name]).find((value) => typeof value === "boolean");
  const asked = {
    ...(switched !== undefined && { thinks: switched === true }),
    ...(typeof think === "boolean" ? { thinks: think } : byEffort(think)),
    ...byEffort(said),
    ...(tokens !== undefined && byBudget(tokens)),
  };
  return Object.keys(asked).length === 0 ? undefined : asked;
}

export function byEffort(asked: z.output<typeof effort> | null | undefined): AskedReasoning {
  if (!asked || asked === "default" || asked === "auto") return {};
  if (asked === "none") return { thinks: false };
  return { thinks: true, budget: budgets[asked], effort: levels[asked] };
}

export function byBudget(tokens: number): AskedReasoning {
  if (tokens === 0) return { thinks: false };
  return { thinks: true, budget: tokens < 0 ? unlimited : tokens };
}

/** A thought in OpenAI's shape of messages and deltas; nothing where there is none. */
export function thoughtFields(thought: string | null, word: ReasoningWord): Record<string, string> {
  if (thought === null) return {};
  return {
    ...(word !== "reasoning" && { reasoning_content: thought }),
    ...(word !== "reasoning_content" && { reasoning: thought }),
  };
}
