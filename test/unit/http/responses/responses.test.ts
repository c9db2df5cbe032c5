import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { responsesBodySchema } from "../../../../src/http/responses/responses-request.ts";
import { genericToolSyntax } from "../../../../src/icdpo/tool-prompt.ts";
import type { Script } from "../../scripted-engine.ts";
import { gateway, json } from "../../scripted-gateway.ts";

const tool = {
  type: "function" as const,
  name: "lookup",
  parameters: { type: "object", properties: { q: { type: "string" } }, required: ["q"] },
  strict: true,
};
const called = (q: string): string =>
  `${genericToolSyntax.opening}{"name": "lookup", "arguments": {"q": "${q}"}}${genericToolSyntax.closing}`;
const says = (text: string, finish: "stop" | "length" = "stop"): Script => ({ sample: () => ({ text, finish }) });

async function client(script: Script) {
  const { app, ...rest } = await gateway(script);
  const openai = new OpenAI({
    baseURL: "http://localhost/v1",
    apiKey: "none",
    maxRetries: 0,
    fetch: async (url, init) => app.request(String(url), init as RequestInit),
  });
  return { openai, app, ...rest };
}

/** The context of the one sampling call. */
function contextOf(engine: Awaited<ReturnType<typeof gateway>>["engine"]): string {
  return engine.calls.find(({ type }) => type === "sample")?.context ?? "";
}

describe("POST /v1/responses", () => {
  it("answers in OpenAI's shape", async () => {
    const { post } = await gateway(says("Warm the pot."));
    const response = await json(
      await post("/v1/responses", {
        model: "plain",
        input: "How do I brew tea?",
        instructions: "Be brief.",
        metadata: { a: "b" },
      }),
    );
    expect(response).toMatchObject({
      id: expect.stringMatching(/^resp_/u),
      object: "response",
      created_at: 1_700_000_000,
      status: "completed",
      error: null,
      incomplete_details: null,
      instructions: "Be brief.",
      model: "plain",
      store: false,
      previous_response_id: null,
      parallel_tool_calls: true,
      temperature: 1,
      top_p: 0.8,
      text: { format: { type: "text" } },
      tool_choice: "auto",
      tools: [],
      truncation: "disabled",
      metadata: { a: "b" },
      output: [
        {
          id: expect.stringMatching(/^msg_/u),
          type: "message",
          status: "completed",
          role: "assistant",
          content: [{ type: "output_text", text: "Warm the pot.", annotations: [], logprobs: [] }],
        },
      ],
    });
    expect(response.usage).toEqual({
      input_tokens: "<system>Be brief.</system><user>How do I brew tea?</user><assistant>".length,
      input_tokens_details: { cached_tokens: 0, cache_write_tokens: 0 },
      output_tokens: 13,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: response.usage.input_tokens + 13,
    });
  });

  it("says that an answer was cut off", async () => {
    const { post } = await gateway(says("Warm the", "length"));
    const response = await json(await post("/v1/responses", { model: "plain", input: "Tea?", max_output_tokens: 2 }));
    expect(response).toMatchObject({
      status: "incomplete",
      incomplete_details: { reason: "max_output_tokens" },
      output: [{ status: "incomplete" }],
    });
  });

  it("chooses among candidates on a scored route, and explains where that is asked for", async () => {
    const { post } = await gateway();
    const response = await post("/v1/responses", {
      model: "icdpo",
      input: "How do I brew coffee?",
      icdpo: { explain: true },
    });
    expect(response.headers.get("x-icdpo-score")).toBe("10.0000");
    const body = await json(response);
    expect(body.output[0].content[0].text).toBe("Candidate number 1.");
    expect(body.icdpo.candidates).toHaveLength(3);
  });

  it("takes a conversation with calls and their results", async () => {
    const { post, engine } = await gateway(says("Ada."));
    const input = [
      { role: "developer", content: "Be brief." },
      { type: "message", role: "user", content: [{ type: "input_text", text: "Who?" }] },
      { type: "reasoning", id: "rs_1", summary: [] },
      { role: "assistant", content: [{ type: "output_text", text: "Wait.", annotations: [] }] },
      { type: "function_call", call_id: "1", name: "lookup", arguments: '{"q": "a"}' },
      { type: "function_call", call_id: "2", name: "lookup", arguments: '{"q": "b"}' },
      { type: "function_call_output", call_id: "1", output: "Ada" },
      { type: "function_call_output", call_id: "2", output: [{ type: "input_text", text: "Bob" }] },
    ];
    expect((await post("/v1/responses", { model: "plain", input })).status).toBe(200);
    expect(contextOf(engine)).toBe(
      `<system>Be brief.</system><user>Who?</user><assistant>Wait.\n${called("a").replace(genericToolSyntax.closing, "")}${genericToolSyntax.between}{"name": "lookup", "arguments": {"q": "b"}}${genericToolSyntax.closing}</assistant>` +
        "<user><tool_response>\nAda\n</tool_response>\n<tool_response>\nBob\n</tool_response></user><assistant>",
    );
  });

  it.each([
    ["previous_response_id", { previous_response_id: "resp_1" }],
    ["conversation", { conversation: "conv_1" }],
    ["background", { background: true }],
    ["truncation", { truncation: "auto" }],
  ])("refuses %s, saying why", async (param, body) => {
    const { post } = await gateway();
    const response = await post("/v1/responses", { model: "plain", input: "a", ...body });
    expect(response.status).toBe(400);
    expect((await json(response)).error).toMatchObject({ param, code: "unsupported_parameter" });
  });

  it.each([
    ["tools.0", { tools: [{ type: "function" }] }],
    ["input.0.call_id", { input: [{ type: "function_call_output", call_id: "1", output: "a" }] }],
    ["input.0.type", { input: [{ type: "item_reference", id: "1" }] }],
    ["tool_choice", { tool_choice: "required" }],
    [
      "text.format.schema.properties.a",
      { text: { format: { type: "json_schema", name: "a", schema: { properties: { a: 3 } } } } },
    ],
  ])("refuses what is wrong at %s", async (param, body) => {
    const { post } = await gateway();
    const response = await post("/v1/responses", { model: "plain", input: "a", ...body });
    expect(response.status).toBe(400);
    expect((await json(response)).error.param).toBe(param);
  });

  it("holds a wrong item against one kind, which its type tells, and says what there may be", async () => {
    let looks = 0;
    const wrong = {
      role: "nobody",
      get call_id() {
        looks += 1;
        return "1";
      },
    };
    const read = responsesBodySchema.safeParse({ model: "plain", input: [wrong] });
    expect(read.error?.issues[0]?.message).toContain('item 0: role: Invalid option: expected one of "user"');
    expect(looks).toBe(0);
  });
});

describe("the official client", () => {
  it("reads text, and parses JSON by a schema", async () => {
    const { openai } = await client(says('{"tea": 3}'));
    const format = zodTextFormat(z.object({ tea: z.int() }), "tea");
    const response = await openai.responses.parse({ model: "plain", input: "How many?", text: { format } });
    expect(response.output_parsed).toEqual({ tea: 3 });
    expect(response.output_text).toBe('{"tea": 3}');
  });

  it.each(["plain", "icdpo"])("streams text (%s), and puts together what was not streamed otherwise", async (model) => {
    const { openai } = await client({});
    const events: string[] = [];
    let text = "";
    const stream = openai.responses.stream({ model, input: "How do I brew coffee?" });
    for await (const event of stream) {
      expect(event.sequence_number).toBe(events.length);
      events.push(event.type);
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    const final = await stream.finalResponse();
    expect(final.output.flatMap((item) => (item.type === "message" ? item.content : []))).toMatchObject([
      { type: "output_text", text },
    ]);
    expect(final.status).toBe("completed");
    expect(final.usage?.output_tokens).toBe(text.length);
    expect(events.filter((type, i) => type !== events[i - 1])).toEqual([
      "response.created",
      "response.in_progress",
      "response.output_item.added",
      "response.content_part.added",
      "response.output_text.delta",
      "response.output_text.done",
      "response.content_part.done",
      "response.output_item.done",
      "response.completed",
    ]);
  });

  it("streams calls after text", async () => {
    const { openai } = await client(says(`Wait. ${called("tea")}`));
    const stream = openai.responses.stream({ model: "plain", input: "Tea?", tools: [tool] });
    const types = [];
    for await (const event of stream) types.push(event.type);
    const { output } = await stream.finalResponse();
    expect(output.map(({ type }) => type)).toEqual(["message", "function_call"]);
    expect(output[1]).toMatchObject({
      name: "lookup",
      arguments: '{"q": "tea"}',
      status: "completed",
      call_id: expect.stringMatching(/^call_/u),
    });
    expect(types).toContain("response.function_call_arguments.delta");
    expect(types).toContain("response.function_call_arguments.done");
  });

  it("is told what went wrong in the middle of a stream", async () => {
    const { app } = await gateway({ pause: () => Promise.reject(new Error("broken")) });
    const response = await app.request("/v1/responses", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "icdpo", input: "a", stream: true }),
    });
    const text = await response.text();
    expect(text).toContain("event: error");
    expect(text).toContain("event: response.failed");
    expect(text).not.toContain("broken");
  });

  it("gets log-probabilities where it asks for them", async () => {
    const { openai } = await client(says("Hi"));
    const response = await openai.responses.create({
      model: "plain",
      input: "a",
      include: ["message.output_text.logprobs"],
    });
    const [item] = response.output;
    const [part] = item?.type === "message" ? item.content : [];
    expect(part).toMatchObject({ logprobs: [{ token: "H", bytes: [72], top_logprobs: [] }, { token: "i" }] });
  });
});
