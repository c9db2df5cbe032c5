/** @module Prompts whose answers rules can check, from JSONL: what stands in a line, and what is wrong with one. */
import { type Conversation, GatewayError, problemWith, readLines } from "icdpo-gateway/laboratory";
import { z } from "zod";
import { languages } from "./language.ts";

const text = z.string().min(1);
const texts = z.array(text).min(1);
const note = text.optional().describe("the demand in words");
const count = z.int().min(0).optional();
const word = z.boolean().optional().describe("whole words only");

const pattern = text.superRefine((source, context) => {
  const problem = problemWith(source);
  if (problem !== null)
    context.addIssue({ code: "custom", message: `must be a regular expression of RE2: ${problem}` });
});

/** A demand that a rule can see; how each is understood: `checks.ts`. */
const checkSchema = z.discriminatedUnion("type", [
  z
    .strictObject({
      type: z.enum(["words", "sentences", "bullets", "lines", "paragraphs"]),
      min: count,
      max: count,
      note,
    })
    .refine(({ min, max }) => min !== undefined || max !== undefined, "needs min, max or both")
    .refine(({ min = 0, max = Number.POSITIVE_INFINITY }) => min <= max, "min is more than max"),
  z
    .strictObject({ type: z.literal("contains"), any: texts.optional(), all: texts.optional(), word, note })
    .refine(({ any, all }) => any !== undefined || all !== undefined, "needs any, all or both"),
  z.strictObject({ type: z.literal("lacks"), any: texts, word, note }),
  z.strictObject({ type: z.literal("matches"), pattern, note }),
  z.strictObject({ type: z.literal("lacks-match"), pattern, note }),
  z.strictObject({ type: z.literal("starts"), with: text, note }),
  z.strictObject({ type: z.literal("ends"), with: text, note }),
  z.strictObject({ type: z.literal("language"), is: z.enum(languages), note }),
  z.strictObject({
    type: z.literal("json"),
    keys: texts.optional().describe("the object has these, and may have others"),
    values: z.record(z.string(), z.json()).optional().describe("these fields have these values"),
    fenced: z.boolean().optional().describe("it may stand in a fence of Markdown"),
    note,
  }),
  z.strictObject({ type: z.literal("case"), is: z.enum(["upper", "lower"]), note }),
  z.strictObject({ type: z.literal("answer"), is: texts, note }),
]);

export type Check = Readonly<z.output<typeof checkSchema>>;

const promptSchema = z
  .strictObject({
    id: text,
    messages: z
      .array(z.strictObject({ role: z.enum(["system", "user", "assistant"]), content: text }))
      .min(1)
      .refine((messages) => messages.at(-1)?.role === "user", "must end with a user turn"),
    kind: z.enum(["verifiable", "open"]),
    checks: z.array(checkSchema).default([]),
    reference: text.optional().describe("a better model's answer"),
  })
  .refine(({ checks, reference }) => checks.length > 0 || reference !== undefined, "needs checks, a reference or both");

export interface CheckedPrompt {
  readonly id: string;
  readonly messages: Conversation;
  readonly kind: "verifiable" | "open";
  readonly checks: readonly Check[];
  readonly reference?: string | undefined;
}

const mostComplaints = 20;

/** One prompt a line. Throws "configuration" with a line for each complaint, `file:line: field: reason`. */
export async function readPrompts(file: string): Promise<CheckedPrompt[]> {
  const prompts: CheckedPrompt[] = [];
  const complaints: string[] = [];
  const lineOf = new Map<string, number>();
  for await (const { number, value } of readLines(file)) {
    const complain = (reason: string): number => complaints.push(`${file}:${number}: ${reason}`);
    if (value === undefined) {
      complain("not JSON");
      continue;
    }
    const { data: prompt, error } = promptSchema.safeParse(value);
    if (prompt === undefined) {
      for (const { path, message } of error.issues) complain([...path.map(String), message].join(": "));
      continue;
    }
    const earlier = lineOf.get(prompt.id);
    if (earlier !== undefined) complain(`id: "${prompt.id}" stands on line ${earlier} as well`);
    lineOf.set(prompt.id, number);
    prompts.push(prompt);
  }
  if (complaints.length > mostComplaints)
    complaints.splice(mostComplaints, Number.POSITIVE_INFINITY, `and ${complaints.length - mostComplaints} more`);
  if (complaints.length === 0 && prompts.length === 0) complaints.push(`${file}: holds no prompt`);
  if (complaints.length > 0) throw new GatewayError("configuration", complaints.join("\n"));
  return prompts;
}
