import { describe, expect, it } from "vitest";
import { genericToolSyntax } from "../../../src/icdpo/tool-prompt.ts";
import type { Script } from "../scripted-engine.ts";
import { gateway, json, readStream } from "../scripted-gateway.ts";

const tool = {
  type: "function",
  function: {
    name: "lookup",
    description: "Looks up.",
    parameters: { type: "object", properties: { q: { type: "string" } }, required: ["q"] },
  },
};
const called = (q: string): string =>
  `${genericToolSyntax.opening}{"name": "lookup", "arguments": {"q": "${q}"}}${genericToolSyntax.closing}`;
const says = (text: string, finish: "stop" | "length" = "stop"): Script => ({ sample: () => ({ text, finish }) });
/** Candidate 1 calls the tool with the text that is liked best. */
const competing: Script = {
  sample: (index) => ({ text: called(`candidate number ${index}`) }),
  sum: (context, response) => (context.includes("Who cares.") ? -30 : response.includes("number 1") ? -20 : -28),
};

/** The one sampling call's request. */
function sampled(engine: Awaited<ReturnType<typeof gateway>>["engine"]) {
  const call = engine.calls.find(({ type }) => type === "sample");
  if (call?.type !== "sample") throw new Error("Nothing was sampled");
  return call;
}

describe("tools", () => {
  it("returns calls in OpenAI's shape", async () => {
    const { chat } = await gateway(says(called("tea")));
    const { choices } = await json(await chat({ model: "plain", tools: [tool], tool_choice: "required" }));
    expect(choices).toEqual([
      {
        index: 0,
        message: {
          role: "assistant",
          content: null,
          refusal: null,
          tool_calls: [
            {
              id: expect.stringMatching(/^call_/u),
              type: "function",
              function: { name: "lookup", arguments: '{"q": "tea"}' },
            },
          ],
        },
        logprobs: null,
        finish_reason: "tool_calls",
      },
    ]);
  });

  it("scores candidates that call tools like any text, and lists the tools in both contexts", async () => {
    const { chat, engine } = await gateway(competing);
    const { choices } = await json(await chat({ tools: [tool], tool_choice: "required" }));
    expect(choices[0].message.tool_calls[0].function.arguments).toBe('{"q": "candidate number 1"}');
    for (const { context } of engine.calls) expect(context).toContain("<tools>");
    expect(engine.calls.map(({ type }) => type)).toEqual(["sample", "score"]);
  });

  it("streams a plain answer's calls as they come: id and name first, then the arguments", async () => {
    const { chat } = await gateway(says(`Let me see. ${called("hot tea")}`));
    const { chunks } = await readStream(await chat({ model: "plain", stream: true, tools: [tool] }));
    const deltas = chunks.flatMap(({ choices }) => choices.map((choice: { delta: unknown }) => choice.delta));
    const calls = deltas.flatMap((delta) => delta.tool_calls ?? []);
    expect(calls[0]).toEqual({
      index: 0,
      id: expect.stringMatching(/^call_/u),
      type: "function",
      function: { name: "lookup", arguments: "" },
    });
    expect(calls.slice(1).every((call) => call.index === 0 && call.id === undefined)).toBe(true);
    expect(calls.map((call) => call.function.arguments).join("")).toBe('{"q": "hot tea"}');
    expect(deltas.map((delta) => delta.content ?? "").join("")).toBe("Let me see.");
    expect(chunks.at(-1).choices[0].finish_reason).toBe("tool_calls");
  });

  it("streams a chosen answer's calls after the choice", async () => {
    const { chat } = await gateway(competing);
    const { chunks } = await readStream(await chat({ stream: true, tools: [tool], tool_choice: "required" }));
    const calls = chunks.flatMap(({ choices }) => choices[0].delta.tool_calls ?? []);
    expect(calls.map((call) => call.function.arguments).join("")).toBe('{"q": "candidate number 1"}');
  });

  it("asks for no grammar and lists nothing where tool_choice is none", async () => {
    const { chat, engine } = await gateway(says(called("tea")));
    const { choices } = await json(await chat({ model: "plain", tools: [tool], tool_choice: "none" }));
    expect(sampled(engine).request.grammar).toBeUndefined();
    expect(sampled(engine).context).not.toContain("lookup");
    expect(choices[0]).toMatchObject({ finish_reason: "stop", message: { content: called("tea") } });
  });

  it("offers a named function only", async () => {
    const { chat, engine } = await gateway(says(called("tea")));
    const other = { type: "function", function: { name: "other" } };
    await chat({
      model: "plain",
      tools: [tool, other],
      tool_choice: { type: "function", function: { name: "other" } },
    });
    expect(sampled(engine).request.grammar).toContain("other");
    expect(sampled(engine).request.grammar).not.toContain("lookup");
    expect(sampled(engine).context).toContain("lookup");
  });

  it("takes a result back as a turn of its own", async () => {
    const { chat, engine } = await gateway(says("Ada."));
    const messages = [
      { role: "user", content: "Who?" },
      {
        role: "assistant",
        content: null,
        tool_calls: [{ id: "1", type: "function", function: { name: "lookup", arguments: '{"q": "a"}' } }],
      },
      { role: "tool", tool_call_id: "1", content: [{ type: "text", text: "It was Ada." }] },
    ];
    expect((await chat({ model: "plain", messages })).status).toBe(200);
    expect(sampled(engine).context).toContain("<user><tool_response>\nIt was Ada.\n</tool_response></user>");
    expect(sampled(engine).context).toContain(`<assistant>${called("a")}</assistant>`);
  });

  it.each([
    ["tools.0", { tools: [{ type: "function" }] }],
    ["tools.0.function.name", { tools: [{ type: "function", function: { name: "not a name" } }] }],
    ["tool_choice", { tool_choice: "required" }],
    ["tool_choice", { tools: [tool], tool_choice: { type: "function", function: { name: "unknown" } } }],
    ["tools", { model: "raw", tools: [tool] }],
    [
      "messages.1.tool_call_id",
      {
        messages: [
          { role: "user", content: "a" },
          { role: "tool", content: "b", tool_call_id: "1" },
        ],
      },
    ],
    ["messages.0.tool_call_id", { messages: [{ role: "tool", content: "b" }] }],
    [
      "messages.0.tool_calls",
      {
        messages: [
          {
            role: "user",
            content: "a",
            tool_calls: [{ id: "1", type: "function", function: { name: "a", arguments: "" } }],
          },
        ],
      },
    ],
  ])("refuses what is wrong at %s", async (param, body) => {
    const { chat, engine } = await gateway({}, {}, { raw: "candidates: 1\nscore: { type: none }\nprompt: hh-rlhf\n" });
    const response = await chat(body);
    expect(response.status).toBe(400);
    expect((await json(response)).error.param).toBe(param);
    expect(engine.calls).toEqual([]);
  });
});

describe("JSON", () => {
  const schema = {
    type: "object",
    properties: { tea: { type: "integer" } },
    required: ["tea"],
    additionalProperties: false,
  };
  const format = { type: "json_schema", json_schema: { name: "tea", strict: true, schema } };

  it("samples under the schema's grammar, and scores candidates like any text", async () => {
    const { chat, engine } = await gateway({
      sample: (index) => ({ text: `{"tea": ${index}}` }),
      sum: (context, response) => (!context.includes("Who cares.") && response.includes("2") ? -1 : -9),
    });
    const { choices } = await json(await chat({ response_format: format }));
    expect(choices[0].message.content).toBe('{"tea": 2}');
    expect(sampled(engine).request.grammar).toMatch(/^root ::= /u);
  });

  it("does not cut JSON at what separates turns in the paper's formats", async () => {
    const { chat } = await gateway(
      says('{"a": "## Human: "}'),
      {},
      { raw: "candidates: 1\nscore: { type: none }\nprompt: hh-rlhf\n" },
    );
    const { choices } = await json(await chat({ model: "raw", response_format: { type: "json_object" } }));
    expect(choices[0].message.content).toBe('{"a": "## Human: "}');
  });

  it("refuses a format that it does not know", async () => {
    const { chat } = await gateway();
    const response = await chat({ response_format: { type: "xml" } });
    expect(response.status).toBe(400);
    expect((await json(response)).error.param).toBe("response_format.type");
  });
});

describe("log-probabilities", () => {
  it("returns the text's tokens with their own log-probabilities and alternatives", async () => {
    const { chat } = await gateway({ ...says("Hé"), sum: () => -6 });
    const { choices } = await json(await chat({ model: "plain", logprobs: true, top_logprobs: 2 }));
    expect(choices[0].logprobs).toEqual({
      content: [
        {
          token: "H",
          logprob: -2,
          bytes: [72],
          top_logprobs: [
            { token: "H", logprob: -2, bytes: [72] },
            { token: "I", logprob: -3, bytes: [73] },
          ],
        },
        {
          token: "é",
          logprob: -2,
          bytes: [195, 169],
          top_logprobs: [
            { token: "é", logprob: -2, bytes: [195, 169] },
            { token: "ê", logprob: -3, bytes: [195, 170] },
          ],
        },
      ],
      refusal: null,
    });
  });

  it.each(["plain", "icdpo"])("streams each token's with its text (%s)", async (model) => {
    const { chat } = await gateway();
    const { chunks } = await readStream(await chat({ model, stream: true, logprobs: true }));
    const choices = chunks.map(({ choices }) => choices[0]);
    for (const { delta, logprobs } of choices)
      expect((logprobs?.content ?? []).map(({ token }: { token: string }) => token).join("")).toBe(delta.content ?? "");
    expect(choices.map(({ delta }) => delta.content ?? "").join("")).toMatch(/^Candidate number/u);
  });

  it("gives JSON's nearest to minus infinity", async () => {
    const { chat } = await gateway({ ...says("a"), sum: () => Number.NEGATIVE_INFINITY });
    const { choices } = await json(await chat({ model: "plain", logprobs: true }));
    expect(choices[0].logprobs.content[0].logprob).toBe(-9999);
  });

  it("refuses alternatives without log-probabilities", async () => {
    const { chat } = await gateway();
    expect((await json(await chat({ top_logprobs: 2 }))).error.param).toBe("top_logprobs");
  });
});

describe("sampling parameters", () => {
  it("passes penalties and biases on", async () => {
    const { chat, engine } = await gateway();
    await chat({ model: "plain", presence_penalty: 1, frequency_penalty: -0.5, logit_bias: { 12: -100, 7: 5 } });
    expect(sampled(engine).request).toMatchObject({
      presencePenalty: 1,
      frequencyPenalty: -0.5,
      logitBias: new Map([
        [7, 5],
        [12, -100],
      ]),
    });
  });

  it.each([
    ["presence_penalty", 3],
    ["frequency_penalty", -2.1],
    ["logit_bias.1", { 1: 101 }],
    ["logit_bias.x", { x: 1 }],
    ["top_logprobs", 21],
    ["seed", "1"],
    ["n", 0],
    ["metadata.a", { a: 1 }],
  ])("refuses a wrong %s", async (param, value) => {
    const { chat } = await gateway();
    const response = await chat({ [param.split(".")[0] as string]: value, logprobs: true });
    expect(response.status).toBe(400);
    expect((await json(response)).error.param).toBe(param);
  });
});

describe("a policy's bypass", () => {
  const policy = (bypass: string): Record<string, string> => ({
    past: `demonstrations: set\nretriever: { type: bm25 }\nscore: { type: contrast, negative: rejected }\nbypass: ${bypass}\n`,
  });
  const title = [{ role: "user", content: "### Task:\nName this chat." }];

  it.each([
    ["few tokens", "{ max_tokens: 8 }", { max_tokens: 8 }, { max_tokens: 9 }],
    ["a prompt", '{ prompts: ["^### Task:"] }', { messages: title }, {}],
    ["tools", "{ tools: true }", { tools: [tool] }, {}],
    ["JSON", "{ json: true }", { response_format: { type: "json_object" } }, {}],
  ])("answers %s by one plain sample, without demonstrations or scores", async (_, bypass, past, scored) => {
    const { chat, engine } = await gateway(says("Tea"), {}, policy(bypass));
    const response = await chat({ model: "past", ...past, icdpo: { explain: true } });
    expect(response.headers.get("x-icdpo-candidates")).toBe("1");
    expect((await json(response)).icdpo).toMatchObject({ fallback: "bypass", demonstrations: [] });
    expect(engine.calls.map(({ type }) => type)).toEqual(["sample"]);
    expect(sampled(engine).context).not.toContain("Warm the pot");
    expect((await chat({ model: "past", ...scored })).headers.get("x-icdpo-candidates")).toBe("3");
  });
});
