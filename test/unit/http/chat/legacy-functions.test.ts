import { describe, expect, it } from "vitest";
import { gateway, json, readStream } from "../../scripted-gateway.ts";

const functions = [
  { name: "lookup", description: "Looks up", parameters: { type: "object", properties: { q: { type: "string" } } } },
];
const called = '<tool_call>\n{"name": "lookup", "arguments": {"q": "tea"}}\n</tool_call>';
const says = (text: string) => ({ sample: () => ({ text }) });

describe("functions", () => {
  it("are offered, and called in the words of the request", async () => {
    const { chat, engine } = await gateway(says(called));
    const { choices } = await json(await chat({ model: "plain", functions }));
    expect(choices[0].finish_reason).toBe("function_call");
    expect(choices[0].message).toEqual({
      role: "assistant",
      content: null,
      refusal: null,
      function_call: { name: "lookup", arguments: '{"q": "tea"}' },
    });
    expect(engine.calls[0]?.context).toContain("Looks up");
  });

  it("are called piece by piece in a stream", async () => {
    const { chat } = await gateway(says(called));
    const { chunks } = await readStream(await chat({ model: "plain", functions, stream: true }));
    const deltas = chunks.flatMap(({ choices }) => choices.map(({ delta }: { delta: unknown }) => delta));
    const calls = deltas.flatMap(({ function_call }) => function_call ?? []);
    expect(calls[0]).toEqual({ name: "lookup", arguments: "" });
    expect(calls.map((call) => call.arguments).join("")).toBe('{"q": "tea"}');
    expect(deltas.some((delta) => "tool_calls" in delta)).toBe(false);
    expect(chunks.at(-1).choices[0].finish_reason).toBe("function_call");
  });

  it.each([
    ["none", undefined],
    ["auto", "tool_call"],
    [{ name: "lookup" }, "lookup"],
  ])("are chosen from by function_call: %j", async (function_call, expected) => {
    const { chat, engine } = await gateway(says(called));
    await chat({ model: "plain", functions, function_call });
    const call = engine.calls[0];
    const grammar = call?.type === "sample" ? call.request.grammar : "";
    if (expected === undefined) expect(grammar).toBeUndefined();
    else expect(grammar).toContain(expected);
  });

  it("read a history of calls and their results", async () => {
    const { chat, engine } = await gateway();
    const messages = [
      { role: "user", content: "Tea?" },
      { role: "assistant", content: null, function_call: { name: "lookup", arguments: '{"q":"tea"}' } },
      { role: "function", name: "lookup", content: "Hot." },
    ];
    expect((await chat({ model: "plain", messages, functions })).status).toBe(200);
    expect(engine.calls[0]?.context).toContain('{"name": "lookup", "arguments": {"q":"tea"}}');
    expect(engine.calls[0]?.context).toContain("<tool_response>\nHot.\n</tool_response>");
  });

  it.each([
    [{ functions, tools: [{ type: "function", function: functions[0] }] }, "functions"],
    [{ functions: "lookup" }, "functions"],
    [{ functions, function_call: "sometimes" }, "function_call"],
    [{ function_call: { name: "lookup" } }, "function_call"],
    [{ functions: [{ name: "a b" }] }, "tools.0.function.name"],
    [{ messages: [{ role: "function", name: "lookup", content: "Hot." }] }, "messages.0.name"],
    [{ messages: [{ role: "assistant", function_call: "lookup" }] }, "messages.0.function_call"],
    [
      { functions: [{ name: "f", parameters: { type: "object", properties: { a: { type: 5 } } } }] },
      "functions.0.parameters",
    ],
  ])("are refused where they are wrong: %j", async (body, param) => {
    const { chat } = await gateway();
    const response = await chat({ model: "plain", ...body });
    expect(response.status).toBe(400);
    expect((await json(response)).error.param).toContain(param);
  });

  it.each([{ function_call: "none" }, { function_call: "auto" }, { functions: [], function_call: null }])(
    "that are not there ask for nothing: %j",
    async (body) => {
      const { chat } = await gateway();
      expect((await chat({ model: "plain", ...body })).status).toBe(200);
    },
  );
});
