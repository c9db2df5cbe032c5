/** @module The endpoints: what is served, described and documented is made from this table. */
import type { Context } from "hono";
import { z } from "zod";
import type { AppDependencies } from "../gateway/dependencies.ts";
import { metrics } from "../gateway/observation.ts";
import {
  chatChunkSchema,
  chatCompletionSchema,
  embeddingsSchema,
  experimentListSchema,
  experimentSchema,
  healthSchema,
  modelListSchema,
  modelSchema,
  scoreSchema,
  textCompletionSchema,
} from "./answer-schemas.ts";
import { chatBodySchema } from "./chat/chat-request.ts";
import { chatCompletions } from "./chat/index.ts";
import { completionsBodySchema } from "./completions/completion-request.ts";
import { completions } from "./completions/index.ts";
import { embeddings, embeddingsBodySchema } from "./endpoints/embeddings.ts";
import { getExperiment, listExperiments } from "./endpoints/experiments.ts";
import { feedback, feedbackAnswerSchema, feedbackBodySchema } from "./endpoints/feedback.ts";
import { score, scoreRequestSchema } from "./endpoints/given-completions.ts";
import { health, ready } from "./endpoints/health.ts";
import { getModel, listModels } from "./endpoints/models.ts";
import { countTokens, messages } from "./messages/index.ts";
import { countTokensBodySchema, messagesBodySchema } from "./messages/messages-request.ts";
import { messageAnswerSchema, messageEventSchema, tokenCountSchema } from "./messages/messages-schemas.ts";
import { describeApi } from "./openapi.ts";
import { responses } from "./responses/index.ts";
import { responsesBodySchema } from "./responses/responses-request.ts";
import { responseEventSchema, responseSchema } from "./responses/responses-schemas.ts";

export interface Endpoint {
  readonly method: "get" | "post";
  /** As Hono writes it. */
  readonly path: string;
  readonly summary: string;
  readonly handler: (dependencies: AppDependencies) => (c: Context) => Response | Promise<Response>;
  readonly request?: z.ZodType;
  /** Absent: text. */
  readonly answer?: z.ZodType;
  /** One event of a streamed answer. */
  readonly event?: z.ZodType;
  /** Whose errors it gives; absent: OpenAI's. */
  readonly words?: "anthropic";
  /** It works on the model or the embedder: a long body is refused unread while there is no place for its request. */
  readonly needsRoom?: boolean;
  /** Outside of /v1, where a key is always asked for: who may have it. "everybody": without a key. */
  readonly access?: "everybody" | "admins";
}

/** Those under /v1 exist under /routes/{route}/v1 as well, where the path names the route instead of `model`. */
export const endpoints: readonly Endpoint[] = [
  {
    method: "post",
    path: "/v1/chat/completions",
    summary: "Answer a conversation",
    handler: chatCompletions,
    needsRoom: true,
    request: chatBodySchema,
    answer: chatCompletionSchema,
    event: chatChunkSchema,
  },
  {
    method: "post",
    path: "/v1/responses",
    summary: "Answer a conversation, in OpenAI's newer protocol",
    handler: responses,
    needsRoom: true,
    request: responsesBodySchema,
    answer: responseSchema,
    event: responseEventSchema,
  },
  {
    method: "post",
    path: "/v1/messages",
    summary: "Answer a conversation, in Anthropic's protocol",
    handler: messages,
    needsRoom: true,
    request: messagesBodySchema,
    answer: messageAnswerSchema,
    event: messageEventSchema,
    words: "anthropic",
  },
  {
    method: "post",
    path: "/v1/messages/count_tokens",
    summary: "Count the tokens of a conversation, in Anthropic's protocol",
    handler: countTokens,
    needsRoom: true,
    request: countTokensBodySchema,
    answer: tokenCountSchema,
    words: "anthropic",
  },
  {
    method: "post",
    path: "/v1/completions",
    summary: "Go on from raw text, on plain routes",
    handler: completions,
    needsRoom: true,
    request: completionsBodySchema,
    answer: textCompletionSchema,
    event: textCompletionSchema,
  },
  {
    method: "post",
    path: "/v1/embeddings",
    summary: "Sentence embeddings",
    handler: embeddings,
    needsRoom: true,
    request: embeddingsBodySchema,
    answer: embeddingsSchema,
  },
  {
    method: "post",
    path: "/v1/score",
    summary: "Log-probability sums, S and Ŝ of given completions",
    handler: score,
    needsRoom: true,
    request: scoreRequestSchema,
    answer: scoreSchema,
  },
  {
    method: "post",
    path: "/v1/feedback",
    summary: "Say what you think of an answer",
    handler: feedback,
    request: feedbackBodySchema,
    answer: feedbackAnswerSchema,
  },
  {
    method: "get",
    path: "/v1/experiments",
    summary: "The routes with experiments",
    handler: listExperiments,
    answer: experimentListSchema,
  },
  {
    method: "get",
    path: "/v1/experiments/:id",
    summary: "What an experiment shows so far",
    handler: getExperiment,
    answer: experimentSchema,
  },
  { method: "get", path: "/v1/models", summary: "The routes", handler: listModels, answer: modelListSchema },
  { method: "get", path: "/v1/models/:id", summary: "One route", handler: getModel, answer: modelSchema },
  {
    method: "get",
    path: "/health",
    summary: "Whether the process lives",
    handler: health,
    answer: healthSchema,
    access: "everybody",
  },
  {
    method: "get",
    path: "/ready",
    summary: "Whether engine and policies can answer",
    handler: ready,
    answer: healthSchema,
    access: "everybody",
  },
  { method: "get", path: "/metrics", summary: "Metrics in Prometheus's format", handler: metrics, access: "admins" },
  {
    method: "get",
    path: "/openapi.json",
    summary: "This document",
    handler: openapi,
    answer: z.looseObject({ openapi: z.string() }),
    access: "everybody",
  },
];

/** Made when it is first asked for. */
function openapi({ version }: AppDependencies) {
  let document: ReturnType<typeof describeApi> | undefined;
  return (c: Context): Response => {
    document ??= describeApi(version, endpoints);
    return c.json(document);
  };
}
