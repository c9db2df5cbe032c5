/** @module OpenAI's own client for Node. */
import OpenAI, { AuthenticationError, BadRequestError, NotFoundError } from "openai";
import { VERSION } from "openai/version";
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

const { ICDPO_URL: url, ICDPO_KEY: apiKey } = process.env;
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
const plain = { model: "plain", messages: question, max_tokens: 12 };
const scored = { model: "icdpo", messages: question, max_tokens: 12 };
const fruit = {
  response_format: { type: "json_schema", json_schema: { name: "fruit", strict: true, schema } },
  max_tokens: 100,
};
const tools = {
  tools: [{ type: "function", function: weather }],
  tool_choice: "required",
  messages: weatherQuestion,
  max_tokens: 150,
};
const flatTools = {
  tools: [{ type: "function", strict: true, ...weather }],
  tool_choice: "required",
  max_output_tokens: 150,
};

async function streamed(body) {
  let text = "";
  let usage;
  for await (const chunk of await client.chat.completions.create({
    ...body,
    stream: true,
    stream_options: { include_usage: true },
  })) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  return { text, usage };
}

async function failure(work) {
  return work.then(
    () => assert(false, "No error came"),
    (error) => error,
  );
}

await runFeatures(`openai (Node) ${VERSION}`, {
  models: async () =>
    assert(
      (await client.models.list()).data.some(({ id }) => id === "plain"),
      "No route",
    ),
  chat: async () => assert((await client.chat.completions.create(plain)).choices[0].message.content, "No text"),
  scored: async () => assert((await client.chat.completions.create(scored)).choices[0].message.content, "No text"),
  stream: async () => assert((await streamed(plain)).text, "No text"),
  "scored stream": async () => assert((await streamed(scored)).text, "No text"),
  usage: async () => assert((await streamed(plain)).usage.completion_tokens > 0, "No usage"),
  "n, stop, seed": async () => {
    const body = { ...plain, n: 2, stop: ["."], seed: 7 };
    const [one, two] = [await client.chat.completions.create(body), await client.chat.completions.create(body)];
    assert(one.choices.length === 2 && !one.choices[0].message.content.includes("."), "Not two, or not stopped");
    assert(one.choices[1].message.content === two.choices[1].message.content, "Another answer");
  },
  "JSON schema": async () =>
    assertFruit(JSON.parse((await client.chat.completions.create({ ...plain, ...fruit })).choices[0].message.content)),
  "JSON schema stream": async () => assertFruit(JSON.parse((await streamed({ ...plain, ...fruit })).text)),
  tools: async () => {
    const [call] = (await client.chat.completions.create({ ...plain, ...tools })).choices[0].message.tool_calls;
    assertWeather(JSON.parse(call.function.arguments));
  },
  "tools stream": async () => {
    const final = await client.chat.completions.stream({ ...plain, ...tools }).finalChatCompletion();
    assertWeather(JSON.parse(final.choices[0].message.tool_calls[0].function.arguments));
    assert(final.choices[0].finish_reason === "tool_calls", "Ended otherwise");
  },
  "tool result": async () => {
    const { message } = (await client.chat.completions.create({ ...plain, ...tools })).choices[0];
    const results = message.tool_calls.map(({ id }) => ({ role: "tool", tool_call_id: id, content: "19 degrees" }));
    const { choices } = await client.chat.completions.create({
      ...plain,
      messages: [...weatherQuestion, message, ...results],
      tools: tools.tools,
      tool_choice: "none",
    });
    assert(choices[0].message.content, "No text");
  },
  logprobs: async () => {
    const { choices } = await client.chat.completions.create({ ...plain, logprobs: true, top_logprobs: 2 });
    assert(
      choices[0].logprobs.content.map(({ token }) => token).join("") === choices[0].message.content,
      "Other tokens",
    );
  },
  embeddings: async () =>
    assert(
      (await client.embeddings.create({ model: "plain", input: "fruit" })).data[0].embedding.length === 384,
      "Not 384 numbers",
    ),
  completions: async () =>
    assert(
      (await client.completions.create({ model: "plain", prompt: "A fruit is", max_tokens: 5 })).choices[0].text,
      "No text",
    ),
  responses: async () =>
    assert(
      (await client.responses.create({ model: "icdpo", input: "Name a fruit.", max_output_tokens: 12 })).output_text,
      "No text",
    ),
  "responses stream": async () => {
    const types = [];
    for await (const { type } of client.responses.stream({
      model: "plain",
      input: "Name a fruit.",
      max_output_tokens: 12,
    }))
      types.push(type);
    assert(types.includes("response.output_text.delta") && /completed|incomplete/u.test(types.at(-1)), types.join());
  },
  "responses tools": async () => {
    const { output } = await client.responses.create({ model: "plain", input: weatherQuestion, ...flatTools });
    assertWeather(JSON.parse(output.find(({ type }) => type === "function_call").arguments));
  },
  "responses JSON": async () => {
    const text = { format: { type: "json_schema", name: "fruit", strict: true, schema } };
    assertFruit(
      JSON.parse(
        (await client.responses.create({ model: "plain", input: "Name a fruit.", text, max_output_tokens: 100 }))
          .output_text,
      ),
    );
  },
  errors: async () => {
    assert(
      (await failure(client.chat.completions.create({ ...plain, model: "none" }))) instanceof NotFoundError,
      "Not a NotFoundError",
    );
    const bad = await failure(client.chat.completions.create({ ...plain, temperature: 9 }));
    assert(bad instanceof BadRequestError && bad.param === "temperature", "Not a BadRequestError of temperature");
    const stranger = new OpenAI({ baseURL: `${url}/v1`, apiKey: "wrong", maxRetries: 0 });
    assert((await failure(stranger.models.list())) instanceof AuthenticationError, "Not an AuthenticationError");
  },
  abort: async () => {
    const stream = await client.chat.completions.create({ ...plain, max_tokens: 200, stream: true });
    for await (const _ of stream) stream.controller.abort();
  },
});
