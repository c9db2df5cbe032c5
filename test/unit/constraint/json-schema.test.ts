import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { addJsonObject } from "../../../src/constraint/any-json.ts";
import { Grammar } from "../../../src/constraint/gbnf.ts";
import { addJsonSchema } from "../../../src/constraint/json-schema.ts";
import { callsOnly, textOrCalls } from "../../../src/constraint/tool-calls.ts";
import { randomFrom } from "../../../src/icdpo/seed.ts";
import { genericToolSyntax } from "../../../src/icdpo/tool-prompt.ts";
import { GatewayError } from "../../../src/types/error.ts";
import { GbnfSampler } from "./gbnf-sampler.ts";
import { grammarParser } from "./llama-grammar.ts";

let parse: Awaited<ReturnType<typeof grammarParser>>;
beforeAll(async () => {
  parse = await grammarParser();
});

// Binary has not all decimals: 0.07 / 0.01 is 7.000000000000001.
const ajv = new Ajv2020({ strict: false, allErrors: true, multipleOfPrecision: 1 });
addFormats.default(ajv);

function gbnfOf(schema: unknown): string {
  const grammar = new Grammar();
  return grammar.toGbnf(addJsonSchema(grammar, { schema, path: "schema", strict: true }));
}

/** Texts drawn from a schema's grammar are JSON, valid against what it means, and llama.cpp's. */
function checkDrawn(schema: unknown, count: number, seed = 1, meaning = schema): void {
  const gbnf = gbnfOf(schema);
  const includes = parse(gbnf);
  const validate = ajv.compile(meaning as Record<string, unknown>);
  const sampler = new GbnfSampler(gbnf, randomFrom(seed));
  for (let i = 0; i < count; i++) {
    const text = sampler.draw();
    expect(validate(JSON.parse(text)), `${text}: ${ajv.errorsText(validate.errors)}`).toBe(true);
    expect(includes(text), `llama.cpp does not find in its grammar: ${text}`).toBe(true);
  }
}

const person = z.object({
  name: z.string(),
  age: z.int().min(0).max(130).optional(),
  email: z.email(),
  born: z.iso.date(),
  at: z.iso.datetime(),
});

const schemas: Record<string, unknown> = {
  anything: true,
  "an empty schema": {},
  "a string": { type: "string" },
  "a bounded string": { type: "string", minLength: 2, maxLength: 5 },
  "a long string": { type: "string", maxLength: 5_000 },
  "an integer": { type: "integer" },
  "a number": { type: "number" },
  "a boolean": { type: "boolean" },
  null: { type: "null" },
  "several types": { type: ["string", "null", "integer"] },
  "a percentage": { type: "integer", minimum: 0, maximum: 100 },
  "a range of odd ends": { type: "integer", minimum: 17, maximum: 4_321 },
  "negative integers": { type: "integer", minimum: -250, maximum: -13 },
  "integers around zero": { type: "integer", minimum: -7, maximum: 12 },
  "exclusive bounds": { type: "integer", exclusiveMinimum: 3, exclusiveMaximum: 6 },
  "one integer": { type: "integer", minimum: 5, maximum: 5 },
  "bounds between integers": { type: "number", minimum: 0.5, maximum: 2.7 },
  "a share": { type: "number", minimum: 0, maximum: 1 },
  "negative numbers": { type: "number", minimum: -10, maximum: -5 },
  "numbers around zero": { type: "number", minimum: -1, maximum: 1 },
  "an exclusive bound": { type: "number", exclusiveMinimum: 0 },
  "half a range": { type: "integer", minimum: 1_000 },
  "32 bits": { type: "integer", format: "int32" },
  constants: { enum: ["red", 'a "quoted" one', 3, null, { a: [1, "b"] }, true] },
  "constants of a type": { type: "string", enum: ["a", 1, "b"] },
  "a constant": { const: { kind: "x" } },
  "an object": {
    type: "object",
    properties: { a: { type: "string" }, b: { type: "integer" } },
    required: ["a", "b"],
    additionalProperties: false,
  },
  "optional properties": {
    type: "object",
    properties: { a: { type: "null" }, b: { type: "null" }, c: { type: "null" }, d: { type: "null" } },
    required: ["c"],
    additionalProperties: false,
  },
  "optional properties only": {
    type: "object",
    properties: { a: { type: "null" }, b: { type: "null" }, c: { type: "null" } },
  },
  "no properties": { type: "object", properties: {}, additionalProperties: false },
  "odd names": {
    type: "object",
    properties: {
      __proto__x: { type: "null" },
      constructor: { type: "null" },
      'a "b"\n': { type: "null" },
      ключ: { type: "null" },
    },
    required: ["constructor"],
  },
  "a map": { type: "object", additionalProperties: { type: "integer", minimum: 0, maximum: 9 } },
  "a required name that is not described": { type: "object", required: ["x"] },
  "an array": { type: "array", items: { type: "boolean" } },
  "a bounded array": { type: "array", items: { type: "boolean" }, minItems: 2, maxItems: 4 },
  "at most one item": { type: "array", items: { type: "boolean" }, maxItems: 1 },
  "no items": { type: "array", maxItems: 0 },
  "a tuple": { type: "array", prefixItems: [{ type: "string" }, { type: "integer" }], items: false, minItems: 2 },
  "a tuple and more": {
    type: "array",
    prefixItems: [{ type: "null" }],
    items: { type: "boolean" },
    minItems: 3,
    maxItems: 5,
  },
  alternatives: { anyOf: [{ type: "string" }, { type: "array", items: { type: "integer" }, maxItems: 2 }] },
  "exclusive alternatives by type": { oneOf: [{ type: "string" }, { type: "integer" }] },
  "exclusive alternatives by a constant": {
    oneOf: [
      {
        type: "object",
        properties: { kind: { const: "a" }, x: { type: "integer" } },
        required: ["kind", "x"],
        additionalProperties: false,
      },
      {
        type: "object",
        properties: { kind: { const: "b" }, y: { type: "string" } },
        required: ["kind"],
        additionalProperties: false,
      },
    ],
  },
  "alternatives beside properties": {
    type: "object",
    properties: { a: { type: "integer" }, b: { type: "integer" } },
    additionalProperties: false,
    anyOf: [{ required: ["a"] }, { required: ["b"] }],
  },
  "all of several": {
    allOf: [
      { type: "object", properties: { a: { type: "integer" } }, required: ["a"] },
      { properties: { b: { type: "null" } }, required: ["b"] },
    ],
  },
  "all of several bounds": { allOf: [{ type: "integer", minimum: 3 }, { type: "number", maximum: 9 }, { minimum: 5 }] },
  "one side allows no more": {
    allOf: [
      { type: "object", properties: { a: { type: "null" }, b: { type: "null" } } },
      { properties: { a: { type: "null" } }, additionalProperties: false },
    ],
  },
  references: {
    $defs: { item: { type: "object", properties: { n: { type: "integer" } }, required: ["n"] } },
    type: "array",
    items: { $ref: "#/$defs/item" },
    maxItems: 3,
  },
  "a reference with more": {
    $defs: { s: { type: "string", maxLength: 3 } },
    type: "object",
    properties: { a: { $ref: "#/$defs/s", description: "x" }, b: { $ref: "#/$defs/s", minLength: 2 } },
    required: ["a", "b"],
  },
  "a list that holds itself": {
    $defs: {
      node: {
        type: "object",
        properties: { value: { type: "integer" }, next: { anyOf: [{ $ref: "#/$defs/node" }, { type: "null" }] } },
        required: ["value", "next"],
        additionalProperties: false,
      },
    },
    $ref: "#/$defs/node",
  },
  "a tree that holds itself": {
    type: "object",
    properties: { children: { type: "array", items: { $ref: "#" }, maxItems: 2 } },
    required: ["children"],
    additionalProperties: false,
  },
  "a pointer with escapes": {
    definitions: { "a/b": { type: "null" } },
    type: "object",
    properties: { x: { $ref: "#/definitions/a~1b" } },
    required: ["x"],
  },
  "a pattern": { type: "string", pattern: "^[A-Z]{2,3}-\\d+(?:\\.[a-z_]+)?$" },
  "a pattern of any text around": { type: "string", pattern: "foo|ba[rz]" },
  "a pattern with characters that JSON escapes": { type: "string", pattern: '^["\\\\\\n\\t]+[^a-z"]?$' },
  "a pattern of nothing": { type: "string", pattern: "^$" },
  "negated classes": { type: "string", pattern: "^\\S\\W\\D[^\\w\\s]$" },
  unicode: { type: "string", pattern: "^[à-ü€\\u{1F600}]{1,4}$" },
  "nested groups": { type: "string", pattern: "^(a(b|c){2})+(?<x>d?)$" },
  ...Object.fromEntries(
    ["date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"].map((format) => [
      `the format ${format}`,
      { type: "string", format },
    ]),
  ),
  "any object": { type: "object" },
  "a property that is impossible": {
    type: "object",
    properties: { a: { not: {} }, b: { type: "null" }, c: { allOf: [false] } },
  },
  "items that are impossible": { type: "array", items: { not: {} } },
  "an alternative that is impossible": {
    anyOf: [{ not: true }, { type: "null" }, { type: "integer", minimum: 2, maximum: 1 }],
  },
  "not of a type": { type: ["string", "null", "boolean"], not: { type: "string" } },
  "not with a property": {
    type: "object",
    properties: { a: { type: "null" }, b: { type: "null" } },
    not: { required: ["a"] },
  },
  "constants that something forbids": {
    enum: ["a", "bb", "ccc", 3],
    minLength: 2,
    not: { const: "ccc" },
    type: "string",
  },
  "a constant beside a reference": {
    $defs: { s: { type: "string", maxLength: 2 } },
    $ref: "#/$defs/s",
    enum: ["a", "bbb"],
  },
  "names of a pattern": {
    type: "object",
    propertyNames: { pattern: "^[a-z]{2,4}$" },
    additionalProperties: { type: "integer" },
  },
  "names that are texts": { type: "object", propertyNames: { type: "string" }, additionalProperties: { type: "null" } },
  "names that are listed": {
    type: "object",
    propertyNames: { type: "string", enum: ["x", "y", "z"] },
    additionalProperties: { type: "boolean" },
    required: ["y"],
  },
  "names that are too long": {
    type: "object",
    propertyNames: { maxLength: 2 },
    properties: { abc: { type: "null" }, ab: { type: "null" } },
  },
  "entries by a pattern": {
    type: "object",
    patternProperties: { "^x-[a-z]+$": { type: "null" } },
    additionalProperties: false,
  },
  "properties that match a pattern": {
    type: "object",
    patternProperties: { "^n": { type: "integer", maximum: 9 }, o$: { type: "number", minimum: 0 } },
    properties: { no: {}, n: { minimum: 3 }, b: { type: "null" } },
    additionalProperties: false,
  },
  "one property or more": {
    type: "object",
    properties: { a: { type: "null" }, b: { type: "null" }, c: { type: "null" } },
    minProperties: 1,
  },
  "all properties": { type: "object", properties: { a: { type: "null" }, b: { type: "null" } }, minProperties: 2 },
  "one property at most": {
    type: "object",
    properties: { a: { type: "null" }, b: { type: "null" } },
    maxProperties: 1,
  },
  "required ones only": {
    type: "object",
    properties: { a: { type: "null" }, b: { type: "null" } },
    required: ["b"],
    maxProperties: 1,
  },
  "one entry or more": { type: "object", additionalProperties: { type: "null" }, minProperties: 1, maxProperties: 3 },
  "different items, of one": { type: "array", items: { type: "boolean" }, uniqueItems: true, maxItems: 1 },
  "nothing that is not evaluated": {
    $defs: { a: { type: "object", properties: { a: { type: "null" } }, required: ["a"] } },
    allOf: [{ $ref: "#/$defs/a" }, { properties: { b: { type: "null" } } }],
    unevaluatedProperties: false,
  },
  "no items that are not evaluated": { type: "array", prefixItems: [{ type: "null" }], unevaluatedItems: false },
  "an anchor": {
    $defs: { a: { $anchor: "here", type: "null" } },
    type: "array",
    items: { $ref: "#here" },
    maxItems: 2,
  },
  "an id within": { $defs: { a: { $id: "other.json", type: "null" } }, $ref: "other.json" },
  "its own id": {
    $id: "https://example.com/a.json",
    $ref: "https://example.com/a.json#/$defs/n",
    $defs: { n: { type: "null" } },
  },
  "several references at once": {
    $defs: { a: { type: "object", properties: { a: { type: "null" } } }, b: { $ref: "#/$defs/a", required: ["a"] } },
    allOf: [{ $ref: "#/$defs/a" }, { $ref: "#/$defs/b" }],
  },
  "alternatives by a constant with a default": {
    oneOf: ["a", "b"].map((kind) => ({
      type: "object",
      properties: { kind: { const: kind, default: kind, type: "string" }, [kind]: { type: "null" } },
    })),
  },
  "what Rust writes of an enum": {
    oneOf: [
      { type: "string", enum: ["Unit"] },
      { type: "object", required: ["A"], properties: { A: { type: "null" } }, additionalProperties: false },
      { type: "object", required: ["B"], properties: { B: { type: "integer" } }, additionalProperties: false },
    ],
  },
  "one of two required properties": {
    type: "object",
    properties: { a: { type: "null" }, b: { type: "null" }, c: { type: "null" } },
    oneOf: [{ required: ["a"] }, { required: ["b", "c"] }],
  },
  "an alternative that looks ahead, and another": {
    anyOf: [
      { type: "string", pattern: "^(?=a)b?" },
      { type: "string", format: "date" },
    ],
  },
  "a format that is as long as it may be": { type: "string", format: "date", minLength: 10, maxLength: 10 },
  "an address as pydantic writes it": { type: "string", format: "uri", minLength: 1, maxLength: 2083 },
  "a pattern with a length": { type: "string", pattern: "^[a-z][a-z0-9-]*$", minLength: 2, maxLength: 5 },
  "a pattern that any length suits": { type: "string", pattern: "\\S", minLength: 1 },
  "a pattern around which text may stand, with a length": {
    type: "string",
    pattern: "[0-9]+x",
    minLength: 3,
    maxLength: 6,
  },
  "several repetitions, with a length": {
    type: "string",
    pattern: "^[a-z]+@[a-z]+\\.[a-z]{2,}$",
    maxLength: 12,
    minLength: 9,
  },
  "a pattern of one length": { type: "string", pattern: "^[0-9]{5}$", minLength: 5, maxLength: 5 },
  "what zod writes": z.toJSONSchema(person),
  "what zod writes of unions": z.toJSONSchema(
    z.array(
      z.union([
        z.object({ type: z.literal("a"), id: z.uuid() }),
        z.object({ type: z.literal("b"), ip: z.ipv4() }),
        z.tuple([z.number(), z.null()]),
      ]),
    ),
  ),
  "what pydantic writes": {
    $defs: { Colour: { enum: ["red", "green"], title: "Colour", type: "string" } },
    properties: {
      colour: { allOf: [{ $ref: "#/$defs/Colour" }], default: "red" },
      tags: { default: [], items: { type: "string" }, title: "Tags", type: "array" },
      size: { anyOf: [{ type: "number" }, { type: "null" }], default: null, title: "Size" },
    },
    required: ["colour"],
    title: "Thing",
    type: "object",
  },
};

describe("every text of the grammar is valid", () => {
  it.each(Object.entries(schemas))("%s", (_, schema) => {
    checkDrawn(schema, 40);
  });

  it.each<[string, unknown, unknown]>([
    [
      "nulls where keywords are absent",
      {
        type: "object",
        required: null,
        properties: {
          a: { type: "string", pattern: null, enum: null, format: null, minLength: null, const: null },
          b: { type: "array", items: null, minItems: null, prefixItems: null },
          c: { type: "integer", anyOf: null, allOf: null, not: null, $ref: null, minimum: null, default: null },
        },
        additionalProperties: null,
      },
      {
        type: "object",
        properties: { a: { type: "string" }, b: { type: "array" }, c: { type: "integer" } },
        additionalProperties: false,
      },
    ],
    [
      "no properties but null",
      { type: "object", properties: null, patternProperties: null, propertyNames: null },
      { type: "object" },
    ],
    [
      "a property that is said to be required, or not",
      {
        type: "object",
        properties: { a: { type: "null", required: false }, b: { type: "null", required: true } },
      },
      {
        type: "object",
        properties: { a: { type: "null" }, b: { type: "null" } },
        required: ["b"],
        additionalProperties: false,
      },
    ],
    [
      "lists where PHP means objects",
      { type: "object", properties: [], patternProperties: [], items: [] },
      { type: "object" },
    ],
    [
      "types in capitals",
      { type: "OBJECT", properties: { a: { type: "STRING", maxLength: 3 } } },
      { type: "object", properties: { a: { type: "string", maxLength: 3 } }, additionalProperties: false },
    ],
    [
      "a format that is but a remark",
      { type: "string", format: "path", maxLength: 3 },
      { type: "string", maxLength: 3 },
    ],
    [
      "tuples of earlier drafts",
      { type: "array", items: [{ type: "string" }, { type: "null" }], additionalItems: false, minItems: 1 },
      { type: "array", prefixItems: [{ type: "string" }, { type: "null" }], items: false, minItems: 1 },
    ],
    [
      "tuples of earlier drafts, and more",
      { type: "array", items: [{ type: "null" }], additionalItems: { type: "boolean" } },
      { type: "array", prefixItems: [{ type: "null" }], items: { type: "boolean" } },
    ],
    [
      "flags for exclusive bounds",
      { type: "integer", minimum: 0, exclusiveMinimum: true, maximum: 3, exclusiveMaximum: false },
      { type: "integer", exclusiveMinimum: 0, maximum: 3 },
    ],
    ["OpenAPI's null", { type: "integer", maximum: 3, nullable: true }, { type: ["integer", "null"], maximum: 3 }],
    [
      "a recursive reference",
      { properties: { a: { $recursiveRef: "#" } } },
      { type: "object", properties: { a: { $ref: "#" } } },
    ],
  ])("%s", (_, schema, meaning) => checkDrawn(schema, 40, 1, meaning));

  it("whatever the schema", () => {
    fc.assert(
      fc.property(anySchema, fc.nat(), (schema, seed) => checkDrawn(schema, 5, seed)),
      { numRuns: 150 },
    );
  });
});

/**
 * Whether ajv can compare a value: its fast-deep-equal takes what stands under these keys for an object's own
 * functions.
 */
function isComparable(value: unknown): boolean {
  return !/"(?:constructor|toString|valueOf)":/u.test(JSON.stringify(value));
}

/** Schemas of what is supported, in each other. */
const anySchema = fc.letrec((tie) => {
  const leaf = fc.oneof(
    fc.constantFrom<unknown>({ type: "boolean" }, { type: "null" }, true, { type: "string" }),
    fc
      .tuple(fc.integer({ min: -5_000, max: 5_000 }), fc.nat(3_000))
      .map(([minimum, width]) => ({ type: "integer", minimum, maximum: minimum + width })),
    fc
      .tuple(fc.integer({ min: -50, max: 50 }), fc.nat(30))
      .map(([minimum, width]) => ({ type: "number", minimum, maximum: minimum + width })),
    fc
      .tuple(fc.nat(3), fc.nat(4))
      .map(([minLength, more]) => ({ type: "string", minLength, maxLength: minLength + more })),
    fc
      .array(fc.jsonValue({ maxDepth: 1 }).filter(isComparable), { minLength: 1, maxLength: 3 })
      .map((values) => ({ enum: values })),
  );
  const object = fc
    .array(fc.tuple(fc.string({ maxLength: 5 }), tie("schema"), fc.boolean()), { maxLength: 5 })
    .map((properties) => ({
      type: "object",
      properties: Object.fromEntries(properties.map(([name, schema]) => [name, schema])),
      required: [...new Set(properties.filter(([, , required]) => required).map(([name]) => name))],
      additionalProperties: false,
    }));
  const array = fc
    .tuple(tie("schema"), fc.nat(2), fc.nat(2))
    .map(([items, minItems, more]) => ({ type: "array", items, minItems, maxItems: minItems + more }));
  const some = fc.array(tie("schema"), { minLength: 1, maxLength: 3 }).map((anyOf) => ({ anyOf }));
  return { schema: fc.oneof({ depthSize: "small", withCrossShrink: true }, leaf, object, array, some) };
}).schema;

describe("valid documents are in the grammar, invalid ones are not", () => {
  it.each([
    [schemas["a percentage"], ["0", "7", "99", "100"], ["101", "-1", "007", "1.5", ""]],
    [schemas["a range of odd ends"], ["17", "99", "100", "4321", "4299"], ["16", "4322", "9999"]],
    [schemas["negative integers"], ["-13", "-250", "-99"], ["-12", "-251", "13"]],
    [schemas["a share"], ["0", "1", "0.25", "0.999999"], ["1.0", "1.1", "-0.1"]],
    [
      schemas["optional properties"],
      ['{"c": null}', '{"a": null, "c": null}', '{"a": null, "b": null, "c": null, "d": null}'],
      ["{}", '{"a": null}', '{, "c": null}', '{"c": null, }'],
    ],
    [
      schemas["optional properties only"],
      ["{}", '{"b": null}', '{"a": null, "c": null}'],
      ['{"c": null, "a": null}', "{,}"],
    ],
    [
      schemas["a bounded array"],
      ["[true, false]", "[true, true, true, true]"],
      ["[true]", "[]", "[true, true, true, true, true]"],
    ],
    [schemas["at most one item"], ["[]", "[true]"], ["[true, true]"]],
    [schemas["a tuple"], ['["a", 1]'], ['["a"]', '["a", 1, 2]']],
    [schemas["a bounded string"], ['"ab"', '"\\"\\n"', '"ab€😀e"'], ['"a"', '"abcdef"', '"ab', '"a\nb"']],
    [schemas["a pattern"], ['"AB-1"', '"ABC-123.x_y"'], ['"A-1"', '"AB-1."', '"xAB-1"']],
    [schemas["a pattern of any text around"], ['"foo"', '"a foo!"', '"xbarx"'], ['"fo"', '"ba"']],
    [schemas["constants"], ['"red"', '"a \\"quoted\\" one"', '{"a": [1, "b"]}', "null"], ['"blue"', "4"]],
    [schemas["the format date"], ['"2024-02-28"'], ['"2024-13-01"', '"2024-1-1"']],
    [{ type: "object" }, ["{}"], ["[]"]],
  ] as const)("%j", (schema, valid, invalid) => {
    const includes = parse(gbnfOf(schema));
    expect(valid.filter((text) => !includes(text))).toEqual([]);
    expect(invalid.filter((text) => includes(text))).toEqual([]);
  });

  it("takes any object for json_object", () => {
    const grammar = new Grammar();
    const includes = parse(grammar.toGbnf(addJsonObject(grammar)));
    expect(["{}", '{"a": [1, -2.5, {"b": null}], "c": "d"}'].every(includes)).toBe(true);
    expect(["[]", '"a"', '{"a": 1,}', "{'a': 1}"].some(includes)).toBe(false);
  });
});

describe("what cannot be guaranteed is refused by its place", () => {
  const refusal = (schema: unknown): GatewayError => {
    try {
      gbnfOf(schema);
    } catch (error) {
      if (error instanceof GatewayError) return error;
      throw error;
    }
    throw new Error("Expected a refusal");
  };

  it.each<[string, unknown, string]>([
    ["not", { properties: { a: { not: { minimum: 3 } } } }, "schema.properties.a"],
    ["uniqueItems", { type: "array", uniqueItems: true }, "schema"],
    ["more than one pattern", { patternProperties: { a: true, b: true } }, "schema.patternProperties"],
    ["so many names", { minProperties: 2 }, "schema.minProperties"],
    ["'if'", { if: true, else: false }, "schema"],
    ["once", { oneOf: [{ type: "integer" }, { type: "number" }] }, "schema.oneOf"],
    ["no value", { type: "object", properties: { a: false }, required: ["a"] }, "schema.properties.a"],
    ["no value", { enum: [] }, "schema"],
    ["no value", { type: "string", enum: [1] }, "schema"],
    ["all the types", { allOf: [{ type: "string" }, { type: "integer" }] }, "schema"],
    ["list of schemas", { anyOf: [] }, "schema.anyOf"],
    ["bounds", { type: "integer", minimum: 3, maximum: 2 }, "schema"],
    [
      "is required, but not allowed",
      { type: "object", required: ["a"], additionalProperties: false },
      "schema.required",
    ],
    ["does not exist", { $ref: "#/$defs/none" }, "schema.$ref"],
    ["within the schema", { $ref: "https://example.com/a" }, "schema.$ref"],
    ["nothing but itself", { $ref: "#/$defs/a", $defs: { a: { $ref: "#/$defs/a" } } }, "schema"],
    ["is no type", { type: "text" }, "schema.type"],
    ["known are date", { type: "string", format: "colour" }, "schema.format"],
    ["not supported: it looks ahead", { type: "string", pattern: "^(?=a)a$" }, "schema.pattern"],
    ["not supported: it holds \\1", { type: "string", pattern: "^(a)\\1$" }, "schema.pattern"],
    ["not a regular expression", { type: "string", pattern: "(" }, "schema.pattern"],
    ["at its ends only", { type: "string", pattern: "a^b" }, "schema.pattern"],
    [
      "write the length into the pattern",
      { type: "string", pattern: "^(a{0,50}b)*$", maxLength: 250 },
      "schema.pattern",
    ],
    ["up to 6 decimals", { type: "number", multipleOf: 1e-7 }, "schema.multipleOf"],
    ["its multiples are too many", { type: "integer", multipleOf: 9_973 }, "schema.multipleOf"],
    ["no number can be written", { type: "integer", multipleOf: 7, minimum: 8, maximum: 13 }, "schema"],
    ["a format and a pattern", { type: "string", format: "date", pattern: "^x" }, "schema.format"],
    ["whole number", { type: "array", minItems: -1 }, "schema.minItems"],
    ["so many items", { type: "array", minItems: 5, maxItems: 4 }, "schema.minItems"],
    ["of that length", { type: "string", minLength: 3, maxLength: 2 }, "schema.minLength"],
    ["must be an object or a boolean", { properties: { a: 3 } }, "schema.properties.a"],
    ["'pattern' stands in two", { allOf: [{ type: "string", pattern: "a" }, { pattern: "b" }] }, "schema"],
  ])("%s", (reason, schema, path) => {
    expect(refusal(schema)).toMatchObject({
      code: "invalid_request",
      param: path,
      message: expect.stringContaining(reason),
    });
  });

  it("schemas that stand too deep in each other, without exhausting the stack", () => {
    let schema: unknown = { type: "null" };
    for (let i = 0; i < 5_000; i++) schema = { type: "array", items: schema };
    expect(refusal(schema).message).toContain("deep");
  });

  it("schemas that are too large", () => {
    const properties = Object.fromEntries(
      Array.from({ length: 6_000 }, (_, i) => [`p${i}`, { type: "string", maxLength: 3 }]),
    );
    expect(refusal({ type: "object", properties }).message).toContain("too large");
  });
});

describe("tool calls", () => {
  const tool = (name: string, parameters: Record<string, unknown>) => ({ name, parameters, path: name });
  const tools = [
    tool("lookup", { type: "object", properties: { q: { type: "string", maxLength: 3 } }, required: ["q"] }),
    tool("now", { type: "object", properties: {} }),
  ];
  const call = (body: string): string => `<tool_call>\n${body}\n</tool_call>`;
  const lookup = '{"name": "lookup", "arguments": {"q": "a"}}';
  const now = '{"name": "now", "arguments": {}}';
  const grammarOf = (make: typeof callsOnly, parallel = true) => {
    const grammar = new Grammar();
    return parse(grammar.toGbnf(make(grammar, { syntax: genericToolSyntax, tools, parallel })));
  };

  it("must be calls of the tools where calls are required", () => {
    const includes = grammarOf(callsOnly);
    expect([call(lookup), call(now), `${call(lookup)}${call(now)}`].every(includes)).toBe(true);
    expect(
      [
        "",
        "Hello",
        call('{"name": "other", "arguments": {}}'),
        call('{"name": "lookup", "arguments": {}}'),
        `Hi ${call(now)}`,
      ].some(includes),
    ).toBe(false);
  });

  it("are one where they may not be parallel", () => {
    const includes = grammarOf(callsOnly, false);
    expect(includes(call(now))).toBe(true);
    expect(includes(`${call(lookup)}${call(now)}`)).toBe(false);
  });

  it("may follow any text, and what begins like a call must be one", () => {
    const includes = grammarOf(textOrCalls);
    expect(
      [
        "",
        "Hello",
        "a <tool_box> b",
        "<<tool_call>",
        "<tool_call> ",
        "5 < 6\n\n",
        `Well.\n${call(lookup)}`,
        `<tool_call${call(now)}`,
      ].every(includes),
    ).toBe(true);
    expect(
      [`<tool_call>\nHello`, `${call(lookup)} and more`, `Hi ${call('{"name": "other", "arguments": {}}')}`].some(
        includes,
      ),
    ).toBe(false);
  });
});
