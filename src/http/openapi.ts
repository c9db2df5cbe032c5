/** @module The API described, in OpenAPI's words, by the server's own table of endpoints and their schemas. */
import { z } from "zod";
import { errorSchema } from "./answer-schemas.ts";
import type { Endpoint } from "./api.ts";
import { messagesErrorSchema } from "./messages/messages-schemas.ts";

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
const anthropicStatuses = {
  ...errorStatuses,
  429: "too many requests of this key",
  504: "took too long",
  529: "too many requests",
};

/** An OpenAPI 3.1 document, as JSON. */
export function describeApi(version: string, endpoints: readonly Endpoint[]) {
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
      description:
        "An OpenAI-compatible endpoint whose local model chooses its own best answer under a better model's example.",
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

function operation({ summary, path, request, answer, event, words, access }: Endpoint) {
  const parameters = [...path.matchAll(/:(\w+)/gu)].map(([, name]) => ({
    name,
    in: "path",
    required: true,
    schema: { type: "string" },
  }));
  const route = {
    name: "x-icdpo-route",
    in: "header",
    description: "names the route instead of `model`",
    schema: { type: "string" },
  };
  const [kind, statuses] = words === "anthropic" ? ["MessagesError", anthropicStatuses] : ["Error", errorStatuses];
  const errors = Object.keys(statuses).map((status) => [status, { $ref: `#/components/responses/${kind}${status}` }]);
  const content = {
    ...(answer
      ? { "application/json": { schema: jsonSchema(answer, "output") } }
      : { "text/plain": { schema: { type: "string" } } }),
    ...(event && { "text/event-stream": { schema: eventSchema(event) } }),
  };
  return {
    summary,
    ...(access === "everybody" && { security: [{}] }),
    parameters: [...parameters, ...(request ? [route] : [])],
    ...(request && {
      requestBody: { required: true, content: { "application/json": { schema: jsonSchema(request, "input") } } },
    }),
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
  return {
    type: "object",
    required: ["data"],
    properties: { event: { type: "string" }, data: { anyOf: [{ const: "[DONE]" }, json] } },
  };
}

/** `kind` is the schema's name, and begins the responses' names. */
function errorResponses(kind: string, statuses: Readonly<Record<number, string>>) {
  const content = { "application/json": { schema: { $ref: `#/components/schemas/${kind}` } } };
  return Object.fromEntries(
    Object.entries(statuses).map(([status, description]) => [`${kind}${status}`, { description, content }]),
  );
}

function jsonSchema(schema: z.ZodType, io: "input" | "output"): Record<string, unknown> {
  const { $schema: _, ...described } = z.toJSONSchema(schema, { io, unrepresentable: "any" });
  return described;
}
