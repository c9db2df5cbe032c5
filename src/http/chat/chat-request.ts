/** @module The body of POST /v1/chat/completions: each field works, has no effect by design, or is refused by name. */
import { z } from "zod";
import type { AnswerFormat, Generation } from "../../gateway/generation.ts";
import {
  biasMap,
  gatewayFields,
  jsonSchemaFormat,
  messagesSchema,
  metadata,
  modelName,
  refuse,
  samplingFields,
  stopStrings,
  toConversation,
  toGatewayFields,
  toStops,
} from "../wire.ts";
import { choiceComplaint, toolChoice, toolList, toTools } from "./chat-tools.ts";

const responseFormat = z.discriminatedUnion("type", [
  z.object({ type: z.literal("text") }),
  z.object({ type: z.literal("json_object") }),
  z.object({ type: z.literal("json_schema"), json_schema: jsonSchemaFormat }),
]);

/** Fields whose effect this gateway does not have. */
const refusals = {
  functions: { reason: "use tools", harmless: [[]] },
  function_call: { reason: "use tool_choice", harmless: ["none", "auto"] },
  audio: { reason: "the model writes text only", harmless: [] },
  modalities: { reason: "the model writes text only", harmless: [["text"]] },
  web_search_options: { reason: "the gateway does not search the web", harmless: [] },
};

export const chatBodySchema = z
  .looseObject({
    model: modelName,
    messages: messagesSchema,
    stream: z.boolean().nullish(),
    stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
    n: z.int().min(1).nullish(),
    ...samplingFields,
    max_tokens: z.int().min(1).nullish(),
    max_completion_tokens: z.int().min(1).nullish(),
    stop: stopStrings,
    logprobs: z.boolean().nullish(),
    top_logprobs: z.int().min(0).max(20).nullish(),
    response_format: responseFormat.nullish(),
    tools: toolList.nullish(),
    tool_choice: toolChoice.nullish(),
    parallel_tool_calls: z.boolean().nullish(),
    metadata,
    ...gatewayFields,
  })
  .superRefine((body, context) => {
    refuse(body, refusals, context);
    const complain = (field: string, message: string) => context.addIssue({ code: "custom", path: [field], message });
    if (body.top_logprobs && !body.logprobs) complain("top_logprobs", "needs logprobs: true");
    const complaint = choiceComplaint(body);
    if (complaint !== undefined) complain("tool_choice", complaint);
  });
export type ChatRequest = z.output<typeof chatBodySchema>;

export function toGeneration(body: ChatRequest): Generation {
  return {
    conversation: toConversation(body.messages),
    sampling: {
      temperature: body.temperature ?? undefined,
      topP: body.top_p ?? undefined,
      presencePenalty: body.presence_penalty ?? undefined,
      frequencyPenalty: body.frequency_penalty ?? undefined,
      logitBias: biasMap(body.logit_bias),
      maxTokens: body.max_completion_tokens ?? body.max_tokens ?? undefined,
      stop: toStops(body.stop),
    },
    ...toGatewayFields(body),
    answers: body.n ?? 1,
    seed: body.seed ?? undefined,
    ...toTools(body),
    parallelToolCalls: body.parallel_tool_calls ?? true,
    format: toFormat(body.response_format),
    topLogprobs: body.logprobs ? (body.top_logprobs ?? 0) : null,
  };
}

function toFormat(format: ChatRequest["response_format"]): AnswerFormat {
  switch (format?.type) {
    case undefined:
    case "text":
      return { type: "text" };
    case "json_object":
      return { type: "json-object" };
    case "json_schema":
      return {
        type: "json-schema",
        schema: format.json_schema.schema ?? { type: "object" },
        path: "response_format.json_schema.schema",
      };
  }
}
