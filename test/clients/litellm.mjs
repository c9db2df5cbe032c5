/** @module LiteLLM as a proxy before the gateway, with the configuration of its page; asked by OpenAI's and Anthropic's clients. */
import { spawn } from "node:child_process";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import {
  assert,
  assertFruit,
  assertWeather,
  blocksIn,
  eventually,
  question,
  runFeatures,
  said,
  schema,
  weather,
  weatherQuestion,
} from "./harness.mjs";

const { HOME: home } = process.env;
const apiKey = "sk-a-master-key-for-the-client-checks";
const port = 30_000 + (process.pid % 10_000);
const [block] = blocksIn("sh");
const proxy = spawn(
  "bash",
  ["-euc", block.replace("--port 4000", `--port ${port}`).replace("\nlitellm", "\nexec litellm")],
  {
    cwd: home,
    env: {
      ...process.env,
      LITELLM_MASTER_KEY: apiKey,
      LITELLM_LOCAL_MODEL_COST_MAP: "True",
      LITELLM_TELEMETRY: "False",
      NO_DOCS: "True",
    },
  },
);
let log = "";
for (const stream of [proxy.stdout, proxy.stderr])
  stream.on("data", (text) => {
    log = (log + text).slice(-3000);
  });
process.on("exit", () => proxy.kill("SIGKILL"));
const url = `http://127.0.0.1:${port}`;
await eventually(
  () =>
    fetch(`${url}/health/liveliness`).then(
      ({ ok }) => ok || undefined,
      () => undefined,
    ),
  { what: "The proxy" },
).catch((error) => assert(false, `${error.message}: ${log}`));
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: url, apiKey, maxRetries: 0 });
const plain = { model: "plain", messages: question, max_tokens: 12 };
const tools = {
  messages: weatherQuestion,
  tools: [{ type: "function", function: weather }],
  tool_choice: "required",
  max_tokens: 150,
};
const fruit = {
  response_format: { type: "json_schema", json_schema: { name: "fruit", strict: true, schema } },
  max_tokens: 100,
};
const chat = async (body) => (await client.chat.completions.create({ ...plain, ...body })).choices[0];

async function streamed(body) {
  let text = "";
  let usage;
  const options = { stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await client.chat.completions.create({ ...plain, ...body, ...options })) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  return { text, usage };
}

const version = /Version = (\S+)|LiteLLM: Current Version = (\S+)/u
  .exec(await said("litellm", ["--version"]))
  ?.slice(1)
  .find(Boolean);
await runFeatures(`LiteLLM ${version}`, {
  models: async () =>
    assert(
      (await client.models.list()).data.some(({ id }) => id === "plain"),
      "No route",
    ),
  chat: async () => assert((await chat({})).message.content, "No text"),
  scored: async () => assert((await chat({ model: "icdpo" })).message.content, "No text"),
  stream: async () => assert((await streamed({})).text, "No text"),
  "scored stream": async () => assert((await streamed({ model: "icdpo" })).text, "No text"),
  usage: async () => assert((await streamed({})).usage.completion_tokens > 0, "No usage"),
  "JSON schema": async () => assertFruit(JSON.parse((await chat(fruit)).message.content)),
  tools: async () => assertWeather(JSON.parse((await chat(tools)).message.tool_calls[0].function.arguments)),
  "tools stream": async () => {
    const { choices } = await client.chat.completions.stream({ ...plain, ...tools }).finalChatCompletion();
    assertWeather(JSON.parse(choices[0].message.tool_calls[0].function.arguments));
  },
  embeddings: async () =>
    assert(
      (await client.embeddings.create({ model: "embeddings", input: "fruit" })).data[0].embedding.length === 384,
      "Not 384 numbers",
    ),
  completions: async () =>
    assert(
      (await client.completions.create({ model: "plain-text", prompt: "A fruit is", max_tokens: 5 })).choices[0].text,
      "No text",
    ),
  responses: async () =>
    assert(
      (await client.responses.create({ model: "plain", input: "Name a fruit.", max_output_tokens: 12 })).output_text,
      "No text",
    ),
  "responses stream": async () => {
    let text = "";
    const stream = await client.responses.create({
      model: "plain",
      input: "Name a fruit.",
      max_output_tokens: 12,
      stream: true,
    });
    for await (const event of stream) if (event.type === "response.output_text.delta") text += event.delta;
    assert(text, "No text");
  },
  "Anthropic's messages": async () => {
    const { content } = await anthropic.messages.create(plain);
    assert(
      content.some(({ text }) => text),
      "No text",
    );
  },
  "who asks": async () => assert((await chat({ user: "alice" })).message.content, "No text"),
  errors: async () => {
    const error = await chat({ temperature: 9 }).catch((error) => error);
    assert(error.status === 400 && error.message.includes("temperature"), `Not a 400 of temperature: ${error}`);
  },
});
proxy.kill("SIGTERM");
process.exit();
