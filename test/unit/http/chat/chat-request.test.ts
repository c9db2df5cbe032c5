import { describe, expect, it } from "vitest";
import { chatBodySchema, chatSchemaFor } from "../../../../src/http/chat/chat-request.ts";

const messages = [{ role: "user", content: "Hello" }];

describe("A body of usual fields", () => {
  it.each<[string, Record<string, unknown>]>([
    ["the least", { model: "plain", messages }],
    ["all of them", { model: "plain", messages, stream: true, stream_options: { include_usage: true }, max_tokens: 9 }],
    ["nulls", { model: "plain", messages, stream: null, temperature: null, top_p: null, seed: null, stop: null }],
    ["no model", { messages }],
    ["no messages", { model: "plain" }],
    ["a wrong temperature", { model: "plain", messages, temperature: 3 }],
    ["a wrong bound", { model: "plain", messages, max_completion_tokens: 0 }],
    ["a wrong stop", { model: "plain", messages, stop: 5 }],
    ["wrong messages", { model: "plain", messages: [{ role: "nobody", content: 5 }] }],
  ])("is read as by the whole schema: %s", (_, body) => {
    expect(chatSchemaFor(body)).not.toBe(chatBodySchema);
    expect(chatSchemaFor(body).safeParse(body)).toEqual(chatBodySchema.safeParse(body));
  });

  it.each<[string, unknown]>([
    ["a field of OpenAI's", { model: "plain", messages, n: 2 }],
    ["a field of another server's", { model: "plain", messages, typical_p: 0.5 }],
    ["an unknown field", { model: "plain", messages, session_id: "s" }],
    ["an inherited name", JSON.parse('{ "model": "plain", "__proto__": {}, "toString": 1 }')],
    ["no object", ["model", "messages"]],
    ["nothing", null],
  ])("is none that holds %s", (_, body) => {
    expect(chatSchemaFor(body)).toBe(chatBodySchema);
  });
});
