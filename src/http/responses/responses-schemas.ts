/**
 * @module What answers in the Responses API look like, for the described API and for tests that hold every answer to it.
 */
import { z } from "zod";
import { explanationSchema, tokenFields, unixTime } from "../answer-schemas.ts";

const responseToken = z.strictObject({ ...tokenFields, top_logprobs: z.array(z.strictObject(tokenFields)) });
const responseText = z.strictObject({
  type: z.literal("output_text"),
  text: z.string(),
  annotations: z.array(z.never()),
  logprobs: z.array(responseToken),
});
const itemStatus = z.enum(["in_progress", "completed", "incomplete"]);
const responseItem = z.discriminatedUnion("type", [
  z.strictObject({
    id: z.string(),
    type: z.literal("message"),
    status: itemStatus,
    role: z.literal("assistant"),
    content: z.array(responseText),
  }),
  z.strictObject({
    id: z.string(),
    type: z.literal("function_call"),
    status: itemStatus,
    call_id: z.string(),
    name: z.string(),
    namespace: z.string().optional(),
    arguments: z.string(),
  }),
  z.strictObject({
    id: z.string(),
    type: z.literal("reasoning"),
    status: itemStatus,
    summary: z.array(z.never()),
    content: z.array(z.strictObject({ type: z.literal("reasoning_text"), text: z.string() })),
  }),
  z.strictObject({
    id: z.string(),
    type: z.literal("custom_tool_call"),
    status: itemStatus,
    call_id: z.string(),
    name: z.string(),
    namespace: z.string().optional(),
    input: z.string(),
  }),
]);

export const responseSchema = z.strictObject({
  id: z.string(),
  object: z.literal("response"),
  created_at: unixTime,
  status: z.enum(["in_progress", "completed", "incomplete", "failed"]),
  background: z.literal(false),
  error: z.strictObject({ code: z.string(), message: z.string() }).nullable(),
  incomplete_details: z.strictObject({ reason: z.literal("max_output_tokens") }).nullable(),
  instructions: z.string().nullable(),
  max_output_tokens: z.int().nullable(),
  max_tool_calls: z.null(),
  model: z.string(),
  output: z.array(responseItem),
  parallel_tool_calls: z.boolean(),
  previous_response_id: z.null(),
  reasoning: z.strictObject({ effort: z.string().nullable(), summary: z.null() }),
  service_tier: z.literal("default"),
  store: z.literal(false),
  temperature: z.number(),
  text: z.strictObject({ format: z.looseObject({ type: z.string() }) }),
  tool_choice: z.union([z.string(), z.looseObject({ type: z.string() })]),
  tools: z.array(z.looseObject({ type: z.string() })),
  top_logprobs: z.int(),
  top_p: z.number(),
  truncation: z.literal("disabled"),
  usage: z
    .strictObject({
      input_tokens: z.int(),
      input_tokens_details: z.strictObject({ cached_tokens: z.int(), cache_write_tokens: z.int() }),
      output_tokens: z.int(),
      output_tokens_details: z.strictObject({ reasoning_tokens: z.int() }),
      total_tokens: z.int(),
    })
    .optional(),
  user: z.string().optional(),
  metadata: z.record(z.string(), z.string()),
  icdpo: explanationSchema,
});

export const responseEventSchema = z.looseObject({ type: z.string(), sequence_number: z.int().min(0) });
