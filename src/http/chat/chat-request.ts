/** @module The body of POST /v1/chat/completions: each field works, has no effect by design, or is refused by name. */
import { z } from "zod";
import type { Generation } from "../../gateway/generation.ts";
import { isRecord } from "../../text/json.ts";
import { checkGuided, guidedFields, toGuidedFormat } from "../guided.ts";
import { samplingFields, stopStrings, toBound, tokenBound, toSampling, toSeed } from "../sampling-fields.ts";
import { hasSchema, responseFormat, toFormat } from "../schema-format.ts";
import { refuseOthers, serverPromptFields, toServerPrompt } from "../server-parameters.ts";
import {
  gatewayFields,
  messagesSchema,
  metadata,
  modelName,
  refuse,
  streamOptions,
  toConversation,
  toGatewayFields,
} from "../wire.ts";
import { choiceComplaint, toolChoice, toolList, toTools } from "./chat-tools.ts";

const topLogprobs = z.int().min(0).max(20);

/** Fields whose effect this gateway does not have. */
const refusals = {
  audio: { reason: "the model writes text only", harmless: [] },
  modalities: { reason: "the model writes text only", harmless: [["text"]] },
  web_search_options: { reason: "the gateway does not search the web", harmless: [] },
};

/** What most requests hold. */
const usualFields = {
  model: modelName,
  messages: messagesSchema,
  stream: z.boolean().nullish(),
  stream_options: streamOptions,
  temperature: samplingFields.temperature,
  top_p: samplingFields.top_p,
  seed: samplingFields.seed,
  max_tokens: tokenBound.nullish(),
  max_completion_tokens: tokenBound.nullish(),
  stop: stopStrings,
};

const fields = {
  ...usualFields,
  n: z.int().min(1).nullish(),
  best_of: z.int().min(1).nullish(),
  ...samplingFields,
  ...serverPromptFields,
  ...guidedFields,
  n_predict: tokenBound.nullish(),
  logprobs: z
    .union([z.boolean(), topLogprobs], "must be true, false, or a number of alternatives from 0 to 20")
    .nullish(),
  top_logprobs: topLogprobs.nullish(),
  response_format: responseFormat.refine(hasSchema, { path: ["json_schema"], error: "must hold a schema" }).nullish(),
  tools: toolList.nullish(),
  tool_choice: toolChoice.nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  metadata,
  ...gatewayFields,
};

export const chatBodySchema = z.looseObject(fields).superRefine((body, context) => {
  refuse(body, refusals, context);
  const complain = (field: string, message: string) => context.addIssue({ code: "custom", path: [field], message });
  refuseOthers(body, context);
  checkGuided(body, toFormat(body.response_format, "response_format"), context);
  if (body.top_logprobs && !wantsLogprobs(body)) complain("top_logprobs", "needs logprobs: true");
  if (body.best_of && body.best_of !== (body.n ?? 1))
    complain("best_of", "must be the same as n: a scored route chooses among candidates");
  const complaint = choiceComplaint(body);
  if (complaint !== undefined) complain("tool_choice", complaint);
});
export type ChatRequest = z.output<typeof chatBodySchema>;

/** zod asks after each field that it knows, though the body has none of it. Nothing is said of these together. */
const usualBodySchema: z.ZodType<ChatRequest> = z.object(usualFields);

/** By which a body is read: it has only the usual fields, or it may have any. */
export function chatSchemaFor(body: unknown): z.ZodType<ChatRequest> {
  const isUsual = isRecord(body) && Object.keys(body).every((field) => Object.hasOwn(usualFields, field));
  return isUsual ? usualBodySchema : chatBodySchema;
}

/** A number of alternatives stands for both fields, as in the older completions. */
function wantsLogprobs({ logprobs }: Pick<ChatRequest, "logprobs">): boolean {
  return typeof logprobs === "number" || logprobs === true;
}

function alternatives({ logprobs }: Pick<ChatRequest, "logprobs">): number {
  return typeof logprobs === "number" ? logprobs : 0;
}

export function toGeneration(body: ChatRequest): Generation {
  return {
    conversation: toConversation(body.messages),
    sampling: toSampling(body, {
      maxTokens: toBound(body.max_completion_tokens, body.max_tokens, body.n_predict),
      stop: body.stop,
    }),
    ...toServerPrompt(body),
    ...toGatewayFields(body),
    answers: body.n ?? 1,
    seed: toSeed(body.seed),
    ...toTools(body),
    parallelToolCalls: body.parallel_tool_calls ?? true,
    format: toGuidedFormat(body) ?? toFormat(body.response_format, "response_format"),
    topLogprobs: wantsLogprobs(body) ? (body.top_logprobs ?? alternatives(body)) : null,
  };
}
