/** @module GET /openapi.json: the API as the server's own schemas describe it. */
import type { Context } from "hono";
import { z } from "zod";
import {
  chatChunkSchema,
  chatCompletionSchema,
  embeddingsSchema,
  errorSchema,
  experimentListSchema,
  experimentSchema,
  healthSchema,
  modelListSchema,
  modelSchema,
  responseEventSchema,
  responseSchema,
  scoreSchema,
  textCompletionSchema,
} from "./answer-schemas.ts";
import { chatBodySchema } from "./chat/chat-request.ts";
import { completionsBodySchema } from "./completions/completion-request.ts";
import { embeddingsBodySchema } from "./endpoints/embeddings.ts";
import { feedbackAnswerSchema, feedbackBodySchema } from "./endpoints/feedback.ts";
import { scoreRequestSchema } from "./endpoints/given-completions.ts";
import { countTokensBodySchema, messagesBodySchema } from "./messages/messages-request.ts";
import { messageAnswerSchema, messageEventSchema, messagesErrorSchema, tokenCountSchema } from "./messages/messages-schemas.ts";
import { responsesBodySchema } from "./responses/responses-request.ts";

export interface Endpoint {
  readonly method: "get" | "post";
  /** As Hono writes it. */
  readonly path: string;
  readonly summary: string;
  readonly request?: z.ZodType;
  /** Absent: text. */
  readonly answer?: z.ZodType;
  /** One event of a streamed answer. */
  readonly event?: z.ZodType;
  /** Whose errors it gives; absent: OpenAI's. */
  readonly words?: "anthropic";
  /** Asked for also where there are no keys, and never for one. */
  readonly isOpen?: boolean;
}

/** Those under /v1 exist under /routes/{route}/v1 as well, where the path names the route instead of `model`. */
export const endpoints: readonly Endpoint[] = [
  {
    method: "post",
    path: "/v1/chat/completions",
    summary: "Answer a conversation",
    request: chatBodySchema,
    answer: chatCompletionSchema,
    event: chatChunkSchema,
  },
  {
    method: "post",
    path: "/v1/responses",
    summary: "Answer a conversation, in OpenAI's newer protocol",
    request: responsesBodySchema,
    answer: responseSchema,
    event: responseEventSchema,
  },
  {
    method: "post",
    path: "/v1/messages",
    summary: "Answer a conversation, in Anthropic's protocol",
    request: messagesBodySchema,
    answer: messageAnswerSchema,
    event: messageEventSchema,
    words: "anthropic",
  },
  {
    method: "post",
    path: "/v1/messages/count_tokens",
    summary: "Count the tokens of a conversation, in Anthropic's protocol",
    request: countTokensBodySchema,
    answer: tokenCountSchema,
    words: "anthropic",
  },
  {
    method: "post",
    path: "/v1/completions",
    summary: "Go on from raw text, on plain routes",
    request: completionsBodySchema,
    answer: textCompletionSchema,
    event: textCompletionSchema,
  },
  { method: "post", path: "/v1/embeddings", summary: "Sentence embeddings", request: embeddingsBodySchema, answer: embeddingsSchema },
  {
    method: "post",
    path: "/v1/score",
    summary: "Log-probability sums, S and Ŝ of given completions",
    request: scoreRequestSchema,
    answer: scoreSchema,
  },
  {
    method: "post",
    path: "/v1/feedback",
    summary: "Say what you think of an answer",
    request: feedbackBodySchema,
    answer: feedbackAnswerSchema,
  },
  { method: "get", path: "/v1/experiments", summary: "The routes with experiments", answer: experimentListSchema },
  { method: "get", path: "/v1/experiments/:id", summary: "What an experiment shows so far", answer: experimentSchema },
  { method: "get", path: "/v1/models", summary: "The routes", answer: modelListSchema },
  { method: "get", path: "/v1/models/:id", summary: "One route", answer: modelSchema },
  { method: "get", path: "/health", summary: "Whether the process lives", answer: healthSchema, isOpen: true },
  { method: "get", path: "/ready", summary: "Whether engine and policies can answer", answer: healthSchema, isOpen: true },
  { method: "get", path: "/metrics", summary: "Metrics in Prometheus's format" },
  { method: "get", path: "/openapi.json", summary: "This document", answer: z.looseObject({ openapi: z.string() }), isOpen: true },
];

const errorStatuses = {
  400: "a field is wrong",
  401: "no key, or a wrong one",
  403: "called by a foreign name, or for who runs the gateway only",
  404: "no such route or path",
  413: "too large",
  415: "not JSON",
  429: "too many requests",
  500: "the gateway failed",
  503: "the engine starts, or the gateway ends",
};

/** Anthropic's statuses, where they are others. */
const anthropicStatuses = { ...errorStatuses, 429: "too many requests of this key", 504: "took too long", 529: "too many requests" };

export function openapi({ version }: { readonly version: string }) {
  const document = describeApi(version);
  return (c: Context): Response => c.json(document);
}

export function describeApi(version: string) {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const endpoint of endpoints) {
    const path = endpoint.path.replace(/:(\w+)/gu, "{$1}");
    paths[path] = { ...paths[path], [endpoint.method]: operation(endpoint) };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "ICDPO gateway",
      version,
      description: "An OpenAI-compatible endpoint whose local model chooses its own best answer under a better model's example.",
    },
    servers: [
      { url: "/" },
      { url: "/routes/{route}", description: "The path names the route", variables: { route: { default: "icdpo" } } },
    ],
    security: [{}, { key: [] }],
    paths,
    components: {
      securitySchemes: { key: { type: "http", scheme: "bearer" } },
      schemas: { Error: jsonSchema(errorSchema, "output"), MessagesError: jsonSchema(messagesErrorSchema, "output") },
      responses: { ...errorResponses("Error", errorStatuses), ...errorResponses("MessagesError", anthropicStatuses) },
    },
  };
}

function operation({ summary, path, request, answer, event, words, isOpen }: Endpoint) {
  const parameters = [...path.matchAll(/:(\w+)/gu)].map(([, name]) => ({ name, in: "path", required: true, schema: { type: "string" } }));
  const route = { name: "x-icdpo-route", in: "header", description: "names the route instead of `model`", schema: { type: "string" } };
  const [kind, statuses] = words === "anthropic" ? ["MessagesError", anthropicStatuses] : ["Error", errorStatuses];
  const errors = Object.keys(statuses).map((status) => [status, { $ref: `#/components/responses/${kind}${status}` }]);
  const content = {
    ...(answer ? { "application/json": { schema: jsonSchema(answer, "output") } } : { "text/plain": { schema: { type: "string" } } }),
    ...(event && { "text/event-stream": { schema: eventSchema(event) } }),
  };
  return {
    summary,
    ...(isOpen && { security: [{}] }),
    parameters: [...parameters, ...(request ? [route] : [])],
    ...(request && { requestBody: { required: true, content: { "application/json": { schema: jsonSchema(request, "input") } } } }),
    responses: {
      200: { description: "the answer", content },
      ...Object.fromEntries(errors),
      ...(path === "/ready" && { 503: { description: "not ready", content } }),
    },
  };
}

/** Of each server-sent event; the last one's data may be [DONE]. */
function eventSchema(event: z.ZodType) {
  const json = { type: "string", contentMediaType: "application/json", contentSchema: jsonSchema(event, "output") };
  return { type: "object", required: ["data"], properties: { event: { type: "string" }, data: { anyOf: [{ const: "[DONE]" }, json] } } };
}

/** `kind` is the schema's name, and begins the responses' names. */
function errorResponses(kind: string, statuses: Readonly<Record<number, string>>) {
  const content = { "application/json": { schema: { $ref: `#/components/schemas/${kind}` } } };
  return Object.fromEntries(Object.entries(statuses).map(([status, description]) => [`${kind}${status}`, { description, content }]));
}

function jsonSchema(schema: z.ZodType, io: "input" | "output"): Record<string, unknown> {
  const { $schema: _, ...described } = z.toJSONSchema(schema, { io, unrepresentable: "any" });
  return described;
}
