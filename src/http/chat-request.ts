/** @module The body of POST /v1/chat/completions: each field works, has no effect by design, or is refused by name. */
import { z } from "zod";
import type { SamplingParameters } from "../engine/engine.ts";
import type { IcdpoRequest } from "../icdpo/pipeline.ts";
import type { ResolvedRoute } from "../policy/resolve.ts";
import type { PolicySettings } from "../policy/schema.ts";
import { GatewayError } from "../types/error.ts";
import { messagesSchema } from "./wire.ts";

const maxStops = 4;

const chatRequestSchema = z.object({
  model: z.string(),
  messages: messagesSchema,
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
  n: z.int().min(1).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  max_tokens: z.int().min(1).nullish(),
  max_completion_tokens: z.int().min(1).nullish(),
  stop: z
    .union(
      [z.string().min(1), z.array(z.string().min(1)).max(maxStops)],
      `must be a string or up to ${maxStops} strings, none of them empty`,
    )
    .nullish(),
  seed: z.int().nullish(),
  user: z.string().nullish(),
  icdpo: z.object({ explain: z.boolean().nullish() }).nullish(),
});
export type ChatRequest = z.output<typeof chatRequestSchema>;

/** One request, once everything about it is known. */
export interface ChatCall {
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  readonly body: ChatRequest;
  readonly resolved: ResolvedRoute;
  readonly request: IcdpoRequest;
  /** Candidates compete: nothing can be shown before the choice. */
  readonly chooses: boolean;
}

/** Fields with an effect that this gateway does not have yet; each with the values that ask for nothing. */
const refusals: Readonly<Record<string, (value: unknown) => boolean>> = {
  tools: isEmptyArray,
  tool_choice: (value) => value === "none" || value === "auto",
  functions: isEmptyArray,
  function_call: (value) => value === "none" || value === "auto",
  response_format: (value) => typeof value === "object" && value !== null && "type" in value && value.type === "text",
  logprobs: (value) => value === false,
  top_logprobs: (value) => value === 0,
  logit_bias: (value) => typeof value === "object" && value !== null && Object.keys(value).length === 0,
  presence_penalty: (value) => value === 0,
  frequency_penalty: (value) => value === 0,
  audio: () => false,
  modalities: (value) => Array.isArray(value) && value.every((modality) => modality === "text"),
  web_search_options: () => false,
};

function isEmptyArray(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

/** Throws "unsupported_parameter" for the first field that would silently have no effect. */
export const chatBodySchema = z
  .looseObject({})
  .transform((body) => {
    for (const [field, asksForNothing] of Object.entries(refusals)) {
      const value = body[field];
      if (value !== undefined && value !== null && !asksForNothing(value))
        throw new GatewayError("unsupported_parameter", `'${field}' is not supported by this gateway yet; leave it out.`, { param: field });
    }
    return body;
  })
  .pipe(chatRequestSchema);

/** The client's own parameters win over the policy's. */
export function samplingOf(request: ChatRequest, defaults: PolicySettings["sampling"]): SamplingParameters {
  return {
    temperature: request.temperature ?? defaults.temperature,
    topP: request.top_p ?? defaults.top_p,
    topK: defaults.top_k,
    maxTokens: request.max_completion_tokens ?? request.max_tokens ?? defaults.max_tokens,
    stop: typeof request.stop === "string" ? [request.stop] : (request.stop ?? []),
  };
}
