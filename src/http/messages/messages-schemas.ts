/**
 * @module What answers in Anthropic's protocol look like, for the described API and for tests that hold every answer to
 * it.
 */
import { z } from "zod";
import { explanationSchema } from "../answer-schemas.ts";

const textBlock = z.strictObject({ type: z.literal("text"), text: z.string(), citations: z.null() });
const toolUseBlock = z.strictObject({
  type: z.literal("tool_use"),
  id: z.string(),
  name: z.string(),
  input: z.record(z.string(), z.unknown()),
  caller: z.strictObject({ type: z.literal("direct") }),
});
const thinkingBlock = z.strictObject({
  type: z.literal("thinking"),
  thinking: z.string(),
  signature: z.literal("").describe("nothing is signed"),
});
const block = z.discriminatedUnion("type", [textBlock, thinkingBlock, toolUseBlock]);

const usageFields = {
  input_tokens: z.int().min(0).describe("those found in a cache not among them"),
  cache_creation_input_tokens: z.literal(0),
  cache_read_input_tokens: z.int().min(0),
  output_tokens: z.int().min(0),
  output_tokens_details: z.null(),
  server_tool_use: z.null(),
};

const stopFields = {
  stop_details: z.null(),
  stop_reason: z.enum(["end_turn", "max_tokens", "stop_sequence", "tool_use"]).nullable(),
  stop_sequence: z.string().nullable(),
};

const messageFields = {
  id: z.string(),
  type: z.literal("message"),
  role: z.literal("assistant"),
  model: z.string(),
  content: z.array(block),
  container: z.null(),
  diagnostics: z.null(),
  ...stopFields,
  usage: z.strictObject({
    ...usageFields,
    cache_creation: z.null(),
    inference_geo: z.null(),
    service_tier: z.literal("standard"),
    speed: z.null(),
  }),
};

export const messageAnswerSchema = z.strictObject({ ...messageFields, icdpo: explanationSchema });

export const tokenCountSchema = z.strictObject({ input_tokens: z.int().min(0) });

export const messagesErrorSchema = z.strictObject({
  type: z.literal("error"),
  error: z.strictObject({ type: z.string(), message: z.string() }),
  request_id: z.string().nullable(),
});

const index = z.int().min(0);

export const messageEventSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("message_start"), message: z.strictObject(messageFields) }),
  z.strictObject({ type: z.literal("content_block_start"), index, content_block: block }),
  z.strictObject({
    type: z.literal("content_block_delta"),
    index,
    delta: z.discriminatedUnion("type", [
      z.strictObject({ type: z.literal("text_delta"), text: z.string() }),
      z.strictObject({ type: z.literal("thinking_delta"), thinking: z.string() }),
      z.strictObject({ type: z.literal("input_json_delta"), partial_json: z.string() }),
    ]),
  }),
  z.strictObject({ type: z.literal("content_block_stop"), index }),
  z.strictObject({
    type: z.literal("message_delta"),
    delta: z.strictObject({ ...stopFields, container: z.null() }),
    usage: z.strictObject(usageFields),
    icdpo: explanationSchema,
  }),
  z.strictObject({ type: z.literal("message_stop") }),
  z.strictObject({ type: z.literal("ping") }),
  messagesErrorSchema,
]);
