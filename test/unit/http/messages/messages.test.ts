import { describe, expect, it } from "vitest";
import { parseKeys } from "../../../../src/access/api-keys.ts";
import type { RequestFacts } from "../../../../src/gateway/observation.ts";
import { genericToolSyntax } from "../../../../src/icdpo/tool-prompt.ts";
import { type ErrorCode, GatewayError } from "../../../../src/types/error.ts";
import type { Script } from "../../scripted-engine.ts";
import { type GatewayOptions, gateway, json, SilentObserver } from "../../scripted-gateway.ts";

const tool = {
  name: "lookup",
  description: "Looks a word up.",
  input_schema: { type: "object", properties: { q: { type: "string" } }, required: ["q"] },
};
const called = (...words: string[]): string =>
  genericToolSyntax.opening +
  words.map((q) => `{"name": "lookup", "arguments": {"q": "${q}"}}`).join(genericToolSyntax.between) +
  genericToolSyntax.closing;
const says = (text: string, finish: "stop" | "length" = "stop"): Script => ({ sample: () => ({ text, finish }) });
const question = { model: "plain", max_tokens: 99, messages: [{ role: "user", content: "How do I brew tea?" }] };

async function open(script: Script = {}, dependencies: GatewayOptions = {}) {
  const { post, engine, ...rest } = await gateway(script, dependencies);
  const ask = (body: Record<string, unknown>, headers?: Record<string, string>) =>
    post("/v1/messages", { ...question, ...body }, headers);
  /** What the model reads. */
  const read = async (body: Record<string, unknown>): Promise<string> => {
    const response = await ask(body);
    expect(await response.text().then((text) => (response.ok ? "" : text))).toBe("");
    return engine.calls.find(({ type }) => type === "sample")?.context ?? "";
  };
  return { post, ask, read, engine, ...rest };
}

interface Event {
  readonly event: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever JSON came back
  readonly data: any;
}

/** A stream's events, pings apart; nothing but events may come. */
async function eventsOf(response: Response): Promise<Event[]> {
  expect(response.headers.get("content-type")).toMatch(/^text\/event-stream/u);
  const parts = (await response.text()).split("\n\n").filter((part) => part !== "");
  const events = parts.map((part) => {
    const [, event = "", data = ""] = /^event: (.*)\ndata: (.*)$/u.exec(part) ?? [];
    return { event, data: JSON.parse(data) };
  });
  for (const { event, data } of events) expect(data.type).toBe(event);
  expect(events[0]?.event).not.toBe("ping");
  return events.filter(({ event }) => event !== "ping");
}

describe("POST /v1/messages", () => {
  it("answers in Anthropic's shape", async () => {
    const { ask } = await open(says("Warm the pot."));
    const response = await ask({ system: "Be brief." });
    expect(response.status).toBe(200);
    expect(response.headers.get("request-id")).toMatch(/^req_/u);
    expect(response.headers.get("request-id")).toBe(response.headers.get("x-request-id"));
    expect(response.headers.get("x-icdpo-route")).toBe("plain");
    expect(response.headers.get("x-icdpo-tokens")).toContain("sampled=13");
    expect(await json(response)).toEqual({
      id: expect.stringMatching(/^msg_/u),
      type: "message",
      role: "assistant",
      model: "plain",
      content: [{ type: "text", text: "Warm the pot.", citations: null }],
      container: null,
      diagnostics: null,
      stop_details: null,
      stop_reason: "end_turn",
      stop_sequence: null,
      usage: {
        input_tokens: "<system>Be brief.</system><user>How do I brew tea?</user><assistant>".length,
        cache_creation_input_tokens: 0,
        cache_read_input_tokens: 0,
        cache_creation: null,
        output_tokens: 13,
        output_tokens_details: null,
        inference_geo: null,
        server_tool_use: null,
        service_tier: "standard",
        speed: null,
      },
    });
  });

  it("chooses among candidates on a scored route, and explains where that is asked for", async () => {
    const { ask } = await open();
    const response = await ask({ model: "icdpo", icdpo: { explain: true } });
    expect(response.headers.get("x-icdpo-score")).toBe("10.0000");
    expect(response.headers.get("x-icdpo-candidates")).toBe("3");
    const body = await json(response);
    expect(body.content[0].text).toBe("Candidate number 1.");
    expect(body.icdpo.candidates).toHaveLength(3);
    expect(body.usage).toMatchObject({
      input_tokens: "<user>How do I brew tea?</user><assistant>".length,
      cache_read_input_tokens: 0,
    });
  });

  it("is found below a route's own address as well, in the same words", async () => {
    const { post } = await open(says("Hi."));
    expect(
      (await json(await post("/routes/plain/v1/messages", { ...question, model: "claude-sonnet-4-5" }))).content[0]
        .text,
    ).toBe("Hi.");
    expect(await json(await post("/routes/none/v1/messages", question))).toMatchObject({
      type: "error",
      error: { type: "not_found_error" },
    });
    expect(await json(await post("/v1/messages/batches", question))).toMatchObject({
      type: "error",
      error: { type: "not_found_error" },
    });
  });

  it("tells what of the prompt was found in a cache, where that is C⁰", async () => {
    const prompt = "<user>How do I brew tea?</user><assistant>".length;
    const plain = await open({ cached: () => 30 });
    expect((await json(await plain.ask({}))).usage).toMatchObject({
      input_tokens: prompt - 30,
      cache_read_input_tokens: 30,
    });
    const scored = await open({ cached: () => 30 });
    expect((await json(await scored.ask({ model: "icdpo" }))).usage).toMatchObject({
      input_tokens: prompt,
      cache_read_input_tokens: 0,
    });
    const [, streamed] = (await eventsOf(await (await open({ cached: () => 30 })).ask({ stream: true }))).slice(-3);
    expect(streamed?.data.usage).toMatchObject({ input_tokens: prompt - 30, cache_read_input_tokens: 30 });
  });

  it("hands sampling parameters to the engine", async () => {
    const { ask, engine } = await open();
    await ask({ temperature: 0.3, top_p: 0.6, top_k: 7, max_tokens: 12, stop_sequences: ["a", "b"] });
    expect(engine.calls[0]).toMatchObject({
      request: { temperature: 0.3, topP: 0.6, topK: 7, maxTokens: 12, stop: ["a", "b"] },
    });
  });

  it("keeps to a schema", async () => {
    const schema = { type: "object", properties: { n: { type: "integer" } }, required: ["n"] };
    for (const body of [
      { output_config: { format: { type: "json_schema", schema } } },
      { output_format: { type: "json_schema", schema } },
    ]) {
      const { ask, engine } = await open(says('{"n": 1}'));
      const response = await ask(body);
      expect(response.headers.get("x-icdpo-ignored")).toBeNull();
      expect(engine.calls[0]).toMatchObject({ request: { grammar: expect.stringContaining("root ::=") } });
    }
  });
});

describe("why an answer ends", () => {
  it.each([
    ["end_turn", null, says("Hi. Ho."), {}],
    ["max_tokens", null, says("Hi. Ho.", "length"), {}],
    ["stop_sequence", ".", says("Hi. Ho."), { stop_sequences: ["?", "."] }],
    ["end_turn", null, says("Hi. Ho."), { stop_sequences: ["?"] }],
    ["tool_use", null, says(called("tea")), { tools: [tool] }],
    ["max_tokens", null, says(called("tea").slice(0, 50), "length"), { tools: [tool] }],
  ])("%s %s", async (stop_reason, stop_sequence, script, body) => {
    const whole = await json(await (await open(script)).ask(body));
    expect(whole).toMatchObject({ stop_reason, stop_sequence });
    const events = await eventsOf(await (await open(script)).ask({ ...body, stream: true }));
    expect(events.at(-2)).toMatchObject({ event: "message_delta", data: { delta: { stop_reason, stop_sequence } } });
  });

  it("names a stop sequence also where the answer was chosen among several, or block by block", async () => {
    const scored = await open({ sample: (index) => ({ text: `Candidate number ${index}. More.` }) });
    expect(await json(await scored.ask({ model: "icdpo", stop_sequences: ["."] }))).toMatchObject({
      stop_reason: "stop_sequence",
      stop_sequence: ".",
    });
    const blocks = `candidates: 2\ninstructions: {}\nscore: { type: contrast, negative: rejected }\nblock: { tokens: 4 }\n`;
    const { post } = await gateway({ sample: () => ({ text: "a.bc", finish: "length" }) }, {}, { blocks });
    const answer = await json(
      await post("/v1/messages", { ...question, model: "blocks", stop_sequences: ["!", ".b"] }),
    );
    expect(answer).toMatchObject({ content: [{ text: "a" }], stop_reason: "stop_sequence", stop_sequence: ".b" });
  });

  it("never names a marker of the policy's own prompt format", async () => {
    const { post } = await gateway(
      says("Hi.\n\nHuman: Ho."),
      {},
      { raw: "candidates: 1\nscore: { type: none }\nprompt: hh-rlhf\n" },
    );
    const answer = await json(await post("/v1/messages", { ...question, model: "raw" }));
    expect(answer).toMatchObject({ content: [{ text: "Hi." }], stop_reason: "end_turn", stop_sequence: null });
  });
});

describe("what the model reads", () => {
  it("is the system's text and the turns, strings or blocks", async () => {
    const { read } = await open();
    const context = await read({
      system: [
        { type: "text", text: "x-anthropic-billing-header: cc_version=2.1; cch=0a1b2;" },
        { type: "text", text: "You are a cook.", cache_control: { type: "ephemeral" } },
        { type: "text", text: "Be brief." },
      ],
      messages: [
        { role: "user", content: [{ type: "text", text: "Hello." }] },
        {
          role: "assistant",
          content: [
            { type: "text", text: "Hi. ", citations: null },
            { type: "text", text: "What?" },
          ],
        },
        {
          role: "user",
          content: [
            {
              type: "document",
              title: "Tea",
              source: { type: "text", media_type: "text/plain", data: "Warm the pot." },
            },
            { type: "text", text: "Why?" },
          ],
        },
      ],
    });
    expect(context).toBe(
      "<system>You are a cook.\n\nBe brief.</system><user>Hello.</user><assistant>Hi. What?</assistant><user>Tea\nWarm the pot.\n\nWhy?</user><assistant>",
    );
  });

  it("holds calls and their results before what the user says to them", async () => {
    const { read } = await open();
    const context = await read({
      tools: [],
      messages: [
        { role: "user", content: "Who?" },
        {
          role: "assistant",
          content: [
            { type: "thinking", thinking: "Hm.", signature: "s" },
            { type: "redacted_thinking", data: "d" },
            { type: "text", text: "Wait." },
            { type: "tool_use", id: "1", name: "lookup", input: { q: "a" }, caller: { type: "direct" } },
            { type: "tool_use", id: "2", name: "lookup", input: { q: "b" } },
          ],
        },
        {
          role: "user",
          content: [
            { type: "text", text: "Well?" },
            { type: "tool_result", tool_use_id: "1", content: "Ada" },
            {
              type: "tool_result",
              tool_use_id: "2",
              is_error: true,
              content: [
                { type: "text", text: "No" },
                { type: "text", text: "Bob" },
              ],
            },
          ],
        },
      ],
    });
    const { opening, between, closing } = genericToolSyntax;
    expect(context).toBe(
      `<user>Who?</user><assistant>Wait.\n${opening}{"name": "lookup", "arguments": {"q":"a"}}${between}{"name": "lookup", "arguments": {"q":"b"}}${closing}</assistant>` +
        "<user><tool_response>\nAda\n</tool_response>\n<tool_response>\nError: No\n\nBob\n</tool_response></user><user>Well?</user><assistant>",
    );
  });

  it("has one turn where one speaker has several in a row, and none where nothing is said", async () => {
    const { read } = await open();
    const context = await read({
      messages: [
        { role: "user", content: "One." },
        { role: "user", content: [{ type: "text", text: "Two." }] },
        { role: "assistant", content: [{ type: "thinking", thinking: "Hm.", signature: "s" }] },
        { role: "user", content: "Three." },
        { role: "system", content: "Hurry." },
      ],
    });
    expect(context).toBe("<user>One.\n\nTwo.\n\nThree.</user><system>Hurry.</system><assistant>");
  });

  it("lists tools, unless none may be called", async () => {
    expect(await (await open()).read({ tools: [tool] })).toContain("Looks a word up.");
    expect(await (await open()).read({ tools: [tool], tool_choice: { type: "none" } })).not.toContain(
      "Looks a word up.",
    );
  });

  it("leaves tools out that the model cannot know, and says so", async () => {
    const { ask, engine } = await open();
    const others = [
      { type: "web_search_20250305", name: "web_search" },
      { type: "bash_20250124", name: "bash" },
      { type: "é", name: "odd" },
    ];
    const response = await ask({ tools: [...others, tool] });
    expect(response.headers.get("x-icdpo-tools")).toBe("left-out; web_search_20250305, bash_20250124");
    expect(engine.calls[0]?.context).toContain("lookup");
    expect(engine.calls[0]?.context).not.toContain("web_search");
  });
});

describe("tools", () => {
  it("are called with their input as JSON", async () => {
    const body = await json(
      await (await open(says(`Wait. ${called("tea", "pot")}`))).ask({ tools: [{ ...tool, type: "custom" }] }),
    );
    const block = {
      type: "tool_use",
      id: expect.stringMatching(/^[\w-]+$/u),
      name: "lookup",
      caller: { type: "direct" },
    };
    expect(body.content).toEqual([
      { type: "text", text: "Wait.", citations: null },
      { ...block, input: { q: "tea" } },
      { ...block, input: { q: "pot" } },
    ]);
    expect(body.content[1].id).not.toBe(body.content[2].id);
  });

  it("have no input where the call was cut off", async () => {
    const whole = called("a long story");
    const body = await json(
      await (await open(says(whole.slice(0, whole.indexOf("story")), "length"))).ask({ tools: [tool] }),
    );
    expect(body).toMatchObject({
      stop_reason: "max_tokens",
      content: [{ type: "tool_use", name: "lookup", input: {} }],
    });
  });

  const grammarOf = async (body: Record<string, unknown>): Promise<string> => {
    const { ask, engine } = await open();
    expect((await ask(body)).status).toBe(200);
    const [call] = engine.calls;
    return (call?.type === "sample" && call.request.grammar) || "";
  };

  it("must be called, or one at a time, where tool_choice says so", async () => {
    const tools = [tool, { ...tool, name: "other" }];
    const auto = await grammarOf({ tools });
    expect(await grammarOf({ tools, tool_choice: { type: "auto" } })).toBe(auto);
    const any = await grammarOf({ tools, tool_choice: { type: "any" } });
    expect(any).not.toBe(auto);
    expect(any).toContain("other");
    expect(await grammarOf({ tools, tool_choice: { type: "tool", name: "lookup" } })).not.toContain("other");
    expect(await grammarOf({ tools, tool_choice: { type: "any", disable_parallel_tool_use: true } })).not.toBe(any);
    expect(await grammarOf({ tools, tool_choice: { type: "auto", disable_parallel_tool_use: true } })).not.toBe(auto);
  });

  it("may have names of 128 characters", async () => {
    const name = "mcp__".padEnd(128, "x");
    expect(await grammarOf({ tools: [{ ...tool, name }] })).toContain(name);
  });
});

describe("what has no effect", () => {
  it.each([
    ["thinking", { thinking: { type: "enabled", budget_tokens: 1024 } }],
    ["thinking", { thinking: { type: "adaptive" } }],
    [null, { thinking: { type: "disabled" } }],
    ["context_management", { context_management: { edits: [{ type: "clear_thinking_20251015", keep: "all" }] } }],
    ["output_config.effort", { output_config: { effort: "high" } }],
    [
      "thinking, output_config.effort, speed",
      { thinking: { type: "adaptive" }, output_config: { effort: "high" }, speed: "fast" },
    ],
    [
      null,
      {
        metadata: { user_id: "ada" },
        service_tier: "auto",
        cache_control: { type: "ephemeral" },
        context_management: null,
      },
    ],
    [null, { "ü\r\n": 1 }],
  ])("is named in a header: %s", async (ignored, body) => {
    const response = await (await open(says("Hi."))).ask(body, {
      "anthropic-beta": "a-2025-01-01",
      "anthropic-version": "2023-06-01",
    });
    expect(response.status).toBe(200);
    expect(response.headers.get("x-icdpo-ignored")).toBe(ignored);
    expect((await json(response)).content).toEqual([{ type: "text", text: "Hi.", citations: null }]);
  });

  it("is named in a header of bounded length", async () => {
    const many = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`field_${i}`, 1]));
    const response = await (await open()).ask(many);
    expect(response.status).toBe(200);
    expect(response.headers.get("x-icdpo-ignored")?.split(", ")).toHaveLength(16);
  });
});

describe("a streamed message", () => {
  it.each(["plain", "icdpo"])("comes event by event: %s", async (model) => {
    const response = await (await open()).ask({ model, stream: true });
    expect(response.headers.get("request-id")).toMatch(/^req_/u);
    const events = await eventsOf(response);
    const types = events.map(({ event }) => event);
    expect(types.filter((type, i) => type !== types[i - 1])).toEqual([
      "message_start",
      "content_block_start",
      "content_block_delta",
      "content_block_stop",
      "message_delta",
      "message_stop",
    ]);
    const prompt = "<user>How do I brew tea?</user><assistant>".length;
    expect(events[0]?.data.message).toMatchObject({
      type: "message",
      role: "assistant",
      model,
      content: [],
      stop_reason: null,
      usage: { input_tokens: prompt, output_tokens: 0 },
    });
    expect(events[1]?.data).toEqual({
      type: "content_block_start",
      index: 0,
      content_block: { type: "text", text: "", citations: null },
    });
    const deltas = events.filter(({ event }) => event === "content_block_delta");
    expect(deltas.length).toBeGreaterThan(0);
    for (const { data } of deltas) expect(data).toMatchObject({ index: 0, delta: { type: "text_delta" } });
    const text = deltas.map(({ data }) => data.delta.text).join("");
    expect(text).toBe(model === "plain" ? "Candidate number 0." : "Candidate number 1.");
    expect(events.at(-2)?.data).toMatchObject({
      delta: { stop_reason: "end_turn", stop_sequence: null },
      usage: { input_tokens: prompt, output_tokens: text.length },
    });
  });

  it("has a block for its text and for each call", async () => {
    const events = await eventsOf(
      await (await open(says(`Wait. ${called("tea", "pot")}`))).ask({ tools: [tool], stream: true }),
    );
    const starts = events
      .filter(({ event }) => event === "content_block_start")
      .map(({ data }) => [data.index, data.content_block]);
    const block = { type: "tool_use", id: expect.any(String), name: "lookup", input: {}, caller: { type: "direct" } };
    expect(starts).toEqual([
      [0, { type: "text", text: "", citations: null }],
      [1, block],
      [2, block],
    ]);
    expect(events.filter(({ event }) => event === "content_block_stop").map(({ data }) => data.index)).toEqual([
      0, 1, 2,
    ]);
    const inputs = [1, 2].map((index) =>
      JSON.parse(
        events
          .filter(({ event, data }) => event === "content_block_delta" && data.index === index)
          .map(({ data }) => data.delta.partial_json)
          .join(""),
      ),
    );
    expect(inputs).toEqual([{ q: "tea" }, { q: "pot" }]);
  });

  it("has an empty block where nothing is said", async () => {
    const events = await eventsOf(await (await open(says(""))).ask({ stream: true }));
    expect(events.map(({ event }) => event)).toEqual([
      "message_start",
      "content_block_start",
      "content_block_stop",
      "message_delta",
      "message_stop",
    ]);
  });

  it("is kept alive by pings, before the choice and while the prompt is read", async () => {
    for (const model of ["plain", "icdpo"]) {
      const { ask } = await open({ pause: () => new Promise((resolve) => setTimeout(resolve, 60)) });
      const text = await (await ask({ model, stream: true })).text();
      expect(text).toMatch(/^event: message_start\n/u);
      expect(text).toContain('\n\nevent: ping\ndata: {"type":"ping"}\n\n');
      expect(text).not.toMatch(/^:/mu);
    }
  });

  it("explains itself in message_delta", async () => {
    const events = await eventsOf(await (await open()).ask({ model: "icdpo", stream: true, icdpo: { explain: true } }));
    expect(events.at(-2)?.data.icdpo).toMatchObject({ blocks: [expect.any(Number)], candidates: [{ chosen: true }] });
  });

  it("ends in an error event where something goes wrong, which tells nothing of the inside", async () => {
    const { ask, reported } = await open({ pause: () => Promise.reject(new Error("broken")) });
    const response = await ask({ model: "icdpo", stream: true });
    const events = await eventsOf(response);
    expect(events.map(({ event }) => event)).toEqual(["message_start", "error"]);
    expect(events[1]?.data).toEqual({
      type: "error",
      error: { type: "api_error", message: expect.not.stringContaining("broken") },
      request_id: response.headers.get("request-id"),
    });
    expect(reported).toHaveLength(1);
  });

  it("says in its error event that it took too long", async () => {
    const { ask } = await open({ pause: () => Promise.reject(new GatewayError("timeout", "Too long.")) });
    const events = await eventsOf(await ask({ stream: true }));
    expect(events.at(-1)?.data.error).toEqual({ type: "timeout_error", message: "Too long." });
  });
});

describe("POST /v1/messages/count_tokens", () => {
  it("counts what a message's usage counts, without sampling", async () => {
    const { post, ask, engine } = await open();
    const { max_tokens: _, ...body } = {
      ...question,
      system: "Be brief.",
      tools: [tool],
      thinking: { type: "adaptive" },
    };
    for (const model of ["plain", "icdpo"]) {
      const counted = await post("/v1/messages/count_tokens", { ...body, model });
      expect(counted.headers.get("request-id")).toMatch(/^req_/u);
      expect(engine.calls).toHaveLength(0);
      expect(await json(counted)).toEqual({ input_tokens: expect.any(Number) });
      const { input_tokens } = await json(await post("/v1/messages/count_tokens", { ...body, model }));
      expect((await json(await ask({ ...body, model }))).usage.input_tokens).toBe(input_tokens);
      engine.calls.length = 0;
    }
  });

  it("takes no part in experiments, and takes a place like any request", async () => {
    const routes =
      "routes: { ab: { experiment: { unit: user, arms: { a: { policy: plain, weight: 1 }, b: { policy: scored, weight: 1 } } } } }\n";
    const { post } = await gateway({}, {}, {}, routes);
    const counted = await post("/v1/messages/count_tokens", { ...question, model: "ab" });
    expect(counted.status).toBe(200);
    expect(counted.headers.get("x-icdpo-arm")).toBeNull();
  });

  it("refuses what a message would be refused for", async () => {
    const { post } = await open();
    const response = await post("/v1/messages/count_tokens", { model: "plain", messages: [] });
    expect(response.status).toBe(400);
    expect((await json(response)).error).toMatchObject({
      type: "invalid_request_error",
      message: expect.stringContaining("'messages'"),
    });
  });
});

const image = { type: "image", source: { type: "base64", media_type: "image/png", data: "aaaa" } };
const use = { type: "tool_use", id: "1", name: "lookup", input: {} };
const asked = [{ role: "user", content: "a" }];

describe("what is wrong is named by its place", () => {
  it.each([
    ["max_tokens", { max_tokens: undefined }],
    ["max_tokens", { max_tokens: 0 }],
    ["messages", { messages: undefined }],
    ["messages", { messages: [] }],
    ["messages.0.role", { messages: [{ role: "tool", content: "a" }] }],
    ["messages.0.content", { messages: [{ role: "user", content: 7 }] }],
    [
      "messages.0.content': block 1: text",
      { messages: [{ role: "user", content: [{ type: "text", text: "a" }, { type: "text" }] }] },
    ],
    ["messages.0.content.1.type", { messages: [{ role: "user", content: [{ type: "text", text: "a" }, image] }] }],
    [
      "messages.0.content.0.source.type",
      { messages: [{ role: "user", content: [{ type: "document", source: { type: "base64" } }] }] },
    ],
    ["messages.0.content.0.type", { messages: [{ role: "user", content: [use] }] }],
    [
      "messages.1.content.0.type",
      { messages: [...asked, { role: "assistant", content: [{ type: "server_tool_use", id: "1" }] }, ...asked] },
    ],
    [
      "messages.2.content.0.content.0.type",
      {
        messages: [
          ...asked,
          { role: "assistant", content: [use] },
          { role: "user", content: [{ type: "tool_result", tool_use_id: "1", content: [image] }] },
        ],
      },
    ],
    [
      "messages.0.content.0.tool_use_id",
      { messages: [{ role: "user", content: [{ type: "tool_result", tool_use_id: "1" }] }] },
    ],
    ["messages.1.role", { messages: [...asked, { role: "assistant", content: "I" }] }],
    ["system.0.type", { system: [image] }],
    ["tools.0': input_schema", { tools: [{ name: "a" }] }],
    ["tools.0.name", { tools: [{ ...tool, name: "a b" }] }],
    ["tools.0.input_schema.properties.a", { tools: [{ name: "a", input_schema: { properties: { a: 3 } } }] }],
    ["tool_choice", { tool_choice: { type: "any" } }],
    [
      "tool_choice",
      {
        tool_choice: { type: "tool", name: "web_search" },
        tools: [{ type: "web_search_20250305", name: "web_search" }],
      },
    ],
    ["tool_choice", { tool_choice: { type: "tool", name: "other" }, tools: [tool] }],
    ["temperature", { temperature: 3 }],
    ["metadata.user_id", { metadata: { user_id: "u".repeat(1_025) } }],
    ["stop_sequences.0", { stop_sequences: ["x".repeat(129)] }],
    ["mcp_servers", { mcp_servers: [{ type: "url", url: "http://localhost", name: "a" }] }],
    ["container", { container: "c" }],
    ["icdpo.overrides", { icdpo: { overrides: { shots: 1 } } }],
  ])("%s", async (place, body) => {
    const response = await (await open()).ask(body);
    expect(response.status).toBe(400);
    const { type, error, request_id } = await json(response);
    expect({ type, error }).toEqual({
      type: "error",
      error: { type: "invalid_request_error", message: expect.any(String) },
    });
    expect(error.message).toContain(`'${place}`);
    expect(request_id).toBe(response.headers.get("request-id"));
  });
});

describe("lists that are too long", () => {
  it.each([
    ["messages", { messages: Array(2_049).fill(1) }],
    ["messages", { messages: [{ role: "user", content: Array(4_097).fill(1) }] }],
    [
      "messages",
      {
        messages: [{ role: "user", content: [{ type: "tool_result", content: Array(4_096).fill({ type: "text" }) }] }],
      },
    ],
    ["messages", { system: Array(4_097).fill({ type: "text", text: "" }) }],
    ["tools", { tools: Array(129).fill(1) }],
  ])("are refused whole: %s", async (place, body) => {
    const response = await (await open({}, { maxBodyBytes: 1_000_000 })).ask(body);
    expect(response.status).toBe(400);
    expect((await json(response)).error.message).toMatch(new RegExp(`^Invalid '${place}': must hold at most`, "u"));
  });

  it("are read as they are where they are not", async () => {
    const text = { type: "text", text: "a" };
    const use = { type: "tool_use", id: "1", name: "a", input: {} };
    const results = Array(2_000).fill({ type: "tool_result", tool_use_id: "1", content: [text] });
    const messages = [...question.messages, { role: "assistant", content: [use] }, { role: "user", content: results }];
    expect((await (await open({}, { maxBodyBytes: 1_000_000 })).ask({ messages, system: [text] })).status).toBe(200);
  });
});

describe("who asks", () => {
  const key = "a-key-of-sixteen-characters";
  const ada = async () => (await parseKeys({ file: null, variable: `ada=${key}`, admins: "" })) ?? [];

  it.each([
    ["x-api-key", { "x-api-key": key }],
    ["a bearer's key", { authorization: `Bearer ${key}` }],
    ["a bearer's key beside another", { authorization: `Bearer ${key}`, "x-api-key": "another-key-of-somebody" }],
    ["x-api-key beside a proxy's own authorization", { authorization: "Basic YTpi", "x-api-key": key }],
  ])("is known by %s", async (_, headers) => {
    const { ask } = await open({}, { keys: await ada() });
    expect((await ask({}, headers)).status).toBe(200);
  });

  it.each([
    ["nothing", {}],
    ["a wrong x-api-key", { "x-api-key": "another-key-of-somebody" }],
    [
      "a wrong bearer's key beside the right one",
      { authorization: "Bearer another-key-of-somebody", "x-api-key": key },
    ],
  ])("is not known by %s", async (_, headers) => {
    const { ask } = await open({}, { keys: await ada() });
    const response = await ask({}, headers);
    expect(response.status).toBe(401);
    expect(await json(response)).toMatchObject({
      type: "error",
      error: { type: "authentication_error" },
      request_id: expect.any(String),
    });
  });

  it("is the unit of an experiment, by metadata.user_id", async () => {
    const routes =
      "routes: { ab: { experiment: { unit: user, arms: { a: { policy: plain, weight: 1 }, b: { policy: scored, weight: 1 } } } } }\n";
    const notes: RequestFacts[] = [];
    const note = (facts: RequestFacts): void => void notes.push(facts);
    const observe = () => Object.assign(new SilentObserver(), { note });
    const telemetry = { observe, metrics: async () => ({ contentType: "", body: "" }) };
    const { post, chat } = await gateway({}, { telemetry }, {}, routes);
    const unitOf = async (user_id: string): Promise<string | undefined> => {
      const response = await post("/v1/messages", { ...question, model: "ab", metadata: { user_id } });
      expect(response.headers.get("x-icdpo-arm")).toMatch(/^[ab]$/u);
      return notes.splice(0).find(({ unit }) => unit !== undefined)?.unit;
    };
    const ada = await unitOf("ada");
    expect(ada).toBeDefined();
    expect(await unitOf("bob")).not.toBe(ada);
    await chat({ model: "ab", user: "ada" });
    expect(notes.splice(0).find(({ unit }) => unit !== undefined)?.unit).toBe(ada);
    // Claude Code's, whose sessions are one user's.
    const agent = (device: string, session: string) =>
      JSON.stringify({ device_id: device, account_uuid: "", session_id: session });
    expect(await unitOf(agent("d", "1-2"))).toBe(await unitOf(agent("d", "3-4")));
    expect(await unitOf(agent("d", "1-2"))).not.toBe(await unitOf(agent("e", "1-2")));
    expect(await unitOf("user_d_account_a_session_1-2")).toBe(await unitOf("user_d_account_a_session_3-4"));
  });
});

describe("errors", () => {
  it.each<[ErrorCode, number, string]>([
    ["invalid_request", 400, "invalid_request_error"],
    ["model_not_found", 404, "not_found_error"],
    ["rate_limited", 429, "rate_limit_error"],
    ["overloaded", 529, "overloaded_error"],
    ["engine_failure", 500, "api_error"],
    ["shutting_down", 503, "api_error"],
    ["timeout", 504, "timeout_error"],
  ])("%s: %i, %s", async (code, status, type) => {
    const error = new GatewayError(code, "So it is.", { retryAfter: 7 });
    const { ask } = await open({ pause: () => Promise.reject(error) });
    const response = await ask({});
    expect(response.status).toBe(status);
    expect(response.headers.get("retry-after")).toBe("7");
    expect(await json(response)).toEqual({
      type: "error",
      error: { type, message: "So it is." },
      request_id: expect.stringMatching(/^req_/u),
    });
  });

  it("say in the words that agents look for that a conversation is too long", async () => {
    const response = await (await open({ contextSize: 20 })).ask({});
    expect(response.status).toBe(400);
    expect((await json(response)).error).toMatchObject({
      type: "invalid_request_error",
      message: expect.stringMatching(/^prompt is too long: /u),
    });
  });

  it("tell nothing of the inside", async () => {
    const { ask, reported } = await open({ pause: () => Promise.reject(new Error("broken")) });
    const response = await ask({});
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain("broken");
    expect(reported).toHaveLength(1);
  });

  it.each([
    ["no JSON", 400, "invalid_request_error", "{", {}],
    ["another type", 415, "invalid_request_error", "a", { "content-type": "text/plain" }],
    ["a body that is too large", 413, "request_too_large", "x".repeat(200), {}],
    ["a foreign page", 403, "permission_error", "{}", { origin: "https://example.com" }],
  ])("that come before the request is read: %s", async (_, status, type, body, headers) => {
    const { app } = await open({}, { maxBodyBytes: 100 });
    const response = await app.request("/v1/messages", {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body,
    });
    expect(response.status).toBe(status);
    expect((await json(response)).error.type).toBe(type);
  });
});
