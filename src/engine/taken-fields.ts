/** @module Fields beside OpenAI's that a service may take: vLLM's and llama.cpp's names. */
import type { Lacks, Optional } from "./engine.ts";

export const takenFields = [
  "top_k",
  "min_p",
  "repetition_penalty",
  "repeat_penalty",
  "repeat_last_n",
  "min_tokens",
  "ignore_eos",
  "chat_template_kwargs",
] as const;
export type TakenField = (typeof takenFields)[number];

/** Any of these will do. */
const fieldsOf: { readonly [Name in Optional]?: readonly TakenField[] } = {
  topK: ["top_k"],
  minP: ["min_p"],
  repetitionPenalty: ["repetition_penalty", "repeat_penalty"],
  repetitionWindow: ["repeat_last_n"],
  minTokens: ["min_tokens"],
  ignoreEos: ["ignore_eos"],
  templateVariables: ["chat_template_kwargs"],
};

const notTaken =
  "OpenAI's API does not have it, and the engines file does not say that this service takes it (`takes`)";

/** What a service does not do that takes these. */
export function lackedBy(takes: ReadonlySet<string>): Lacks {
  const lacked = Object.entries(fieldsOf).filter(([, fields]) => !fields.some((field) => takes.has(field)));
  return Object.fromEntries(lacked.map(([name]) => [name, notTaken]));
}
