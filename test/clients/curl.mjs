/** @module curl, as the README shows it. */
import { execFileSync } from "node:child_process";
import { assert, assertFruit, assertWeather, question, runFeatures, schema, weather, weatherQuestion } from "./harness.mjs";

const { ICDPO_URL: url, ICDPO_KEY: key } = process.env;
const [, version] = execFileSync("curl", ["--version"]).toString().split(" ");

function curl(path, body, ...options) {
  const data = body === null ? [] : ["-H", "content-type: application/json", "-d", JSON.stringify(body)];
  return execFileSync("curl", ["-sS", `${url}${path}`, "-H", `authorization: Bearer ${key}`, ...data, ...options]).toString();
}

const chat = (body) => JSON.parse(curl("/v1/chat/completions", { model: "plain", messages: question, max_tokens: 12, ...body })).choices[0];
const stream = (path, body) => curl(path, { model: "plain", max_tokens: 12, stream: true, ...body }, "-N");
const tools = { messages: weatherQuestion, tools: [{ type: "function", function: weather }], tool_choice: "required", max_tokens: 150 };
const fruit = { response_format: { type: "json_schema", json_schema: { name: "fruit", schema } }, max_tokens: 100 };

await runFeatures(`curl ${version}`, {
  models: () => assert(JSON.parse(curl("/v1/models", null)).data.length > 0, "No route"),
  chat: () => assert(chat({}).message.content, "No text"),
  scored: () => assert(chat({ model: "icdpo" }).message.content, "No text"),
  stream: () => assert(stream("/v1/chat/completions", { messages: question }).endsWith("data: [DONE]\n\n"), "Not whole"),
  "scored stream": () =>
    assert(stream("/v1/chat/completions", { messages: question, model: "icdpo" }).endsWith("data: [DONE]\n\n"), "Not whole"),
  usage: () =>
    assert(
      stream("/v1/chat/completions", { messages: question, stream_options: { include_usage: true } }).includes('"completion_tokens":'),
      "None",
    ),
  "JSON schema": () => assertFruit(JSON.parse(chat(fruit).message.content)),
  tools: () => assertWeather(JSON.parse(chat(tools).message.tool_calls[0].function.arguments)),
  logprobs: () => assert(chat({ logprobs: true }).logprobs.content.length > 0, "None"),
  embeddings: () =>
    assert(JSON.parse(curl("/v1/embeddings", { model: "plain", input: "fruit" })).data[0].embedding.length === 384, "Not 384 numbers"),
  completions: () => assert(JSON.parse(curl("/v1/completions", { model: "plain", prompt: "A fruit is" })).choices[0].text, "No text"),
  responses: () =>
    assert(
      JSON.parse(curl("/v1/responses", { model: "icdpo", input: "Name a fruit.", max_output_tokens: 12 })).output.length > 0,
      "No output",
    ),
  "responses stream": () =>
    assert(
      stream("/v1/responses", { input: "Name a fruit.", max_output_tokens: 12 }).includes("event: response.output_text.done"),
      "Not whole",
    ),
  errors: () =>
    assert(JSON.parse(curl("/v1/chat/completions", { model: "none", messages: question })).error.code === "model_not_found", "No error"),
});
