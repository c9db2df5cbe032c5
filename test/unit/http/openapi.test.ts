import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import type OpenAI from "openai";
import { describe, expect, expectTypeOf, it } from "vitest";
import type { z } from "zod";
import type {
  chatChunkSchema,
  chatCompletionSchema,
  embeddingsSchema,
  modelSchema,
} from "../../../src/http/answer-schemas.ts";
import { errorSchema } from "../../../src/http/answer-schemas.ts";
import { endpoints } from "../../../src/http/api.ts";
import { genericToolSyntax } from "../../../src/icdpo/tool-prompt.ts";
import { needing } from "../../needs.ts";
import { gateway } from "../scripted-gateway.ts";

const ajv = new Ajv2020({ strict: false });
const question = { messages: [{ role: "user", content: "How do I brew coffee?" }] };
const tool = { type: "function", function: { name: "lookup", parameters: { type: "object", properties: {} } } };
const anthropicTool = { name: "lookup", input_schema: { type: "object", properties: {} } };
const calls = `${genericToolSyntax.opening}{"name": "lookup", "arguments": {}}${genericToolSyntax.closing}`;

interface DescribedAnswer {
  readonly properties?: { readonly data?: { readonly anyOf: readonly { readonly contentSchema?: object }[] } };
}

interface Described {
  readonly paths: Record<
    string,
    Record<
      string,
      { readonly responses: Record<string, { readonly content: Record<string, { readonly schema: DescribedAnswer }> }> }
    >
  >;
}

async function described() {
  const made = await gateway();
  const document = (await (await made.app.request("/openapi.json")).json()) as Described;
  return { ...made, document };
}

describe("the described API", () => {
  it("holds every route of the server, and no other", async () => {
    const { app } = await gateway();
    const served = app.routes
      .filter(({ method }) => method !== "ALL")
      .map(({ method, path }) => `${method.toLowerCase()} ${path}`);
    const twins = served
      .filter((route) => route.includes("/routes/:route"))
      .map((route) => route.replace("/routes/:route", ""));
    // Pages and their forms are for people.
    const pages = [
      "/",
      "/play",
      "/playground.js",
      "/rate",
      "/sign-in",
      "/sign-out",
      "/experiments",
      "/experiments/:route",
      "/policies",
      "/status",
      "/style.css",
      "/icon.svg",
    ];
    const isPage = (route: string): boolean => pages.includes(route.split(" ")[1] ?? "");
    const plain = [...new Set(served.filter((route) => !route.includes("/routes/:route") && !isPage(route)))];
    expect(plain.toSorted()).toEqual(endpoints.map(({ method, path }) => `${method} ${path}`).toSorted());
    expect([...new Set(twins)].toSorted()).toEqual(plain.filter((route) => route.includes(" /v1/")).toSorted());
  });

  it("consists of valid JSON Schemas", async () => {
    const { document } = await described();
    const requests = Object.values(document.paths).flatMap((path) => Object.values(path));
    for (const operation of requests)
      for (const { content } of Object.values(operation.responses).filter((response) => "content" in response))
        for (const { schema } of Object.values(content)) {
          ajv.compile(schema);
          for (const { contentSchema } of schema.properties?.data?.anyOf ?? [])
            if (contentSchema) ajv.compile(contentSchema);
        }
  });
});

const cases: [what: string, path: string, body: Record<string, unknown> | null, text?: string][] = [
  ["a plain answer", "/v1/chat/completions", { model: "plain", ...question }],
  [
    "a scored answer, explained",
    "/v1/chat/completions",
    { model: "icdpo", ...question, n: 2, icdpo: { explain: true } },
  ],
  ["log-probabilities", "/v1/chat/completions", { model: "icdpo", ...question, logprobs: true, top_logprobs: 2 }],
  ["tool calls", "/v1/chat/completions", { model: "plain", ...question, tools: [tool] }, calls],
  [
    "a stream",
    "/v1/chat/completions",
    { model: "plain", ...question, stream: true, logprobs: true, stream_options: { include_usage: true } },
  ],
  ["a scored stream", "/v1/chat/completions", { model: "icdpo", ...question, stream: true, icdpo: { explain: true } }],
  [
    "a stream of tool calls",
    "/v1/chat/completions",
    { model: "plain", ...question, stream: true, tools: [tool] },
    `Wait. ${calls}`,
  ],
  ["a response", "/v1/responses", { model: "icdpo", input: "Tea?", instructions: "a", icdpo: { explain: true } }],
  [
    "a response with calls",
    "/v1/responses",
    { model: "plain", input: "Tea?", tools: [{ type: "function", name: "lookup" }] },
    calls,
  ],
  ["a streamed response", "/v1/responses", { model: "plain", input: "Tea?", stream: true }],
  ["a message", "/v1/messages", { model: "icdpo", ...question, max_tokens: 9, icdpo: { explain: true } }],
  [
    "a message with calls",
    "/v1/messages",
    { model: "plain", ...question, max_tokens: 9, tools: [anthropicTool] },
    calls,
  ],
  [
    "a streamed message",
    "/v1/messages",
    { model: "icdpo", ...question, max_tokens: 9, stream: true, icdpo: { explain: true } },
  ],
  [
    "a streamed message with calls",
    "/v1/messages",
    { model: "plain", ...question, max_tokens: 9, stream: true, tools: [anthropicTool] },
    `Wait. ${calls}`,
  ],
  ["a message's tokens", "/v1/messages/count_tokens", { model: "plain", ...question }],
  ["a completion", "/v1/completions", { model: "plain", prompt: ["a", "b"], logprobs: 2, echo: true }],
  [
    "a streamed completion",
    "/v1/completions",
    { model: "plain", prompt: "a", stream: true, stream_options: { include_usage: true } },
  ],
  ["embeddings", "/v1/embeddings", { model: "icdpo", input: ["a"], encoding_format: "base64" }],
  ["scores", "/v1/score", { model: "icdpo", ...question, completions: ["a", "b"] }],
  ["models", "/v1/models", null],
  ["a model", "/v1/models/icdpo", null],
  ["health", "/health", null],
  ["readiness", "/ready", null],
];

describe("answers are as described", () => {
  it.each(cases)("%s", async (_, path, body, text) => {
    const { document } = await described();
    const { app, post } = await gateway(text === undefined ? {} : { sample: () => ({ text }) });
    const response = body === null ? await app.request(path) : await post(path, body);
    expect(response.status).toBe(200);
    const operation = document.paths[path.replace("/icdpo", "/{id}")]?.[body === null ? "get" : "post"];
    const type = response.headers.get("content-type")?.split(";")[0] as string;
    const { schema } = operation?.responses["200"]?.content[type] ?? {};
    const event = type === "text/event-stream" ? schema?.properties?.data?.anyOf[1]?.contentSchema : undefined;
    const validate = ajv.compile(event ?? schema ?? false);
    const answers = event === undefined ? [await response.json()] : eventsOf(await response.text());
    expect(answers.length).toBeGreaterThan(0);
    for (const answer of answers)
      expect(validate(answer), `${JSON.stringify(answer)}: ${ajv.errorsText(validate.errors)}`).toBe(true);
  });

  it.each([
    ["/v1/chat/completions", {}],
    ["/v1/chat/completions", { model: "none", ...question }],
    ["/v1/responses", { model: "plain", input: "a", background: true }],
    ["/v1/nothing", {}],
  ])("an error of %s", async (path, body) => {
    const { post } = await gateway();
    const response = await post(path, body);
    expect(response.status).toBeGreaterThanOrEqual(400);
    expect(errorSchema.safeParse(await response.json()).success).toBe(true);
  });

  it("and as OpenAI's own client types them", () => {
    type Completion = z.output<typeof chatCompletionSchema>;
    type Other = "choices" | "usage";
    expectTypeOf<Omit<Completion, "icdpo" | Other>>().toExtend<Omit<OpenAI.ChatCompletion, Other>>();
    type Details = "completion_tokens_details";
    expectTypeOf<Omit<Completion["usage"], Details>>().toExtend<Omit<OpenAI.CompletionUsage, Details>>();
    expectTypeOf<
      NonNullable<Completion["usage"][Details]>
    >().toExtend<OpenAI.CompletionUsage.CompletionTokensDetails>();
    expectTypeOf<Omit<Completion["choices"][number], "message">>().toExtend<
      Omit<OpenAI.ChatCompletion.Choice, "message">
    >();
    type Message = Completion["choices"][number]["message"];
    type Calls = "tool_calls" | "function_call";
    expectTypeOf<Omit<Message, Calls>>().toExtend<Omit<OpenAI.ChatCompletionMessage, Calls>>();
    expectTypeOf<NonNullable<Message["function_call"]>>().toExtend<OpenAI.ChatCompletionMessage.FunctionCall>();
    expectTypeOf<NonNullable<Message["tool_calls"]>[number]>().toExtend<OpenAI.ChatCompletionMessageFunctionToolCall>();
    expectTypeOf<z.output<typeof modelSchema>>().toExtend<OpenAI.Model>();
    expectTypeOf<z.output<typeof chatChunkSchema>["choices"][number]["finish_reason"]>().toExtend<
      OpenAI.ChatCompletionChunk.Choice["finish_reason"]
    >();
    expectTypeOf<z.output<typeof embeddingsSchema>["usage"]>().toExtend<OpenAI.CreateEmbeddingResponse.Usage>();
  });
});

/** The JSON of a stream's events. */
function eventsOf(text: string): unknown[] {
  return text
    .split("\n")
    .filter((line) => line.startsWith("data: ") && line !== "data: [DONE]")
    .map((line) => JSON.parse(line.slice(6)));
}

/** It still uses OpenAPI 3.0's `nullable` in places, beside references even. */
function withoutNullable(_: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || !("nullable" in value) || typeof value.nullable !== "boolean")
    return value;
  const { nullable, ...schema } = value;
  return nullable ? { anyOf: [schema, { type: "null" }] } : schema;
}

/** The path of OpenAI's own openapi.json, where it is at hand. */
const specification = process.env["ICDPO_TEST_OPENAI_SPEC"];

describe("answers are as OpenAI's own specification describes them", needing("openai-spec"), () => {
  const openai = new Ajv2020({ strict: false, allErrors: true, validateFormats: false });
  if (specification !== undefined)
    openai.addSchema(JSON.parse(readFileSync(specification, "utf8"), withoutNullable), "openai");
  const check = (schema: string, answer: unknown): void => {
    const validate = openai.getSchema(`openai#/components/schemas/${schema}`);
    if (validate === undefined) throw new Error(`OpenAI describes no ${schema}`);
    expect(validate(answer), `${JSON.stringify(answer)}: ${openai.errorsText(validate.errors)}`).toBe(true);
  };
  const schemas: Readonly<Record<string, readonly [whole: string, event: string]>> = {
    "/v1/chat/completions": ["CreateChatCompletionResponse", "CreateChatCompletionStreamResponse"],
    "/v1/responses": ["Response", "ResponseStreamEvent"],
    "/v1/completions": ["CreateCompletionResponse", "CreateCompletionResponse"],
    "/v1/models": ["ListModelsResponse", ""],
    "/v1/models/icdpo": ["Model", ""],
  };

  // Of completions it describes whole answers only, and not that the prompt's first token has no log-probability.
  const described = cases.filter(
    ([, path, body]) => path in schemas && !(path === "/v1/completions" && (body?.["stream"] || body?.["echo"])),
  );
  it.each(described)("%s", async (_, path, body, text) => {
    const { app, post } = await gateway(text === undefined ? {} : { sample: () => ({ text }) });
    const response = body === null ? await app.request(path) : await post(path, body);
    const [whole, event] = schemas[path] as readonly [string, string];
    if (response.headers.get("content-type")?.startsWith("application/json"))
      return check(whole, await response.json());
    for (const one of eventsOf(await response.text())) check(event, one);
  });
});
