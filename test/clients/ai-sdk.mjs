/** @module Vercel's AI SDK, with its provider for compatible servers and its own for OpenAI (the Responses API). */
import { readFileSync } from "node:fs";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, generateText, jsonSchema, Output, streamText, tool } from "ai";
import { assert, assertFruit, assertWeather, runFeatures, schema, weather, weatherQuestion } from "./harness.mjs";

const { ICDPO_URL: url, ICDPO_KEY: apiKey } = process.env;
const compatible = createOpenAICompatible({
  name: "icdpo",
  baseURL: `${url}/v1`,
  apiKey,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey });
const { version } = JSON.parse(readFileSync(new URL("./node_modules/ai/package.json", import.meta.url), "utf8"));

const ask = { prompt: "Name a fruit.", maxOutputTokens: 12, maxRetries: 0 };
const fruit = { ...ask, maxOutputTokens: 100, output: Output.object({ schema: jsonSchema(schema) }) };
const call = {
  messages: weatherQuestion,
  maxOutputTokens: 150,
  maxRetries: 0,
  tools: { get_weather: tool({ description: weather.description, inputSchema: jsonSchema(weather.parameters) }) },
  toolChoice: "required",
};

async function text(stream) {
  let all = "";
  for await (const piece of stream.textStream) all += piece;
  return all;
}

await runFeatures(`AI SDK ${version}`, {
  chat: async () => assert((await generateText({ ...ask, model: compatible("plain") })).text, "No text"),
  scored: async () => assert((await generateText({ ...ask, model: compatible("icdpo") })).text, "No text"),
  stream: async () => assert(await text(streamText({ ...ask, model: compatible("plain") })), "No text"),
  "scored stream": async () => assert(await text(streamText({ ...ask, model: compatible("icdpo") })), "No text"),
  usage: async () => {
    const stream = streamText({ ...ask, model: compatible("plain") });
    await text(stream);
    assert((await stream.usage).outputTokens > 0, "No usage");
  },
  "n, stop, seed": async () => {
    const body = { ...ask, model: compatible("plain"), stopSequences: ["."], seed: 7 };
    const [one, two] = [await generateText(body), await generateText(body)];
    assert(!one.text.includes(".") && one.text === two.text, "Not stopped, or another answer");
  },
  "JSON schema": async () => assertFruit((await generateText({ ...fruit, model: compatible("plain") })).output),
  "JSON schema stream": async () => {
    const stream = streamText({ ...fruit, model: compatible("plain") });
    await text(stream);
    assertFruit(await stream.output);
  },
  tools: async () => assertWeather((await generateText({ ...call, model: compatible("plain") })).toolCalls[0].input),
  "tools stream": async () => {
    const stream = streamText({ ...call, model: compatible("plain") });
    await stream.consumeStream();
    assertWeather((await stream.toolCalls)[0].input);
  },
  "tool result": async () => {
    const { response, toolCalls } = await generateText({ ...call, model: compatible("plain") });
    const results = toolCalls.map(({ toolCallId, toolName }) => ({
      type: "tool-result",
      toolCallId,
      toolName,
      output: { type: "text", value: "19 degrees" },
    }));
    const messages = [...weatherQuestion, ...response.messages, { role: "tool", content: results }];
    assert(
      (await generateText({ ...call, messages, toolChoice: "none", maxOutputTokens: 12, model: compatible("plain") }))
        .text,
      "No text",
    );
  },
  embeddings: async () =>
    assert(
      (await embed({ model: compatible.textEmbeddingModel("plain"), value: "fruit" })).embedding.length === 384,
      "Not 384 numbers",
    ),
  completions: async () =>
    assert((await generateText({ ...ask, model: compatible.completionModel("plain") })).text, "No text"),
  responses: async () => assert((await generateText({ ...ask, model: openai.responses("icdpo") })).text, "No text"),
  "responses stream": async () =>
    assert(await text(streamText({ ...ask, model: openai.responses("plain") })), "No text"),
  "responses tools": async () =>
    assertWeather((await generateText({ ...call, model: openai.responses("plain") })).toolCalls[0].input),
  "responses JSON": async () =>
    assertFruit((await generateText({ ...fruit, model: openai.responses("plain") })).output),
  errors: async () => {
    const error = await generateText({ ...ask, model: compatible("none") }).catch((error) => error);
    assert(error.statusCode === 404, `Not a 404: ${error}`);
  },
  abort: async () => {
    const controller = new AbortController();
    const stream = streamText({
      ...ask,
      maxOutputTokens: 200,
      model: compatible("plain"),
      abortSignal: controller.signal,
      onError: () => {},
    });
    for await (const _ of stream.textStream) controller.abort();
  },
});
