/** @module LangChain for JavaScript. */
import { readFileSync } from "node:fs";
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { ChatOpenAI, OpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { assert, assertFruit, assertWeather, runFeatures, schema, weather } from "./harness.mjs";

const { ICDPO_URL: url, ICDPO_KEY: apiKey } = process.env;
const { version } = JSON.parse(
  readFileSync(new URL("./node_modules/@langchain/openai/package.json", import.meta.url), "utf8"),
);
const common = { apiKey, maxRetries: 0, configuration: { baseURL: `${url}/v1` } };
const chat = (model, options = {}) => new ChatOpenAI({ model, maxTokens: 12, ...common, ...options });
const tools = [{ type: "function", function: weather }];
const ask = "Name a fruit.";
const question = new HumanMessage("How warm is it in Paris? Use celsius.");

async function text(stream) {
  let all = "";
  for await (const chunk of await stream) all += chunk.text;
  return all;
}

async function whole(stream) {
  let all;
  for await (const chunk of await stream) all = all === undefined ? chunk : all.concat(chunk);
  return all;
}

await runFeatures(`LangChain (JS) ${version}`, {
  chat: async () => assert((await chat("plain").invoke(ask)).text, "No text"),
  scored: async () => assert((await chat("icdpo").invoke(ask)).text, "No text"),
  stream: async () => assert(await text(chat("plain").stream(ask)), "No text"),
  "scored stream": async () => assert(await text(chat("icdpo").stream(ask)), "No text"),
  usage: async () => assert((await whole(chat("plain").stream(ask))).usage_metadata.output_tokens > 0, "No usage"),
  "n, stop, seed": async () => {
    const options = { stop: ["."], seed: 7 };
    const [one, two] = [await chat("plain").invoke(ask, options), await chat("plain").invoke(ask, options)];
    assert(!one.text.includes(".") && one.text === two.text, "Not stopped, or another answer");
  },
  "JSON schema": async () =>
    assertFruit(
      await chat("plain", { maxTokens: 100 })
        .withStructuredOutput(schema, { name: "fruit", method: "jsonSchema", strict: true })
        .invoke(ask),
    ),
  "JSON schema stream": async () => {
    let last;
    for await (const part of await chat("plain", { maxTokens: 100 })
      .withStructuredOutput(schema, { name: "fruit", method: "jsonSchema" })
      .stream(ask))
      last = part;
    assertFruit(last);
  },
  tools: async () =>
    assertWeather(
      (await chat("plain", { maxTokens: 150 }).bindTools(tools, { tool_choice: "required" }).invoke([question]))
        .tool_calls[0].args,
    ),
  "tools stream": async () =>
    assertWeather(
      (await whole(chat("plain", { maxTokens: 150 }).bindTools(tools, { tool_choice: "required" }).stream([question])))
        .tool_calls[0].args,
    ),
  "tool result": async () => {
    const answer = await chat("plain", { maxTokens: 150 })
      .bindTools(tools, { tool_choice: "required" })
      .invoke([question]);
    const results = answer.tool_calls.map(({ id }) => new ToolMessage({ tool_call_id: id, content: "19 degrees" }));
    assert((await chat("plain").invoke([question, answer, ...results])).text, "No text");
  },
  logprobs: async () =>
    assert(
      (await chat("plain", { logprobs: true, topLogprobs: 2 }).invoke(ask)).response_metadata.logprobs.content.length >
        0,
      "None",
    ),
  embeddings: async () =>
    assert(
      (await new OpenAIEmbeddings({ model: "plain", ...common }).embedQuery("fruit")).length === 384,
      "Not 384 numbers",
    ),
  completions: async () =>
    assert(await new OpenAI({ model: "plain", maxTokens: 5, ...common }).invoke("A fruit is"), "No text"),
  responses: async () => assert((await chat("icdpo", { useResponsesApi: true }).invoke(ask)).text, "No text"),
  "responses stream": async () => assert(await text(chat("plain", { useResponsesApi: true }).stream(ask)), "No text"),
  // With the Responses API it sends no "required" (as of 1.5), but a function's name.
  "responses tools": async () =>
    assertWeather(
      (
        await chat("plain", { useResponsesApi: true, maxTokens: 150 })
          .bindTools(tools, { tool_choice: "get_weather" })
          .invoke([question])
      ).tool_calls[0].args,
    ),
  "responses JSON": async () =>
    assertFruit(
      await chat("plain", { maxTokens: 100, useResponsesApi: true })
        .withStructuredOutput(schema, { name: "fruit", method: "jsonSchema", strict: true })
        .invoke(ask),
    ),
  abort: async () => {
    const controller = new AbortController();
    const stream = await chat("plain", { maxTokens: 200 }).stream(ask, { signal: controller.signal });
    const left = await (async () => {
      for await (const _ of stream) controller.abort();
    })().catch((error) => error);
    assert(/abort/iu.test(String(left)), `It was not left: ${left}`);
  },
  errors: async () => {
    const error = await chat("none")
      .invoke(ask)
      .catch((error) => error);
    assert(error.status === 404, `Not a 404: ${error}`);
  },
});
