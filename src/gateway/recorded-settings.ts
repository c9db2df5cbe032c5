/**
 * @module What a request says beside its messages, as it is recorded with its answer: another arm can be asked the
 * same.
 */
import { z } from "zod";
import type { Generation } from "./generation.ts";

const schema = z.object({
  /** Only what the client said itself: each arm's policy says the rest. */
  sampling: z.object({
    temperature: z.number().optional(),
    topP: z.number().optional(),
    topK: z.number().optional(),
    maxTokens: z.number().optional(),
    stop: z.array(z.string()).optional(),
    presencePenalty: z.number().optional(),
    frequencyPenalty: z.number().optional(),
    minP: z.number().optional(),
    repetitionPenalty: z.number().optional(),
    repetitionWindow: z.number().optional(),
    minTokens: z.number().optional(),
    ignoreEos: z.boolean().optional(),
    logitBias: z.array(z.tuple([z.number(), z.number()])).optional(),
  }),
  /** The client's, or the one that was drawn for it. */
  seed: z.number(),
  answers: z.number(),
  topLogprobs: z.number().nullable(),
  usesTools: z.boolean(),
  variables: z.record(z.string(), z.unknown()).optional(),
  reasoning: z
    .object({
      thinks: z.boolean().optional(),
      budget: z.number().optional(),
      effort: z.enum(["low", "medium", "high"]).optional(),
    })
    .optional(),
  format: z.discriminatedUnion("type", [
    z.object({ type: z.literal("text") }),
    z.object({ type: z.literal("json-object") }),
    z.object({ type: z.literal("json-schema"), schema: z.unknown(), path: z.string(), strict: z.boolean().optional() }),
    z.object({ type: z.literal("pattern"), text: z.string(), path: z.string() }),
    z.object({ type: z.literal("grammar"), text: z.string(), path: z.string() }),
    z.object({ type: z.literal("choice"), choices: z.array(z.string()).readonly(), path: z.string() }),
  ]),
});

export type RecordedSettings = z.output<typeof schema>;

/** JSON, as it is kept. */
export function recordedSettings(
  { sampling, answers, topLogprobs, tools, format, variables, reasoning }: Generation,
  seed: number,
): z.input<typeof schema> {
  const { logitBias, stop, ...given } = sampling;
  const lists = { ...(stop && { stop: [...stop] }), ...(logitBias && { logitBias: [...logitBias] }) };
  return {
    sampling: { ...given, ...lists },
    seed,
    answers,
    topLogprobs,
    usesTools: tools.length > 0,
    variables,
    reasoning,
    format,
  };
}

/** Null for what is not of this form: an answer that an older version recorded. */
export function readSettings(
  recorded: unknown,
): (Omit<RecordedSettings, "sampling"> & Pick<Generation, "sampling">) | null {
  const { success, data } = schema.safeParse(recorded);
  if (!success) return null;
  const { logitBias, ...given } = data.sampling;
  return { ...data, sampling: { ...given, ...(logitBias && { logitBias: new Map(logitBias) }) } };
}
