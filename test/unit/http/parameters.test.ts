import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { hashKey } from "../../../src/access/access.ts";
import type { SampleRequest } from "../../../src/engine/engine.ts";
import { refusedParameters, withoutEffect } from "../../../src/http/server-parameters.ts";
import type { Script, ScriptedEngine } from "../scripted-engine.ts";
import { type GatewayOptions, gateway, json } from "../scripted-gateway.ts";

const protocols = {
  chat: ["/v1/chat/completions", { messages: [{ role: "user", content: "Hi" }] }],
  responses: ["/v1/responses", { input: "Hi" }],
  messages: ["/v1/messages", { messages: [{ role: "user", content: "Hi" }], max_tokens: 20 }],
  completions: ["/v1/completions", { prompt: "Hi" }],
} as const;
type Protocol = keyof typeof protocols;
const conversations = ["chat", "responses", "messages"] as const;
const all = [...conversations, "completions"] as const;

async function ask(
  protocol: Protocol,
  fields: Record<string, unknown>,
  script: Script = {},
  model = "plain",
  options: GatewayOptions = {},
) {
  const [path, body] = protocols[protocol];
  const made = await gateway(script, options);
  const response = await made.post(path, { model, ...body, ...fields });
  return { ...made, response, body: await json(response) };
}

function requestOf(engine: ScriptedEngine): SampleRequest {
  const call = engine.calls.find(({ type }) => type === "sample");
  if (call?.type !== "sample") throw new Error("nothing was sampled");
  return call.request;
}

/** The error of either protocol's shape. */
function messageOf(body: { error: { message: string } }): string {
  return body.error.message;
}

describe.each(all)("%s", (protocol) => {
  it.each([
    [{ top_k: 7 }, { topK: 7 }],
    [{ top_k: -1 }, { topK: 0 }],
    [{ top_k: 0 }, { topK: 0 }],
    [{ top_k: null }, { topK: 50 }],
    [{ min_p: 0.05 }, { minP: 0.05 }],
    [{ repetition_penalty: 1.1 }, { repetitionPenalty: 1.1 }],
    [
      { repeat_penalty: 1.1, repeat_last_n: 64 },
      { repetitionPenalty: 1.1, repetitionWindow: 64 },
    ],
    [
      { repeat_penalty: 1.1, repeat_last_n: -1 },
      { repetitionPenalty: 1.1, repetitionWindow: undefined },
    ],
    [{ min_tokens: 3 }, { minTokens: 3 }],
    [{ min_tokens: 0 }, { minTokens: undefined }],
    [{ ignore_eos: true }, { ignoreEos: true }],
    [
      { temperature: null, top_p: null, seed: null },
      { temperature: 1, topP: 0.8 },
    ],
    [
      { presence_penalty: 0.5, frequency_penalty: 0.25 },
      { presencePenalty: 0.5, frequencyPenalty: 0.25 },
    ],
    [{ logit_bias: { "65": -100 } }, { logitBias: new Map([[65, -100]]) }],
  ])("%j reaches the engine", async (fields, expected) => {
    const { engine, body } = await ask(protocol, fields);
    expect(body).not.toHaveProperty("error.code");
    expect(requestOf(engine)).toMatchObject(expected);
  });

  it("takes -1 for a random seed, and others as they are", async () => {
    const seeds = async (seed: unknown, drawn = 5) =>
      requestOf((await ask(protocol, { seed }, {}, "plain", { randomSeed: () => drawn })).engine).seeds;
    expect(await seeds(-1, 5)).toEqual(await seeds(null, 5));
    expect(await seeds(-1, 5)).not.toEqual(await seeds(-1, 6));
    expect(await seeds(3, 5)).toEqual(await seeds(3, 6));
  });

  it.each(refusedParameters.filter((name) => protocol !== "completions" || !/^(?:echo|add_gen|continue_)/u.test(name)))(
    "refuses %s by name",
    async (name) => {
      const { response, body } = await ask(protocol, { [name]: "something" });
      expect(response.status).toBe(400);
      expect(messageOf(body)).toContain(`'${name}'`);
    },
  );

  it.each(withoutEffect)("takes %s, which means nothing here", async (name) => {
    const { response } = await ask(protocol, { [name]: "something" });
    expect([response.status, response.headers.get("x-icdpo-ignored")]).toEqual([200, null]);
  });

  it("takes what llama.cpp's own page sends, all of it at its default", async () => {
    const sent = {
      dynatemp_range: 0,
      dynatemp_exponent: 1,
      top_k: 40,
      min_p: 0.05,
      xtc_probability: 0,
      xtc_threshold: 0.1,
      typ_p: 1,
      typical_p: 1,
      repeat_last_n: 64,
      repeat_penalty: 1,
      dry_multiplier: 0,
      dry_base: 1.75,
      dry_allowed_length: 2,
      dry_penalty_last_n: -1,
      timings_per_token: false,
      reasoning_format: "auto",
      cache_prompt: true,
      samplers: [],
      lora: [],
    };
    expect((await ask(protocol, sent)).response.status).toBe(200);
  });

  it("refuses two repetition penalties that differ", async () => {
    const { body } = await ask(protocol, { repetition_penalty: 1.1, repeat_penalty: 1.2 });
    expect(messageOf(body)).toContain("'repeat_penalty'");
  });

  it.each([
    ["min_p", { min_p: 0.1 }, { minP: "so it is" }],
    ["top_k", { top_k: 5 }, { topK: "so it is" }],
    ["repetition_penalty", { repeat_penalty: 1.1 }, { repetitionPenalty: "so it is" }],
    ["repeat_last_n", { repeat_penalty: 1.1, repeat_last_n: 9 }, { repetitionWindow: "so it is" }],
    ["min_tokens", { min_tokens: 2 }, { minTokens: "so it is" }],
    ["ignore_eos", { ignore_eos: true }, { ignoreEos: "so it is" }],
    ["repetition_penalty", { repetition_penalty: 1.1, presence_penalty: 1 }, { penaltiesTogether: "so it is" }],
  ])("refuses %s where the engine does not have it, before a stream begins", async (name, fields, lacks) => {
    const capabilities = { chat: true, text: true, score: true, grammar: true, tools: null, lacks };
    const { response, body, engine } = await ask(protocol, { ...fields, stream: true }, { capabilities });
    expect(response.status).toBe(400);
    expect(messageOf(body)).toContain(`'${name}'`);
    expect(messageOf(body)).toContain("so it is");
    expect(engine.calls).toEqual([]);
    // The policy's own top_k is no request's.
    expect((await ask(protocol, {}, { capabilities })).response.status).toBe(200);
  });

  it("asks nothing of a cache, and leaves nothing in it, for cache_prompt: false", async () => {
    const tenants: unknown[] = [];
    const [path, body] = protocols[protocol];
    const { engine, post } = await gateway();
    const { sample } = engine;
    engine.sample = (prompt, ...rest) => {
      tenants.push(prompt.tenant);
      return sample.call(engine, prompt, ...rest);
    };
    for (const cache_prompt of [false, false, true]) await post(path, { model: "plain", ...body, cache_prompt });
    expect(new Set(tenants).size).toBe(3);
    expect(tenants[2]).toBeUndefined();
  });
});

describe.each(["chat", "responses", "completions"] as const)("%s", (protocol) => {
  it.each([
    ["", []],
    [[], []],
    [null, []],
    [["", "a"], ["a"]],
    ["a", ["a"]],
    [Array.from({ length: 16 }, (_, i) => `s${i}`), Array.from({ length: 16 }, (_, i) => `s${i}`)],
  ])("takes the stop %j", async (stop, expected) => {
    expect(requestOf((await ask(protocol, { stop })).engine).stop).toEqual(expected);
  });

  it("takes no more than 16", async () => {
    const { body } = await ask(protocol, { stop: Array.from({ length: 17 }, (_, i) => `s${i}`) });
    expect(messageOf(body)).toContain("'stop': must be a string or up to 16 strings");
  });
});

it("takes 16 stop_sequences in Anthropic's words, empty ones apart", async () => {
  const stops = Array.from({ length: 15 }, (_, i) => `s${i}`);
  const { engine } = await ask("messages", { stop_sequences: ["", ...stops] });
  expect(requestOf(engine).stop).toEqual(stops);
});

describe("chat_template_kwargs", () => {
  const variables = { enable_thinking: false, persona: "a bee" };

  it.each(conversations)("reaches the template in every context alike: %s", async (protocol) => {
    const { engine } = await ask(protocol, { chat_template_kwargs: variables }, {}, "icdpo");
    expect(engine.calls.map(({ type }) => type)).toEqual(["sample", "score"]);
    for (const { context } of engine.calls) expect(context).toContain(`<told ${JSON.stringify(variables)}>`);
  });

  it("is the tenant's own words, which nobody else has from a cache", async () => {
    const keys = await Promise.all(
      ["alice", "bob"].map(async (name) => ({ name, hash: await hashKey(name), routes: null, limits: {} })),
    );
    const { engine, chat } = await gateway({ sharesPrefixes: true }, { keys });
    const shared: unknown[] = [];
    const { sample } = engine;
    engine.sample = (prompt, ...rest) => {
      shared.push(prompt.shared);
      return sample.call(engine, prompt, ...rest);
    };
    for (const fields of [{}, { chat_template_kwargs: variables }])
      expect((await chat(fields, { authorization: "Bearer alice" })).status).toBe(200);
    expect(shared[0]).toBeGreaterThan(100);
    // The scripted template begins with what it is told; "<" is all that both begin with.
    expect(shared[1]).toBe(1);
  });

  it("counts in C⁰", async () => {
    const { body } = await ask("chat", { chat_template_kwargs: variables }, {}, "icdpo");
    const { body: without } = await ask("chat", {}, {}, "icdpo");
    expect(body.usage.prompt_tokens - without.usage.prompt_tokens).toBe(`<told ${JSON.stringify(variables)}>`.length);
  });

  it("counts in /v1/messages/count_tokens", async () => {
    const { post } = await gateway();
    const body = { model: "icdpo", messages: [{ role: "user", content: "Hi" }] };
    const count = async (fields: object) =>
      (await json(await post("/v1/messages/count_tokens", { ...body, ...fields }))).input_tokens;
    expect(await count({ chat_template_kwargs: variables })).toBeGreaterThan(await count({}));
  });

  it.each([
    [{ messages: [] }, "chat_template_kwargs.messages"],
    [{ add_generation_prompt: false }, "chat_template_kwargs.add_generation_prompt"],
    [{ "no name": 1 }, "chat_template_kwargs"],
    [{ long: "x".repeat(9_000) }, "chat_template_kwargs"],
    ["text", "chat_template_kwargs"],
  ])("refuses %j", async (chat_template_kwargs, param) => {
    const { body } = await ask("chat", { chat_template_kwargs });
    expect(body.error.param).toContain(param);
  });

  it("is refused where there is no template, and where an engine cannot tell it", async () => {
    const lacks = { templateVariables: "so it is" };
    const capabilities = { chat: true, text: true, score: true, grammar: true, tools: null, lacks };
    const { body } = await ask("chat", { chat_template_kwargs: variables }, { capabilities });
    expect(body.error).toMatchObject({ param: "chat_template_kwargs", message: expect.stringContaining("so it is") });
    const { chat } = await gateway({}, {}, { raw: "candidates: 1\nscore: { type: none }\nprompt: hh-rlhf\n" });
    const refused = await json(await chat({ model: "raw", chat_template_kwargs: variables }));
    expect(refused.error.param).toBe("chat_template_kwargs");
  });
});

describe("what an answer keeps to", () => {
  const schema = { type: "object", properties: { a: { type: "integer" } }, required: ["a"] };

  it.each(conversations)("is told in other servers' words: %s", async (protocol) => {
    const grammarOf = async (fields: object) => requestOf((await ask(protocol, { ...fields })).engine).grammar;
    const own = await grammarOf({ guided_json: schema });
    expect(own).toContain("root ::=");
    for (const fields of [
      { guided_json: JSON.stringify(schema) },
      { json_schema: schema },
      { structured_outputs: { json: schema } },
    ])
      expect(await grammarOf(fields)).toBe(own);
    expect(await grammarOf({ guided_choice: ["yes", "no", "yes"] })).toBe('root ::= ( "yes" | "no" )');
    expect(await grammarOf({ structured_outputs: { regex: '^a"[0-9]+$' } })).toContain("[\\u0061] [\\u0022] ( part )+");
    expect(await grammarOf({ grammar: 'root ::= "a" b # why\nb ::=\n  [0-9]+ | "c"' })).toBe(
      'root ::= "a" b\nb ::= [0-9]+ | "c"',
    );
    expect(await grammarOf({ grammar: "", guided_json: null, structured_outputs: {} })).toBeUndefined();
  });

  it.each([
    [{ guided_json: schema, grammar: 'root ::= "a"' }, "grammar"],
    [{ guided_json: "{" }, "guided_json"],
    [{ guided_json: "[1]" }, "guided_json"],
    [{ guided_choice: [] }, "guided_choice"],
    [{ guided_regex: "(?=a)b" }, "guided_regex"],
    [{ grammar: "root ::= other" }, "grammar"],
    [{ structured_outputs: { structural_tag: {} } }, "structured_outputs.structural_tag"],
  ])("is refused where it cannot be: %j", async (fields, param) => {
    const { response, body } = await ask("chat", fields);
    expect([response.status, body.error.param]).toEqual([400, param]);
  });

  it("goes with no bound below, which it might not reach", async () => {
    const { body } = await ask("chat", { guided_choice: ["yes"], min_tokens: 9 });
    expect(body.error.param).toBe("min_tokens");
    const { body: other } = await ask("chat", { response_format: { type: "json_object" }, ignore_eos: true });
    expect(other.error.param).toBe("ignore_eos");
  });

  it("is no matter of /v1/completions", async () => {
    const { body } = await ask("completions", { guided_json: schema });
    expect(body.error.param).toBe("guided_json");
  });
});

describe("chat", () => {
  it.each([
    [{ logprobs: true }, 0],
    [{ logprobs: true, top_logprobs: 2 }, 2],
    [{ logprobs: 2 }, 2],
    [{ logprobs: 0 }, 0],
    [{ logprobs: false }, undefined],
    [{ logprobs: null, top_logprobs: null }, undefined],
    [{ logprobs: false, top_logprobs: 0 }, undefined],
  ])("takes log-probabilities as %j", async (fields, expected) => {
    expect(requestOf((await ask("chat", fields)).engine).topLogprobs).toBe(expected);
  });

  it.each([
    { n: null },
    { best_of: 1 },
    { n: 2, best_of: 2 },
    { tool_choice: "auto" },
    { tool_choice: "none" },
    { tools: [], tool_choice: "auto" },
    { parallel_tool_calls: true },
    { stream_options: { include_usage: true } },
    { stream: false, stream_options: null },
    { store: true },
    { add_generation_prompt: true, continue_final_message: false, echo: false },
  ])("takes %j", async (fields) => expect((await ask("chat", fields)).response.status).toBe(200));

  it.each([
    [{ tool_choice: "required" }, "tool_choice"],
    [{ n: 1, best_of: 2 }, "best_of"],
    [{ max_tokens: 0 }, "max_tokens"],
    [{ max_tokens: -2 }, "max_tokens"],
    [{ top_logprobs: 2 }, "top_logprobs"],
    [{ stream_options: { continuous_usage_stats: true } }, "stream_options.continuous_usage_stats"],
    [{ continue_final_message: true }, "continue_final_message"],
  ])("refuses %j", async (fields, param) => {
    const { response, body } = await ask("chat", fields);
    expect([response.status, body.error.param]).toEqual([400, param]);
  });
});

it("takes store: true on responses, and says that nothing is stored", async () => {
  const { body } = await ask("responses", { store: true });
  expect(body).toMatchObject({ status: "completed", store: false });
  const { body: refused } = await ask("responses", { previous_response_id: "resp_1" });
  expect(refused.error.param).toBe("previous_response_id");
});

it("has all of these in the table of parameters", () => {
  const page = readFileSync(new URL("../../../docs/parameters.md", import.meta.url), "utf8");
  for (const name of [...refusedParameters, ...withoutEffect]) expect(page).toContain(`\`${name}\``);
});
