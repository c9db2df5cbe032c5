/** @module Anthropic's own client for Node. */
import { readFileSync } from "node:fs";
import Anthropic, { AuthenticationError, BadRequestError, NotFoundError } from "@anthropic-ai/sdk";
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

const { version } = JSON.parse(readFileSync(new URL("node_modules/@anthropic-ai/sdk/package.json", import.meta.url)));
const { ICDPO_URL: baseURL, ICDPO_KEY: apiKey } = process.env;
const client = new Anthropic({ baseURL, apiKey, authToken: null, maxRetries: 0 });
const plain = { model: "plain", messages: question, max_tokens: 12 };
const scored = { ...plain, model: "icdpo" };
const { name, description, parameters: input_schema } = weather;
const tools = {
  tools: [{ name, description, input_schema }],
  tool_choice: { type: "any" },
  messages: weatherQuestion,
  max_tokens: 150,
};
const fruit = { output_config: { format: { type: "json_schema", schema } }, max_tokens: 100 };

function textOf({ content }) {
  return content.flatMap((block) => (block.type === "text" ? [block.text] : [])).join("");
}

/** The calls of a message that ends in them. */
function callsOf({ content, stop_reason: reason }) {
  assert(reason === "tool_use", `Ended otherwise: ${reason}`);
  const calls = content.filter(({ type }) => type === "tool_use");
  for (const { input } of calls) assertWeather(input);
  return calls;
}

async function streamed(body) {
  let text = "";
  const stream = client.messages.stream(body).on("text", (piece) => {
    text += piece;
  });
  const message = await stream.finalMessage();
  assert(text === textOf(message), "Other text than in the final message");
  return message;
}

async function failure(work) {
  return work.then(
    () => assert(false, "No error came"),
    (error) => error,
  );
}

await runFeatures(`anthropic (Node) ${version}`, {
  models: async () => {
    const ids = [];
    for await (const { id } of client.models.list()) ids.push(id);
    assert(ids.includes("plain"), "No route");
  },
  chat: async () => assert(textOf(await client.messages.create({ ...plain, system: "Be brief." })), "No text"),
  scored: async () => assert(textOf(await client.messages.create(scored)), "No text"),
  stream: async () => assert(textOf(await streamed(plain)), "No text"),
  "scored stream": async () => assert(textOf(await streamed(scored)), "No text"),
  usage: async () => {
    const { usage } = await streamed(plain);
    const { input_tokens: counted } = await client.messages.countTokens({ model: "plain", messages: question });
    assert(
      usage.input_tokens + usage.cache_read_input_tokens === counted,
      `Counted ${counted}, used ${JSON.stringify(usage)}`,
    );
    assert(usage.output_tokens > 0, "No usage");
  },
  "stop sequence": async () => {
    const body = { ...plain, max_tokens: 100, temperature: 0, stop_sequences: ["a", "e"] };
    const message = await client.messages.create(body);
    assert(
      message.stop_reason === "stop_sequence" && body.stop_sequences.includes(message.stop_sequence),
      "Not stopped",
    );
    assert(!/[ae]/u.test(textOf(message)), "Not cut");
  },
  "JSON schema": async () => assertFruit(JSON.parse(textOf(await client.messages.create({ ...plain, ...fruit })))),
  "JSON schema stream": async () => assertFruit(JSON.parse(textOf(await streamed({ ...plain, ...fruit })))),
  tools: async () => assert(callsOf(await client.messages.create({ ...plain, ...tools })).length > 0, "No call"),
  "tools stream": async () => assert(callsOf(await streamed({ ...plain, ...tools })).length > 0, "No call"),
  "tool result": async () => {
    const { content } = await client.messages.create({ ...plain, ...tools });
    const results = content
      .filter(({ type }) => type === "tool_use")
      .map(({ id }, i) => ({
        type: "tool_result",
        tool_use_id: id,
        content: i === 0 ? "19 degrees" : [{ type: "text", text: "19" }],
      }));
    const messages = [...weatherQuestion, { role: "assistant", content }, { role: "user", content: results }];
    assert(
      textOf(await client.messages.create({ ...plain, ...tools, messages, tool_choice: { type: "none" } })),
      "No text",
    );
  },
  "beta messages": async () => {
    const thinking = { type: "enabled", budget_tokens: 1024 };
    const body = {
      ...plain,
      thinking,
      max_tokens: 2000,
      stop_sequences: ["."],
      betas: ["interleaved-thinking-2025-05-14"],
    };
    const { data, response } = await client.beta.messages.create(body).withResponse();
    assert(
      data.content.every(({ type }) => type === "text"),
      "Something else than text",
    );
    assert(response.headers.get("x-icdpo-ignored") === "thinking", "Nothing said of thinking");
  },
  errors: async () => {
    assert(
      (await failure(client.messages.create({ ...plain, model: "none" }))) instanceof NotFoundError,
      "Not a NotFoundError",
    );
    const bad = await failure(client.messages.create({ ...plain, temperature: 9 }));
    assert(bad instanceof BadRequestError && bad.type === "invalid_request_error", "Not a BadRequestError");
    assert(bad.message.includes("temperature") && bad.requestID?.startsWith("req_"), "No reason, or no id");
    const stranger = new Anthropic({ baseURL, apiKey: "wrong", authToken: null, maxRetries: 0 });
    const denied = await failure(stranger.messages.create(plain));
    assert(
      denied instanceof AuthenticationError && denied.type === "authentication_error",
      "Not an AuthenticationError",
    );
    const bearer = new Anthropic({ baseURL, apiKey: null, authToken: apiKey, maxRetries: 0 });
    assert(textOf(await bearer.messages.create(plain)), "No text for a bearer");
  },
  abort: async () => {
    const stream = await client.messages.create({ ...plain, max_tokens: 200, stream: true });
    for await (const _ of stream) stream.controller.abort();
  },
});
