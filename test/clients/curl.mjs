/** @module curl, as the README shows it. */
import { execFileSync } from "node:child_process";
import {
  assert,
  assertFruit,
  assertWeather,
  question,
  runFeatures,
  schema,
  weather,
  weatherQuestion,
} from "./harness.mjs";

const { ICDPO_URL: url, ICDPO_KEY: key } = process.env;
const [, version] = execFileSync("curl", ["--version"]).toString().split(" ");

function curl(path, body, ...options) {
  const data = body === null ? [] : ["-H", "content-type: application/json", "-d", JSON.stringify(body)];
  return execFileSync("curl", [
    "-sS",
    `${url}${path}`,
    "-H",
    `authorization: Bearer ${key}`,
    ...data,
    ...options,
  ]).toString();
}

const chat = (body) =>
  JSON.parse(curl("/v1/chat/completions", { model: "plain", messages: question, max_tokens: 12, ...body })).choices[0];
const stream = (path, body, ...options) =>
  curl(path, { model: "plain", max_tokens: 12, stream: true, ...body }, "-N", ...options);
const tools = {
  messages: weatherQuestion,
  tools: [{ type: "function", function: weather }],
  tool_choice: "required",
  max_tokens: 150,
};
const fruit = { response_format: { type: "json_schema", json_schema: { name: "fruit", schema } }, max_tokens: 100 };

/** The events of a stream, their data read as JSON. */
const events = (text) =>
  text
    .split("\n")
    .filter((line) => line.startsWith("data: {"))
    .map((line) => JSON.parse(line.slice(6)));
const deltas = (text) => events(text).flatMap(({ choices }) => choices.map(({ delta }) => delta));
const response = (body) => JSON.parse(curl("/v1/responses", { model: "plain", ...body })).output;

await runFeatures(`curl ${version}`, {
  models: () => assert(JSON.parse(curl("/v1/models", null)).data.length > 0, "No route"),
  chat: () => assert(chat({}).message.content, "No text"),
  scored: () => assert(chat({ model: "icdpo" }).message.content, "No text"),
  stream: () =>
    assert(stream("/v1/chat/completions", { messages: question }).endsWith("data: [DONE]\n\n"), "Not whole"),
  "scored stream": () =>
    assert(
      stream("/v1/chat/completions", { messages: question, model: "icdpo" }).endsWith("data: [DONE]\n\n"),
      "Not whole",
    ),
  usage: () =>
    assert(
      stream("/v1/chat/completions", { messages: question, stream_options: { include_usage: true } }).includes(
        '"completion_tokens":',
      ),
      "None",
    ),
  "JSON schema": () => assertFruit(JSON.parse(chat(fruit).message.content)),
  "n, stop, seed": () => {
    const body = { model: "plain", messages: question, max_tokens: 12, n: 2, stop: ".", seed: 7 };
    const [one, two] = [curl("/v1/chat/completions", body), curl("/v1/chat/completions", body)].map(
      (text) => JSON.parse(text).choices,
    );
    assert(one.length === 2 && !one[0].message.content.includes("."), "Not two, or not stopped");
    assert(one[1].message.content === two[1].message.content, "Another answer");
  },
  "JSON schema stream": () => {
    const said = deltas(stream("/v1/chat/completions", { messages: question, ...fruit }));
    assertFruit(JSON.parse(said.map(({ content }) => content ?? "").join("")));
  },
  "tools stream": () => {
    const calls = deltas(stream("/v1/chat/completions", tools)).flatMap(({ tool_calls }) => tool_calls ?? []);
    assertWeather(JSON.parse(calls.map((call) => (call.index === 0 ? call.function.arguments : "")).join("")));
  },
  "tool result": () => {
    const { message } = chat(tools);
    const results = message.tool_calls.map(({ id }) => ({ role: "tool", tool_call_id: id, content: "19 degrees" }));
    assert(chat({ messages: [...weatherQuestion, message, ...results] }).message.content, "No text");
  },
  tools: () => assertWeather(JSON.parse(chat(tools).message.tool_calls[0].function.arguments)),
  logprobs: () => assert(chat({ logprobs: true }).logprobs.content.length > 0, "None"),
  embeddings: () =>
    assert(
      JSON.parse(curl("/v1/embeddings", { model: "plain", input: "fruit" })).data[0].embedding.length === 384,
      "Not 384 numbers",
    ),
  completions: () =>
    assert(JSON.parse(curl("/v1/completions", { model: "plain", prompt: "A fruit is" })).choices[0].text, "No text"),
  responses: () =>
    assert(
      JSON.parse(curl("/v1/responses", { model: "icdpo", input: "Name a fruit.", max_output_tokens: 12 })).output
        .length > 0,
      "No output",
    ),
  "responses stream": () =>
    assert(
      stream("/v1/responses", { input: "Name a fruit.", max_output_tokens: 12 }).includes(
        "event: response.output_text.done",
      ),
      "Not whole",
    ),
  "responses tools": () => {
    const output = response({
      input: weatherQuestion,
      tools: [{ type: "function", ...weather }],
      tool_choice: "required",
      max_output_tokens: 150,
    });
    assertWeather(JSON.parse(output.find(({ type }) => type === "function_call").arguments));
  },
  "responses JSON": () => {
    const output = response({
      input: "Name a fruit.",
      text: { format: { type: "json_schema", name: "fruit", schema } },
      max_output_tokens: 100,
    });
    assertFruit(JSON.parse(output[0].content[0].text));
  },
  abort: () => {
    try {
      stream("/v1/chat/completions", { messages: question, max_tokens: 500 }, "--max-time", "0.3");
    } catch (error) {
      assert(error.status === 28, `It ended otherwise: ${error.status}`);
    }
  },
  errors: () =>
    assert(
      JSON.parse(curl("/v1/chat/completions", { model: "none", messages: question })).error.code === "model_not_found",
      "No error",
    ),
});
