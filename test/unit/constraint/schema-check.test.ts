import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Budget } from "../../../src/constraint/budget.ts";
import { SchemaCheck } from "../../../src/constraint/schema-check.ts";

const ajv = new Ajv2020({ strict: false, allowUnionTypes: true, validateFormats: true });
addFormats.default(ajv);

const fits = (schema: unknown, value: unknown, work?: number): boolean | null =>
  new SchemaCheck(schema, "s", new Budget(work)).fits(value);

/** Values that keywords tell apart. */
const values: unknown[] = [
  null,
  true,
  0,
  1,
  3,
  4.5,
  -2,
  "",
  "a",
  "ab",
  "😀",
  "2024-02-29",
  "2023-02-29",
  "a@b.de",
  [],
  [1],
  [1, 1],
  [1, 2],
  ["a", null],
  [{ a: 1 }, { a: 1 }],
  {},
  { a: 1 },
  { a: "x" },
  { b: null },
  { a: 1, b: 2 },
  { a: 1, b: 2, c: 3 },
  { "x-y": 1 },
  { a: { a: { b: 1 } } },
];

const leaf: Record<string, unknown>[] = [
  { type: "string", minLength: 1, maxLength: 1 },
  { type: ["integer", "null"] },
  { minimum: 1, exclusiveMaximum: 4 },
  { multipleOf: 1.5 },
  { pattern: "^a" },
  { format: "date" },
  { format: "email" },
  { enum: [1, "a", { a: 1 }] },
  { const: null },
  { required: ["a"] },
  { minProperties: 1, maxProperties: 2 },
  { properties: { a: { type: "integer" } }, additionalProperties: false },
  { patternProperties: { "^x-": { type: "integer" } }, additionalProperties: { type: "null" } },
  { propertyNames: { maxLength: 1 } },
  { dependentRequired: { a: ["b"] } },
  { dependentSchemas: { a: { required: ["b"] } } },
  { items: { type: "integer" } },
  { prefixItems: [{ type: "string" }], items: false },
  { uniqueItems: true },
  { contains: { type: "integer" }, minContains: 1, maxContains: 1 },
  { minItems: 1, maxItems: 1 },
  { properties: { a: { properties: { a: { required: ["b"] } } } } },
];

const schemas = fc.letrec((tie) => {
  const one = fc.constantFrom(...leaf);
  const schema = tie("schema");
  return {
    schema: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      one,
      fc.constantFrom<unknown>(true, false, {}),
      fc.tuple(schema, schema).map((allOf) => ({ allOf })),
      fc.tuple(schema, schema).map((anyOf) => ({ anyOf })),
      fc.tuple(schema, schema).map((oneOf) => ({ oneOf })),
      schema.map((not) => ({ not })),
      fc
        .tuple(schema, schema, schema)
        .map((parts) => Object.fromEntries(["if", "then", "else"].map((keyword, i) => [keyword, parts[i]]))),
      fc.tuple(one, schema).map(([own, part]) => ({ ...own, $defs: { d: part }, $ref: "#/$defs/d" })),
    ),
  };
}).schema;

describe("a value is valid where ajv says so", () => {
  it("whatever the schema", () => {
    fc.assert(
      fc.property(schemas, (schema) => {
        // A reference is to the definitions of the whole.
        fc.pre(
          typeof schema === "boolean" ||
            !JSON.stringify(schema).slice(1).includes('"$ref"') ||
            JSON.stringify(schema).split("$ref").length === 2,
        );
        let validate: ReturnType<typeof ajv.compile>;
        try {
          validate = ajv.compile(schema as Record<string, unknown>);
        } catch {
          return; // a reference to what stands elsewhere
        }
        for (const value of values)
          expect({ value, fits: fits(schema, value) }).toEqual({ value, fits: validate(value) });
      }),
      { numRuns: 400 },
    );
  });

  it.each<[string, unknown, unknown, boolean | null]>([
    ["numbers that binary has not exactly", { multipleOf: 0.01 }, 0.07, true],
    ["numbers that are no multiples", { multipleOf: 0.01 }, 0.071, false],
    ["tuples of earlier drafts", { items: [{ type: "null" }], additionalItems: false }, [null, 1], false],
    ["OpenAPI's null", { type: "string", nullable: true }, null, true],
    ["nulls where keywords are absent", { type: "string", enum: null, pattern: null, minLength: null }, "a", true],
    ["items that something evaluates", { allOf: [{ prefixItems: [true] }], unevaluatedItems: false }, [1], true],
    ["items that nothing evaluates", { allOf: [{ prefixItems: [true] }], unevaluatedItems: false }, [1, 2], false],
    ["items that are found", { contains: { const: 1 }, unevaluatedItems: { const: 2 } }, [2, 1, 2], true],
    [
      "items of an alternative that fails",
      { anyOf: [{ items: { const: 2 } }, true], unevaluatedItems: false },
      [1],
      false,
    ],
    ["what a property says of itself", { properties: { a: { required: true } } }, {}, false],
    ["a look ahead from the beginning", { pattern: "^(?=.*[0-9])(?!x)[a-z0-9]+$" }, "a1", true],
    ["a look ahead that does not hold", { pattern: "^(?=.*[0-9])[a-z0-9]+$" }, "ab", false],
    ["a look ahead that must not hold", { pattern: "^(?!x)[a-z]+$" }, "xy", false],
    ["a pattern that RE2 does not know", { pattern: "(?<=a)b" }, "ab", null],
    ["what cannot be seen beside what is wrong", { pattern: "(?<=a)b", maxLength: 1 }, "ab", false],
    ["a reference to nothing", { $ref: "#/$defs/a" }, 1, null],
    ["formats that nobody knows", { format: "colour" }, "a", true],
    ["a format", { format: "ipv6" }, "::1", true],
    ["another", { format: "date-time" }, "2024-01-01T00:00:00+01:00", true],
    ["not that format", { format: "uuid" }, "a", false],
  ])("%s", (_, schema, value, said) => {
    expect(fits(schema, value)).toBe(said);
  });
});

describe("its work is bounded", () => {
  const deep = (levels: number): unknown => JSON.parse(`${"[".repeat(levels)}${"]".repeat(levels)}`);
  it.each<[string, unknown, unknown]>([
    ["itself", { $ref: "#" }, 1],
    [
      "each other",
      { $defs: { a: { $ref: "#/$defs/b" }, b: { allOf: [{ $ref: "#/$defs/a" }] } }, $ref: "#/$defs/a" },
      1,
    ],
    [
      "two of each level",
      {
        $defs: Object.fromEntries(
          Array.from({ length: 40 }, (_, i) => [`d${i}`, { anyOf: [1, 2].map(() => ({ $ref: `#/$defs/d${i + 1}` })) }]),
        ),
        $ref: "#/$defs/d0",
      },
      1,
    ],
    ["a deep value", { items: { $ref: "#" } }, deep(3_000)],
    ["a pattern of groups", { pattern: "^((a{1,30}){1,30}){1,30}$" }, "a".repeat(5_000)],
    ["a pattern that takes others long", { pattern: "^(a+)+$" }, `${"a".repeat(50_000)}b`],
    ["many items", { uniqueItems: true, items: { type: "integer" } }, Array.from({ length: 100_000 }, (_, i) => i)],
  ])("%s", (_, schema, value) => {
    expect([null, false]).toContain(fits(schema, value));
  });

  it("by work, not by time", () => {
    const schema = { type: "array", items: { type: "integer" } };
    expect(fits(schema, [1, 2, 3], 100)).toBe(null);
    expect(fits(schema, [1, 2, 3])).toBe(true);
  });
});
