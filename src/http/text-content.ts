/** @module Texts that clients of OpenAI's protocols send whole, or in parts. */
import { z } from "zod";
import { quoted } from "../text/quoted.ts";

const textPart = z.object({ type: z.enum(["text", "input_text", "output_text"]), text: z.string() });
const refusalPart = z.object({ type: z.literal("refusal"), refusal: z.string() });
/** Each wrong entry of a list takes zod microseconds: no list is read that is longer than anybody needs. */
export const maxParts = 2_048;

export const content = z.union(
  [z.string(), z.array(z.discriminatedUnion("type", [textPart, refusalPart])).max(maxParts)],
  {
    error: ({ input, errors }) => complaint(input, errors[1]?.[0]),
  },
);

/** Text parts are pieces of one text, as chat templates join them. */
export function toText(given: z.output<typeof content> | null | undefined): string {
  return typeof given === "string"
    ? given
    : (given ?? []).map((part) => (part.type === "refusal" ? part.refusal : part.text)).join("");
}

/** An issue with its place: unions say no more by themselves than that nothing fits. */
export function worded(issue: z.core.$ZodIssue | undefined): string {
  return issue === undefined ? "is not as expected" : [...issue.path, issue.message].join(": ");
}

function complaint(input: unknown, issue: z.core.$ZodIssue | undefined): string {
  const [place, field] = issue?.path ?? [];
  if (!Array.isArray(input) || typeof place !== "number")
    return `must be a string or a list of up to ${maxParts} text parts`;
  const { type } = (input[place] ?? {}) as { readonly type?: unknown };
  return field === "type" && typeof type === "string"
    ? `part ${place} is of type ${quoted(type, 40)}: only text parts can be read by this model`
    : `part ${worded(issue)}`;
}
