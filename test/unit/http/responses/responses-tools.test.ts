import OpenAI from "openai";
import { describe, expect, it } from "vitest";
import { genericToolSyntax } from "../../../../src/icdpo/tool-prompt.ts";
import { gateway, json } from "../../scripted-gateway.ts";

const parameters = { type: "object", properties: { q: { type: "string" } }, required: ["q"] };
const lookup = { type: "function", name: "lookup", parameters };
/** As coding agents send the tools of a server: two may have the same name. */
const namespaces = [
  { type: "namespace", name: "mcp__docs", description: "Docs.", tools: [{ ...lookup, strict: false }] },
  { type: "namespace", name: "mcp__mail__", description: "Mail.", tools: [lookup, { type: "custom", name: "send" }] },
];
const note = { type: "custom", name: "note", description: "Takes a note." };
const patch = {
  type: "custom",
  name: "apply_patch",
  format: { type: "grammar", syntax: "lark", definition: "start: /a/" },
};
const calls = (name: string, json: string): { text: string } => ({
  text: `${genericToolSyntax.opening}{"name": "${name}", "arguments": ${json}}${genericToolSyntax.closing}`,
});

async function ask(body: Record<string, unknown>, said = { text: "Tea." }) {
  const { post, engine } = await gateway({ sample: () => said });
  const response = await post("/v1/responses", { model: "plain", input: "Tea?", ...body });
  const [call] = engine.calls;
  const context = call?.context ?? "";
  return {
    response,
    body: await json(response),
    context,
    grammar: call?.type === "sample" ? call.request.grammar : "",
  };
}

describe("tools of other types", () => {
  it.each([
    ["web_search"],
    ["web_search_preview"],
    ["file_search"],
    ["computer_use_preview"],
    ["mcp"],
    ["code_interpreter"],
    ["image_generation"],
    ["local_shell"],
    ["shell"],
    ["apply_patch"],
    ["tool_search"],
    ["one_that_nobody_knows_yet"],
  ])("of type %s are left out, and a header says so", async (type) => {
    const { response, body, context } = await ask({ tools: [{ type, server_label: "a" }, lookup] });
    expect(response.status).toBe(200);
    expect(response.headers.get("x-icdpo-tools")).toBe(`left-out; ${type}`);
    expect(context).toContain('"name":"lookup"');
    expect(body.tools).toHaveLength(2);
  });

  it("leave the request without tools where they are all that there are", async () => {
    const { response, context } = await ask({ tools: [{ type: "web_search" }, patch, { type: "web_search" }] });
    expect(response.headers.get("x-icdpo-tools")).toBe("left-out; web_search, custom");
    expect(context).toBe("<user>Tea?</user><assistant>");
  });

  it("say nothing in a header where all are offered", async () => {
    const { response } = await ask({ tools: [lookup, note, ...namespaces] });
    expect(response.headers.get("x-icdpo-tools")).toBeNull();
  });

  it.each([
    ["a tool that is left out", { type: "web_search_preview" }, 'tools of type "web_search_preview" are left out'],
    ["a custom tool that is left out", { type: "custom", name: "apply_patch" }, "names no custom"],
    ["an MCP server's", { type: "mcp", server_label: "a", name: "b" }, 'tools of type "mcp" are left out'],
    [
      "a function of another name",
      { type: "function", name: "other" },
      'names no function that the model can be offered: "other"',
    ],
    [
      "some of those left out",
      { type: "allowed_tools", mode: "required", tools: [{ type: "web_search" }] },
      "allows no tool",
    ],
  ])("cannot be forced: %s", async (_, tool_choice, message) => {
    const { response, body } = await ask({ tools: [{ type: "web_search_preview" }, patch, lookup], tool_choice });
    expect([response.status, body.error.param]).toEqual([400, "tool_choice"]);
    expect(body.error.message).toContain(message);
  });

  it("cannot be required where nothing can be offered", async () => {
    const { body } = await ask({ tools: [{ type: "web_search" }], tool_choice: "required" });
    expect(body.error).toMatchObject({ param: "tool_choice", message: expect.stringContaining("can be offered") });
  });

  it.each([
    ["a function without a name", [{ type: "function", parameters }]],
    ["a tool without a type", [{ name: "a" }]],
    ["a namespace with too many", [{ ...namespaces[0], tools: Array.from({ length: 129 }, () => lookup) }]],
    [
      "too many in all",
      Array.from({ length: 2 }, (_, i) => ({
        ...namespaces[0],
        name: `a${i}`,
        tools: Array.from({ length: 65 }, (_, j) => ({ ...lookup, name: `b${j}` })),
      })),
    ],
    ["two that have one name for the model", [...namespaces, { ...lookup, name: "mcp__docs__lookup" }]],
  ])("does not hide what is wrong: %s", async (_, tools) => {
    const { response, body } = await ask({ tools });
    expect(response.status).toBe(400);
    expect(body.error.param).toMatch(/^tools/u);
  });
});

describe("functions of a namespace", () => {
  it("are offered under both names, and called as the client knows them", async () => {
    const { body, context } = await ask({ tools: namespaces }, calls("mcp__mail__lookup", '{"q": "tea"}'));
    expect(context).toContain('"name":"mcp__docs__lookup"');
    expect(context).toContain('"name":"mcp__mail__send"');
    expect(body.output).toMatchObject([
      { type: "function_call", name: "lookup", namespace: "mcp__mail__", arguments: '{"q": "tea"}' },
    ]);
  });

  it("have their calls read in a history", async () => {
    const input = [
      { role: "user", content: "Tea?" },
      { type: "function_call", call_id: "1", name: "lookup", namespace: "mcp__docs", arguments: "{}" },
      { type: "function_call_output", call_id: "1", output: "Green." },
    ];
    const { context } = await ask({ tools: namespaces, input });
    expect(context).toContain('{"name": "mcp__docs__lookup", "arguments": {}}');
  });

  it.each([
    [{ type: "function", name: "lookup", namespace: "mcp__docs" }, "mcp__docs__lookup"],
    [{ type: "function", name: "mcp__mail__lookup" }, "mcp__mail__lookup"],
    [{ type: "custom", name: "send" }, "mcp__mail__send"],
  ])("can be forced: %j", async (tool_choice, name) => {
    const { grammar } = await ask({ tools: namespaces, tool_choice }, calls(name, '{"q": ""}'));
    expect(grammar).toContain(name);
    expect(grammar).not.toContain(name === "mcp__docs__lookup" ? "mcp__mail" : "mcp__docs");
  });

  it("can be all that is allowed", async () => {
    const tools = [{ type: "function", name: "lookup", namespace: "mcp__docs" }];
    const { context, grammar } = await ask({
      tools: namespaces,
      tool_choice: { type: "allowed_tools", mode: "auto", tools },
    });
    expect(context).toContain("mcp__docs__lookup");
    expect(`${context}${grammar}`).not.toContain("mcp__mail");
  });
});

describe("custom tools that take free text", () => {
  it("are functions of one text, and answered as custom calls", async () => {
    const { body, context } = await ask({ tools: [note] }, calls("note", '{"input": "a \\"b\\"\\nc"}'));
    expect(context).toContain('"input":{"type":"string"}');
    expect(body.output).toMatchObject([
      { id: expect.stringMatching(/^ctc_/u), type: "custom_tool_call", name: "note", input: 'a "b"\nc' },
    ]);
  });

  it("stream as the official client expects, beside functions", async () => {
    const { app } = await gateway({
      sample: () => ({
        text: `Wait. ${genericToolSyntax.opening}{"name": "note", "arguments": {"input": "x"}}${genericToolSyntax.between}{"name": "lookup", "arguments": {"q": "y"}}${genericToolSyntax.closing}`,
      }),
    });
    const openai = new OpenAI({
      baseURL: "http://localhost/v1",
      apiKey: "none",
      fetch: async (url, init) => app.request(String(url), init as RequestInit),
    });
    const tools = [note, lookup] as OpenAI.Responses.Tool[];
    const stream = openai.responses.stream({ model: "plain", input: "Tea?", tools });
    const types: string[] = [];
    for await (const event of stream) types.push(event.type);
    const { output } = await stream.finalResponse();
    expect(output).toMatchObject([
      { type: "message" },
      { type: "custom_tool_call", name: "note", input: "x", call_id: expect.stringMatching(/^call_/u) },
      { type: "function_call", name: "lookup", arguments: '{"q": "y"}' },
    ]);
    expect(types).toContain("response.custom_tool_call_input.delta");
    expect(types).toContain("response.custom_tool_call_input.done");
  });

  it("give nothing of a text that was cut off", async () => {
    const said = {
      text: `${genericToolSyntax.opening}{"name": "note", "arguments": {"input": "hal`,
      finish: "length" as const,
    };
    const { body } = await ask({ tools: [note] }, said);
    expect(body).toMatchObject({ status: "incomplete", output: [{ type: "custom_tool_call", input: "" }] });
  });
});

describe("a history of other tools", () => {
  const question = { role: "user", content: "Tea?" };

  it("has calls of custom tools, shells and patches read, with their results", async () => {
    const input = [
      question,
      { type: "custom_tool_call", call_id: "1", name: "apply_patch", input: "*** Begin", status: "completed" },
      { type: "custom_tool_call_output", call_id: "1", output: "Done" },
      {
        type: "local_shell_call",
        id: "lsh",
        call_id: "2",
        status: "completed",
        action: { type: "exec", command: ["ls"] },
      },
      { type: "local_shell_call_output", id: "2", output: "a.txt" },
      { type: "shell_call", call_id: "3", action: { commands: ["ls"] } },
      { type: "shell_call_output", call_id: "3", output: [{ stdout: "b.txt", stderr: "" }] },
      { type: "apply_patch_call", call_id: "4", status: "completed", operation: { type: "delete_file", path: "a" } },
      { type: "apply_patch_call_output", call_id: "4", status: "completed" },
    ];
    const { response, context } = await ask({ input });
    expect(response.status).toBe(200);
    expect(response.headers.get("x-icdpo-ignored")).toBeNull();
    expect(context).toContain('{"name": "apply_patch", "arguments": {"input":"*** Begin"}}');
    expect(context).toContain('{"name": "local_shell", "arguments": {"type":"exec","command":["ls"]}}');
    expect(context).toContain("<tool_response>\na.txt\n</tool_response>");
    expect(context).toContain("b.txt");
    expect(context).toContain('{"name": "apply_patch", "arguments": {"type":"delete_file","path":"a"}}');
  });

  it("drops what services have done, and says so; thoughts without a word", async () => {
    const input = [
      question,
      { type: "reasoning", id: "rs_1", summary: [], encrypted_content: "x" },
      { type: "web_search_call", id: "ws_1", status: "completed", action: { type: "search", query: "tea" } },
      { type: "image_generation_call", id: "ig_1", status: "completed", result: "x" },
      { type: "ghost_snapshot", ghost_commit: {} },
    ];
    const { response, context } = await ask({ input });
    expect(context).toBe("<user>Tea?</user><assistant>");
    expect(response.headers.get("x-icdpo-ignored")).toBe(
      "input.web_search_call, input.image_generation_call, input.ghost_snapshot",
    );
  });

  it.each([
    ["item_reference", "no state is kept"],
    ["compaction", "only the service that has written it"],
    ["computer_call_output", "only text can be read"],
  ])("is refused where it cannot do without %s", async (type, reason) => {
    const { response, body } = await ask({ input: [question, { type, id: "1" }] });
    expect([response.status, body.error.param]).toEqual([400, "input.1.type"]);
    expect(body.error.message).toContain(reason);
  });
});

it("a request as Codex sends it is answered", async () => {
  const { response } = await ask({
    instructions: "You are a coding agent.",
    input: [
      { type: "message", role: "developer", content: [{ type: "input_text", text: "<permissions>" }] },
      { type: "message", role: "user", content: [{ type: "input_text", text: "Say tea." }] },
    ],
    tools: [
      { type: "function", name: "exec_command", description: "Runs.", strict: false, parameters },
      patch,
      { type: "web_search", external_web_access: false },
      ...namespaces,
      { type: "tool_search", execution: "client", description: "Finds.", parameters },
    ],
    tool_choice: "auto",
    parallel_tool_calls: false,
    reasoning: null,
    store: false,
    stream: false,
    include: ["reasoning.encrypted_content"],
    prompt_cache_key: "a",
    text: { verbosity: "low" },
    client_metadata: { a: "b" },
  });
  expect(response.status).toBe(200);
  expect(response.headers.get("x-icdpo-tools")).toBe("left-out; custom, web_search, tool_search");
});
