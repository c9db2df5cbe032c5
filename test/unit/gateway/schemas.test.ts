/** Schemas over HTTP, by every protocol: what is kept to, what is named as relaxed, and which candidates are preferred. */
import { describe, expect, it } from "vitest";
import { genericToolSyntax } from "../../../src/icdpo/tool-prompt.ts";
import type { Script } from "../scripted-engine.ts";
import { gateway, json } from "../scripted-gateway.ts";

const { opening, closing } = genericToolSyntax;
const called = (text: string): string => `${opening}{"name": "tag", "arguments": ${text}}${closing}`;
const unique = { type: "object", properties: { tags: { type: "array", uniqueItems: true } }, required: ["tags"] };
const user = [{ role: "user", content: "Tag it." }];
const says = (...texts: readonly string[]): Script => ({
  sample: (index) => ({ text: texts[index] ?? texts[0] ?? "" }),
});

/** The same schema and tool in each protocol's words. */
const protocols = [
  {
    path: "/v1/chat/completions",
    body: { messages: user },
    tool: (schema: unknown, more = {}) => ({
      tools: [{ type: "function", function: { name: "tag", parameters: schema, ...more } }],
    }),
    format: (schema: unknown, more = {}) => ({
      response_format: { type: "json_schema", json_schema: { name: "a", schema, ...more } },
    }),
    toolPath: "tools.0.function.parameters",
    formatPath: "response_format.json_schema.schema",
  },
  {
    path: "/v1/responses",
    body: { input: "Tag it." },
    tool: (schema: unknown, more = {}) => ({ tools: [{ type: "function", name: "tag", parameters: schema, ...more }] }),
    format: (schema: unknown, more = {}) => ({ text: { format: { type: "json_schema", name: "a", schema, ...more } } }),
    toolPath: "tools.0.parameters",
    formatPath: "text.format.schema",
  },
  {
    path: "/v1/messages",
    body: { messages: user, max_tokens: 50 },
    tool: (schema: unknown, more = {}) => ({ tools: [{ name: "tag", input_schema: schema, ...more }] }),
    format: (schema: unknown, more = {}) => ({ output_config: { format: { type: "json_schema", schema, ...more } } }),
    toolPath: "tools.0.input_schema",
    formatPath: "output_config.format.schema",
  },
];

describe.each(protocols)("$path", ({ path, body, tool, format, toolPath, formatPath }) => {
  const ask = async (more: Record<string, unknown>, model = "plain", script: Script = says(called('{"tags": []}'))) =>
    (await gateway(script)).post(path, { model, ...body, ...more });

  it.each([
    ["tools", tool(unique), toolPath],
    ["tools that are said not to be strict", tool(unique, { strict: false }), toolPath],
    ["formats", format(unique), formatPath],
  ])("names what is not kept to in a header, of %s, streamed or not", async (_, more, place) => {
    for (const stream of [false, true])
      for (const model of ["plain", "icdpo"]) {
        const response = await ask({ ...more, stream }, model);
        expect(response.status).toBe(200);
        expect(response.headers.get("x-icdpo-schema")).toBe(`relaxed; ${place}.properties.tags.uniqueItems`);
        await response.text();
      }
  });

  it.each([
    ["tools", tool(unique, { strict: true }), `${toolPath}.properties.tags`],
    ["formats", format(unique, { strict: true }), `${formatPath}.properties.tags`],
  ])("refuses it by its place where %s are strict", async (_, more, place) => {
    const response = await ask(more);
    expect(response.status).toBe(400);
    expect((await json(response)).error.message).toContain(`Invalid '${place}': 'uniqueItems'`);
  });

  it("says nothing where all is kept to, or nothing is asked", async () => {
    const plain = { type: "object", properties: { tags: { type: "array", items: { type: "string" } } } };
    for (const more of [
      {},
      tool(plain),
      format(plain),
      tool({}),
      tool({ type: "object", required: null, properties: null }),
    ])
      expect((await ask(more)).headers.get("x-icdpo-schema")).toBeNull();
  });

  it("prefers what fits the whole schema, and says which candidates do", async () => {
    // Candidate 1 has the best score.
    const texts = ['{"tags": [1, 2]}', '{"tags": [1, 1]}', '{"tags": [1,'];
    for (const [more, write] of [
      [tool(unique), called],
      [format(unique), (text: string) => text],
    ] as const) {
      const script: Script = {
        ...says(...texts.map(write)),
        sum: (context, text) =>
          context.includes("Who cares.") || context.includes("Google it.") ? -30 : text.includes("1, 1") ? -20 : -28,
      };
      const { icdpo } = await json(await ask({ ...more, icdpo: { explain: true } }, "icdpo", script));
      expect(icdpo.candidates.map(({ fits }: { fits: unknown }) => fits)).toEqual([true, false, false]);
      expect(icdpo.candidates.find(({ chosen }: { chosen: boolean }) => chosen).index).toBe(0);
    }
  });
});

describe("chat", () => {
  const ask = async (body: Record<string, unknown>, script: Script = says("{}")) =>
    (await gateway(script)).chat({ model: "plain", ...body });
  const format = (given: unknown) => ask({ response_format: given });
  const one = { type: "object", properties: { a: { type: "null" } }, required: ["a"], additionalProperties: false };
  const lost = { ...one, properties: { a: { type: "array", uniqueItems: true } } };

  it.each([
    ["json_object with a schema", { type: "json_object", schema: lost }, "response_format.schema"],
    ["a schema without its wrapper", { type: "json_schema", schema: lost }, "response_format.schema"],
    ["a schema in its wrapper's place", { type: "json_schema", json_schema: lost }, "response_format.json_schema"],
    ["a wrapper", { type: "json_schema", json_schema: { schema: lost } }, "response_format.json_schema.schema"],
  ])("reads %s", async (_, given, place) => {
    const response = await format(given);
    expect(response.headers.get("x-icdpo-schema")).toBe(`relaxed; ${place}.properties.a.uniqueItems`);
    const strict =
      "json_schema" in given
        ? { ...given, json_schema: { ...given.json_schema, strict: true } }
        : { ...given, strict: true };
    expect((await json(await format(strict))).error.param).toBe(`${place}.properties.a`);
  });

  it("refuses a format that asks for a schema, and has none", async () => {
    expect((await json(await format({ type: "json_schema" }))).error.param).toBe("response_format.json_schema");
  });

  it("never fails for a schema that is not strict, where tools may be called", async () => {
    const schemas = [
      { $ref: "#/$defs/lost" },
      { type: "object", properties: { a: { $ref: "https://example.com/a" } } },
      { not: {} },
      { type: "object", properties: { a: { type: "string", pattern: `^${"a?".repeat(20_000)}$` } } },
      {
        type: "object",
        properties: Object.fromEntries(Array.from({ length: 3_000 }, (_, i) => [`p${i}`, { type: "string" }])),
      },
      { anyOf: [{ $ref: "#" }, { type: "object" }] },
    ];
    for (const parameters of schemas) {
      const response = await ask(
        { tools: [{ type: "function", function: { name: "tag", parameters } }], tool_choice: "auto" },
        says("Hi."),
      );
      expect(response.status).toBe(200);
      expect(response.headers.get("x-icdpo-schema")).toMatch(/^relaxed; tools\.0\.function\.parameters/u);
    }
  });

  it("names places so that a header can hold them, and not too many", async () => {
    const names = [
      "a b",
      "ключ",
      "x,y",
      'q"',
      "n\nx",
      "\ud800",
      ...Array.from({ length: 30 }, (_, i) => `${i}`.padEnd(300, "n")),
    ];
    const properties = Object.fromEntries(names.map((name) => [name, { type: "array", uniqueItems: true }]));
    const header = (await format({ type: "json_schema", schema: { type: "object", properties } })).headers.get(
      "x-icdpo-schema",
    );
    expect(header).toMatch(/^relaxed; [\w.%, -]+$/u);
    expect(header).toContain("response_format.schema.properties.a%20b.uniqueItems");
    expect(header).toContain("x%2Cy");
    expect(header).toMatch(/, 20 more$/u);
    expect(header?.length).toBeLessThan(3_000);
  });

  it("lets an answer in words be, where nothing has to be called", async () => {
    const tools = [{ type: "function", function: { name: "tag", parameters: unique } }];
    const { icdpo } = await json(await ask({ tools, icdpo: { explain: true } }, says("Hello.")));
    expect(icdpo.candidates[0].fits).toBe(true);
  });
});
