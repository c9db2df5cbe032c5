import { describe, expect, it } from "vitest";
import { gateway, json } from "../../scripted-gateway.ts";

const lookup = { type: "function", function: { name: "lookup", parameters: { type: "object", properties: {} } } };
const other = { type: "function", function: { name: "other" } };

async function ask(body: Record<string, unknown>) {
  const { chat, engine } = await gateway({ sample: () => ({ text: "Tea." }) });
  const response = await chat({ model: "plain", ...body });
  return { response, body: await json(response), context: engine.calls[0]?.context ?? "" };
}

describe("tools of other types", () => {
  it.each(["web_search", "custom", "namespace", "file_search", "mcp", "code_interpreter"])(
    "of type %s are left out, and a header says so",
    async (type) => {
      const { response, context } = await ask({ tools: [{ type, custom: { name: "a" } }, lookup] });
      expect(response.status).toBe(200);
      expect(response.headers.get("x-icdpo-tools")).toBe(`left-out; ${type}`);
      expect(context).toContain('"name":"lookup"');
    },
  );

  it("are named on streams, and on scored routes, too", async () => {
    const { chat } = await gateway();
    const response = await chat({ model: "icdpo", stream: true, tools: [{ type: "web_search" }] });
    expect(response.headers.get("x-icdpo-tools")).toBe("left-out; web_search");
    await response.text();
  });

  it.each([
    ["a custom tool", { type: "custom", custom: { name: "a" } }, 'tools of type "custom" are left out'],
    ["any, where none can be offered", "required", "functions that the model can be offered"],
    [
      "some of those left out",
      { type: "allowed_tools", allowed_tools: { mode: "required", tools: [{ type: "custom" }] } },
      "functions that the model can be offered",
    ],
  ])("cannot be forced: %s", async (_, tool_choice, message) => {
    const { response, body } = await ask({ tools: [{ type: "custom", custom: { name: "a" } }], tool_choice });
    expect([response.status, body.error.param]).toEqual([400, "tool_choice"]);
    expect(body.error.message).toContain(message);
  });

  it("do not hide a function that is wrong", async () => {
    const { body } = await ask({ tools: [{ type: "function", function: {} }] });
    expect(body.error).toMatchObject({ param: "tools.0", message: expect.stringContaining("function: name") });
  });
});

it("only the tools that are allowed are offered", async () => {
  const tool_choice = { type: "allowed_tools", allowed_tools: { mode: "auto", tools: [other] } };
  const { context } = await ask({ tools: [lookup, other], tool_choice });
  expect(context).toContain('"name":"other"');
  expect(context).not.toContain("lookup");
});

describe("messages", () => {
  const user = { role: "user", content: "Tea?" };
  const call = (id: string, name = "lookup") => ({ id, type: "function", function: { name, arguments: "{}" } });
  const tool = (id: string, content: unknown) => ({ role: "tool", tool_call_id: id, content });
  const contextOf = async (messages: unknown[]): Promise<string> => (await ask({ messages })).context;

  it.each([[null], [undefined], [""], [[]]])("with the content %j are empty, whoever speaks", async (content) => {
    const roles = ["system", "user", "assistant", "developer"].map((role) => ({ role, content }));
    expect(await contextOf([...roles, user])).toBe(
      "<system></system><user></user><assistant></assistant><system></system><user>Tea?</user><assistant>",
    );
    const answered = [user, { role: "assistant", content, tool_calls: [call("1")] }, tool("1", content)];
    expect(await contextOf(answered)).toContain("<user><tool_response>\n\n</tool_response></user>");
  });

  it("have their text parts and refusals joined", async () => {
    const content = [
      { type: "text", text: "a" },
      { type: "refusal", refusal: "b" },
      { type: "input_text", text: "c" },
    ];
    expect(await contextOf([{ role: "assistant", content }, user])).toContain("<assistant>abc</assistant>");
  });

  it.each(["image_url", "input_audio", "file"])("with a part of type %s are refused, which is named", async (type) => {
    const { response, body } = await ask({
      messages: [{ role: "user", content: [{ type: "text", text: "a" }, { type }] }],
    });
    expect([response.status, body.error.param]).toEqual([400, "messages.0.content"]);
    expect(body.error.message).toContain(`part 1 is of type "${type}": only text parts can be read`);
  });

  it("of custom calls are read", async () => {
    const custom = { id: "1", type: "custom", custom: { name: "note", input: "a\nb" } };
    const context = await contextOf([user, { role: "assistant", tool_calls: [custom] }, tool("1", "ok")]);
    expect(context).toContain('{"name": "note", "arguments": {"input":"a\\nb"}}');
  });

  it.each([
    ["out of order", [tool("2", "B"), tool("1", "A")]],
    ["behind what the user says", [user, tool("1", "A"), tool("2", "B")]],
    ["in part twice", [tool("1", "A"), tool("2", "B"), tool("1", "A again")]],
  ])("with results %s have each where it belongs", async (_, results) => {
    const turn = { role: "assistant", tool_calls: [call("1"), call("2")] };
    const context = await contextOf([user, turn, ...results]);
    expect(context.split("</tool_call></assistant>")[1]).toMatch(/^<user><tool_response>\nA.*B\n<\/tool_response>/su);
  });

  it("may hold a result before its call, or none", async () => {
    const turn = { role: "assistant", tool_calls: [call("1"), call("2")] };
    expect(await contextOf([user, tool("1", "A"), turn, user])).toMatch(
      /<\/tool_call><\/assistant><user><tool_response>\nA\n<\/tool_response><\/user><user>Tea\?<\/user><assistant>$/u,
    );
  });

  it("may give ids to several calls: a result is of the last before it", async () => {
    const turn = { role: "assistant", tool_calls: [call("1")] };
    const context = await contextOf([user, turn, tool("1", "first"), turn, tool("1", "second")]);
    expect(context.indexOf("first")).toBeLessThan(context.lastIndexOf("<assistant><tool_call>"));
    expect(context.indexOf("second")).toBeGreaterThan(context.lastIndexOf("<assistant><tool_call>"));
  });

  it("are refused where the call of a result stands nowhere", async () => {
    const { response, body } = await ask({ messages: [user, tool("1", "A")] });
    expect([response.status, body.error.param]).toEqual([400, "messages.1.tool_call_id"]);
  });
});
