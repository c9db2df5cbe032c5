/**
 * Schemas that are not strict: they are kept to as far as a grammar can, and what is left over is named. None of them
 * fails a request but what is no schema.
 */
import { beforeAll, describe, expect, it } from "vitest";
import { type AnswerGrammar, answerGrammar } from "../../../src/gateway/answer-grammar.ts";
import { randomFrom } from "../../../src/icdpo/seed.ts";
import { genericToolSyntax } from "../../../src/icdpo/tool-prompt.ts";
import { GbnfSampler } from "./gbnf-sampler.ts";
import { grammarParser } from "./llama-grammar.ts";

let parse: Awaited<ReturnType<typeof grammarParser>>;
beforeAll(async () => {
  parse = await grammarParser();
});

const nothing = { tools: [], toolChoice: "auto", parallelToolCalls: true, format: { type: "text" } } as const;
const many = <Item>(count: number, make: (index: number) => Item): Item[] =>
  Array.from({ length: count }, (_, i) => make(i));

function grammarOf(schema: unknown, strict = false): AnswerGrammar {
  return answerGrammar({ ...nothing, format: { type: "json-schema", schema, path: "s", strict } }, genericToolSyntax);
}

/** Of one tool that must be called. */
function argumentsOf(parameters: unknown, strict = false) {
  const tool = { name: "t", parameters: parameters as Record<string, unknown>, path: "p", strict };
  const { gbnf = "", relaxed } = answerGrammar(
    { ...nothing, tools: [tool], toolChoice: "required" },
    genericToolSyntax,
  );
  const includes = parse(gbnf);
  const call = (text: string): string => `<tool_call>\n{"name": "t", "arguments": ${text}}\n</tool_call>`;
  return { relaxed, includes: (text: string) => includes(call(text)) };
}

const ahead = "^(?=.*[0-9])[a-z0-9]+$";
const twoLists = {
  anyOf: [...many(3, (i) => ({ type: "array", items: { $ref: "#" }, minItems: i })), { type: "null" }],
};

describe("what a grammar cannot keep to is named, and the rest is kept to", () => {
  it.each<[string, unknown, string[], string[], string[]]>([
    [
      "uniqueItems",
      { type: "array", items: { type: "null" }, uniqueItems: true },
      ["s.uniqueItems"],
      ["[null, null]"],
      ["[1]"],
    ],
    ["not", { type: "string", maxLength: 2, not: { const: "x" } }, ["s.not"], ['"x"'], ['"abc"']],
    [
      "if",
      { type: "object", properties: { a: { type: "null" } }, if: { required: ["b"] }, else: { required: ["a"] } },
      ["s.if"],
      ["{}"],
      ['{"b": 1}'],
    ],
    [
      "contains, which needs an item",
      { type: "array", items: { type: "integer" }, contains: { const: 3 } },
      ["s.contains"],
      ["[1]"],
      ["[]", "[null]"],
    ],
    [
      "dependencies",
      { type: "object", properties: { a: { type: "null" }, b: { type: "null" } }, dependencies: { a: ["b"] } },
      ["s.dependentRequired"],
      ['{"a": null}'],
      ['{"a": 1}'],
    ],
    [
      "minProperties",
      {
        type: "object",
        properties: { a: { type: "null" }, b: { type: "null" }, c: { type: "null" } },
        minProperties: 2,
      },
      ["s.minProperties"],
      ['{"a": null, "c": null}'],
      ["{}"],
    ],
    ["multipleOf", { type: "integer", multipleOf: 9_973 }, ["s.multipleOf"], ["3"], ["2.5"]],
    ["multipleOf in decimals", { type: "number", multipleOf: 99.73 }, ["s.multipleOf"], ["0.25"], ["0.125"]],
    ["multipleOf in more decimals", { type: "number", multipleOf: 1e-7 }, ["s.multipleOf"], ["0.25"], ['"0.25"']],
    ["a pattern that looks ahead", { type: "string", pattern: ahead }, ["s.pattern"], ['"a"', '"a1"'], ['"A"', '""']],
    [
      "a pattern of more than grammars have",
      { type: "string", pattern: "^(a)\\1$", maxLength: 2 },
      ["s.pattern"],
      ['"x"'],
      ['"abc"'],
    ],
    [
      "a format that is not known",
      { type: "string", format: "colour", maxLength: 3 },
      ["s.format"],
      ['"red"'],
      ['"blue"', "1"],
    ],
    ["a format beside a pattern", { type: "string", format: "date", pattern: "^x" }, ["s.format"], ['"x"'], ['"1"']],
    [
      "a format that is longer",
      { type: "string", format: "date", maxLength: 5 },
      ["s.maxLength"],
      ['"2024-01-01"'],
      ['"a"'],
    ],
    [
      "a pattern that is longer",
      { type: "string", pattern: "^[0-9]{5}$", minLength: 6 },
      ["s.minLength"],
      ['"12345"'],
      ['"123456"'],
    ],
    [
      "a pattern without end",
      { type: "string", pattern: "^(a{0,50}b)*$", maxLength: 250 },
      ["s.maxLength"],
      ['"aabab"'],
      ['"a"'],
    ],
    [
      "alternatives that may hold at once",
      { oneOf: [{ type: "integer" }, { type: "number" }] },
      ["s.oneOf"],
      ["1", "1.5"],
      ['"a"'],
    ],
    [
      "two patterns at once",
      { allOf: [{ type: "string", pattern: "^a" }, { pattern: "b$" }] },
      ["s.pattern"],
      ['"a"'],
      ['"b"'],
    ],
    [
      "a reference to nothing",
      { type: "object", properties: { a: { $ref: "#/$defs/x" } } },
      ["s.properties.a"],
      ['{"a": [1]}'],
      ["[]"],
    ],
    [
      "a reference elsewhere",
      { items: { $ref: "https://example.com/x" }, type: "array" },
      ["s.items"],
      ["[1]"],
      ["{}"],
    ],
    ["a type that is none", { type: "any" }, ["s.type"], ["1", "[]"], ["x"]],
    ["no alternatives", { anyOf: [], type: "null" }, ["s.anyOf"], ["null"], ["1"]],
    [
      "what is required, and impossible",
      { type: "object", properties: { a: { not: {} } }, required: ["a"] },
      ["s.properties.a"],
      ['{"a": 1}'],
      ["{}"],
    ],
    ["nothing", { not: {} }, ["s"], ["1", "{}"], ["x"]],
    ["no constants", { enum: [] }, ["s"], ["1"], ["x"]],
    [
      "an alternative that no other can stand for",
      { anyOf: [{ type: "string", pattern: ahead }, { type: "null" }] },
      ["s.anyOf.0.pattern"],
      ["null", '"a"'],
      ["1"],
    ],
  ])("%s", (_, schema, places, inside, outside) => {
    const { gbnf = "", relaxed } = grammarOf(schema);
    expect(relaxed).toEqual(places);
    const includes = parse(gbnf);
    expect(inside.filter((text) => !includes(text))).toEqual([]);
    expect(outside.filter((text) => includes(text))).toEqual([]);
    // The same is refused, where it is to be kept to.
    expect(() => grammarOf(schema, true)).toThrow("Invalid 's");
  });

  it.each<[string, unknown]>([
    [
      "an alternative that looks ahead goes, where another text stays",
      {
        anyOf: [
          { type: "string", pattern: ahead },
          { type: "string", format: "date" },
        ],
      },
    ],
    ["what is impossible is left out", { type: "object", properties: { a: { not: {} }, b: { type: "null" } } }],
    ["a map by names", { type: "object", propertyNames: { pattern: "^[a-z]+$" }, additionalProperties: true }],
  ])("nothing is named where nothing is lost: %s", (_, schema) => {
    expect(grammarOf(schema).relaxed).toEqual([]);
    expect(grammarOf(schema, true).relaxed).toEqual([]);
  });

  it("names a definition's place once, wherever it is used, and not where it is not", () => {
    const $defs = { a: { type: "string", not: { const: "x" } }, b: { type: "array", uniqueItems: true } };
    const { relaxed } = grammarOf({
      $defs,
      type: "object",
      properties: { a: { $ref: "#/$defs/a" }, b: { $ref: "#/$defs/a" } },
    });
    expect(relaxed).toEqual(["s.properties.a.not"]);
  });

  it.each<[string, unknown, string]>([
    ["a type", { type: 5 }, "s.type"],
    ["properties", { type: "object", properties: 5 }, "s.properties"],
    ["a property", { properties: { a: 3 } }, "s.properties.a"],
    ["names", { type: "object", required: "a" }, "s.required"],
    ["a bound", { type: "integer", minimum: "0" }, "s.minimum"],
    ["a length", { type: "string", minLength: -1 }, "s.minLength"],
    ["constants", { enum: "a" }, "s.enum"],
    ["alternatives", { anyOf: {} }, "s.anyOf"],
    ["a pattern", { type: "string", pattern: {} }, "s.pattern"],
  ])("what is no schema is refused: %s", (_, schema, place) => {
    for (const strict of [true, false]) expect(() => grammarOf(schema, strict)).toThrow(`Invalid '${place}'`);
  });
});

describe("a tool's arguments", () => {
  it.each<[string, unknown, string[], string[]]>([
    ["no schema", {}, ["{}", '{"a": [1]}'], ["[]", "1"]],
    ["an object", { type: "object" }, ["{}", '{"a": {"b": null}}'], ["[]"]],
    ["no properties but null", { type: "object", properties: null }, ["{}", '{"a": 1}'], ["1"]],
    ["properties, and none", { type: "object", properties: {} }, ["{}"], ['{"a": 1}']],
    [
      "properties, and none that are listed",
      { properties: {}, type: "object", additionalProperties: true },
      ['{"a": 1}'],
      ["1"],
    ],
    [
      "a reference",
      { $ref: "#/$defs/a", $defs: { a: { type: "object", properties: { a: { type: "null" } } } } },
      ['{"a": null}'],
      ["null"],
    ],
    [
      "one of several",
      { anyOf: [{ type: "object", properties: { a: { type: "null" } } }, { type: "null" }] },
      ['{"a": null}'],
      ["null"],
    ],
    ["a remark", { description: "none" }, ["{}", '{"a": 1}'], ["1"]],
  ])("are an object, whatever the schema: %s", (_, parameters, inside, outside) => {
    for (const strict of [true, false]) {
      const { includes, relaxed } = argumentsOf(parameters, strict);
      expect(relaxed).toEqual([]);
      expect(inside.filter((text) => !includes(text))).toEqual([]);
      expect(outside.filter(includes)).toEqual([]);
    }
  });

  it.each([
    ["another type", { type: "string" }],
    ["nothing", { not: {} }],
    ["what cannot be found", { $ref: "#/$defs/a" }],
  ])("are any object, where the schema asks for %s", (_, parameters) => {
    const { includes, relaxed } = argumentsOf(parameters);
    expect(relaxed).toEqual(["p"]);
    expect(["{}", '{"a": 1}'].every(includes)).toBe(true);
    expect(["1", '"a"'].some(includes)).toBe(false);
    expect(() => argumentsOf(parameters, true)).toThrow("Invalid 'p");
  });
});

describe("what is too much is not kept to", () => {
  const large = {
    type: "object",
    properties: Object.fromEntries(many(6_000, (i) => [`p${i}`, { type: "string", maxLength: 3 }])),
  };
  it.each<[string, unknown, string]>([
    ["thousands of properties", large, "s"],
    [
      "thousands of properties in one",
      { type: "object", properties: { a: { type: "null" }, b: large } },
      "s.properties.b",
    ],
    [
      "constants",
      { type: "object", properties: { a: { enum: many(20_000, (i) => `${i} of these`) } } },
      "s.properties.a",
    ],
    [
      "a pattern",
      { type: "object", properties: { a: { type: "string", pattern: `^(${"b|".repeat(20_000)})$` } } },
      "s.properties.a",
    ],
    ["lists that begin alike", twoLists, "s"],
    ["depth", JSON.parse(`${'{"type":"array","items":'.repeat(90)}{}${"}".repeat(90)}`), "s.items"],
  ])("%s", (_, schema, place) => {
    const { gbnf = "", relaxed } = grammarOf(schema);
    expect(relaxed).toHaveLength(1);
    expect(relaxed[0]?.startsWith(place)).toBe(true);
    expect(gbnf.length).toBeLessThan(100_000);
    const includes = parse(gbnf);
    const sampler = new GbnfSampler(gbnf, randomFrom(1));
    for (let i = 0; i < 10; i++) expect(includes(sampler.draw())).toBe(true);
  });

  it("of many tools, the last; the request is answered", () => {
    const properties = Object.fromEntries(many(60, (i) => [`property_${i}`, { type: "string" }]));
    const tools = many(128, (i) => ({
      name: `tool_${i}`,
      parameters: { type: "object", properties },
      path: `tools.${i}`,
    }));
    const { gbnf, relaxed } = answerGrammar({ ...nothing, tools }, genericToolSyntax);
    expect(gbnf).toContain("tool_127");
    expect(relaxed).not.toContain("tools.0");
    expect(relaxed).toContain("tools.127");
  });

  it("a strict schema beside it is kept to, or refused", () => {
    const tool = (name: string, parameters: Record<string, unknown>, strict: boolean) => ({
      name,
      parameters,
      path: name,
      strict,
    });
    const strict = tool("strict", { type: "object", properties: { a: { type: "null" } } }, true);
    const open = tool("open", { type: "object", properties: { a: twoLists } }, false);
    const [place] = answerGrammar({ ...nothing, tools: [strict, open] }, genericToolSyntax).relaxed;
    expect(place?.startsWith("open.properties.a")).toBe(true);
    const never = tool("strict", { type: "object", properties: { a: { not: { minimum: 3 } } } }, true);
    expect(() => answerGrammar({ ...nothing, tools: [open, never] }, genericToolSyntax)).toThrow(
      "Invalid 'strict.properties.a'",
    );
  });
});
