/** What a grammar keeps to by counting: it has the texts that a schema allows, and no others. */
import { isIP } from "node:net";
import { beforeAll, describe, expect, it } from "vitest";
import { Grammar } from "../../../src/constraint/gbnf.ts";
import { addJsonSchema } from "../../../src/constraint/json-schema.ts";
import { randomFrom } from "../../../src/icdpo/seed.ts";
import { GbnfSampler } from "./gbnf-sampler.ts";
import { grammarParser } from "./llama-grammar.ts";

let parse: Awaited<ReturnType<typeof grammarParser>>;
beforeAll(async () => {
  parse = await grammarParser();
});

function gbnfOf(schema: unknown): string {
  const grammar = new Grammar();
  return grammar.toGbnf(addJsonSchema(grammar, { schema, path: "schema", strict: true }));
}

function drawn(schema: unknown, count: number): unknown[] {
  const gbnf = gbnfOf(schema);
  const sampler = new GbnfSampler(gbnf, randomFrom(5));
  const includes = parse(gbnf);
  return Array.from({ length: count }, () => {
    const text = sampler.draw();
    expect(includes(text), text).toBe(true);
    return JSON.parse(text);
  });
}

/** All words of up to so many of the characters. */
function words(characters: string, longest: number): string[] {
  if (longest === 0) return [""];
  const shorter = words(characters, longest - 1);
  const longer = shorter.filter((word) => word.length === longest - 1);
  return [...shorter, ...longer.flatMap((word) => [...characters].map((character) => word + character))];
}

describe("multiples", () => {
  it.each([
    { type: "integer", multipleOf: 2, minimum: -12, maximum: 31 },
    { type: "integer", multipleOf: 5, maximum: 40 },
    { type: "integer", multipleOf: 7, minimum: -30 },
    { type: "integer", multipleOf: 30 },
    { type: "integer", multipleOf: 2.5, minimum: -20 },
    { type: "number", multipleOf: 3 },
  ])("of whole numbers: %j", (schema) => {
    const includes = parse(gbnfOf(schema));
    const { multipleOf, minimum = -40, maximum = 130 } = schema;
    const allowed = (n: number) => n >= minimum && n <= maximum && n % multipleOf === 0;
    const all = Array.from({ length: 100 }, (_, i) => i - 40);
    expect(all.filter((n) => includes(String(n)))).toEqual(all.filter(allowed));
    for (const text of ["-0", "00", "010", "", "-", "3.0"]) expect(includes(text), text).toBe(false);
  });

  it("go as far as a number exactly does, and end with zeros", () => {
    const includes = parse(gbnfOf({ type: "integer", multipleOf: 3_600 }));
    for (const n of [0, 3_600, 7_200, -36_000, 3_600 * 123_456_789]) expect(includes(String(n)), String(n)).toBe(true);
    for (const n of [1_800, 3_601, 36_100, 7_300]) expect(includes(String(n)), String(n)).toBe(false);
    expect(includes("9".repeat(16))).toBe(false);
  });

  it("of a large number are listed where there are few", () => {
    const includes = parse(gbnfOf({ type: "integer", multipleOf: 9_973, minimum: 0, maximum: 100_000 }));
    for (let i = 0; i <= 10; i++) expect(includes(String(9_973 * i))).toBe(true);
    for (const n of [9_974, 109_703, -9_973]) expect(includes(String(n))).toBe(false);
  });

  it.each([
    [0.01, ["0", "1", "0.5", "0.25", "-12.34", "7.10"], ["0.125", "1.001", "00.5"]],
    [0.25, ["0", "3", "0.5", "0.25", "-1.75", "0.50"], ["0.2", "0.55", "1.251"]],
    [2.5, ["0", "5", "2.5", "-7.5", "10"], ["1", "0.5", "2.50", "3.5"]],
    [0.05, ["0.1", "0.05", "1.15", "2"], ["0.01", "0.11"]],
  ])("of %d", (multipleOf, right, wrong) => {
    const includes = parse(gbnfOf({ type: "number", multipleOf }));
    expect(right.filter((text) => !includes(text))).toEqual([]);
    expect(wrong.filter(includes)).toEqual([]);
  });

  it("with decimals stay within bounds", () => {
    for (const value of drawn({ type: "number", multipleOf: 0.25, minimum: -2, maximum: 3 }, 100)) {
      expect(value).toBeGreaterThanOrEqual(-2);
      expect(value).toBeLessThanOrEqual(3);
      expect(Number.isInteger((value as number) * 4)).toBe(true);
    }
  });
});

describe("patterns and lengths", () => {
  it.each([
    ["^[ab]+(?:-[ab]+)*$", 2, 4],
    ["^(ab|b)*$", 0, 3],
    ["^(ab|b)*$", 3, Number.POSITIVE_INFINITY],
    ["^a(b|-)*a$", 3, 4],
    ["^(a|b-)(a{1,2}b)?$", 2, 4],
  ])("%s of %d to %d", (pattern, minLength, most) => {
    const maxLength = Number.isFinite(most) ? { maxLength: most } : {};
    const includes = parse(gbnfOf({ type: "string", pattern, minLength, ...maxLength }));
    const fits = (word: string) =>
      word.length >= minLength && word.length <= most && new RegExp(pattern, "u").test(word);
    const all = words("ab-", 5);
    expect(all.filter((word) => includes(JSON.stringify(word)))).toEqual(all.filter(fits));
  });

  it("hold for characters that JSON writes in its own way, and those of two halves", () => {
    const includes = parse(gbnfOf({ type: "string", pattern: '^(?:["\\\\é😀]x?)*$', maxLength: 3 }));
    for (const word of ["", '"x"', "\\\\\\", "😀x😀"]) expect(includes(JSON.stringify(word)), word).toBe(true);
    for (const word of ["x", '"xx', '"x"x', "😀😀😀😀"]) expect(includes(JSON.stringify(word)), word).toBe(false);
  });

  it("are drawn within them", () => {
    for (const word of drawn({ type: "string", pattern: "^[a-z0-9]+(?:-[a-z0-9]+)*$", maxLength: 40 }, 40)) {
      expect(word).toMatch(/^[a-z0-9]+(?:-[a-z0-9]+)*$/u);
      expect(word).toHaveLength(Math.min(40, (word as string).length));
    }
  });
});

describe("formats", () => {
  it("beside a pattern are kept to together", () => {
    const includes = parse(gbnfOf({ type: "string", format: "date", pattern: "^20.*-1[0-2]-" }));
    expect(includes('"2024-11-05"')).toBe(true);
    for (const text of ['"1999-11-05"', '"2024-09-05"', '"2024-11-99"', '"20 -10-"'])
      expect(includes(text)).toBe(false);
  });

  it("beside a pattern and a length are kept to with both", () => {
    const schema = { type: "string", format: "email", pattern: "@example\\.com$", maxLength: 20 };
    for (const address of drawn(schema, 30)) {
      expect(address).toMatch(/^[a-z0-9._-]+@example\.com$/u);
      expect((address as string).length).toBeLessThanOrEqual(20);
    }
  });

  it("that are not known are their pattern's names", () => {
    const includes = parse(gbnfOf({ type: "string", format: "starts_with", pattern: "^id_" }));
    expect([includes('"id_7"'), includes('"7"')]).toEqual([true, false]);
  });

  it("may be addresses of either kind", () => {
    const kinds = new Set(drawn({ type: "string", format: "ip" }, 60).map((text) => isIP(text as string)));
    expect(kinds).toEqual(new Set([4, 6]));
  });
});

describe("different items", () => {
  const arrays = words("012", 4).map((word) => [...word].map(Number));

  it.each([
    [{ items: { enum: ["a", "b", 7] } }, ["a", "b", 7]],
    [{ items: { enum: ["a", "b", 7] }, minItems: 2 }, ["a", "b", 7]],
    [{ items: { enum: ["a", "b", 7] }, maxItems: 2 }, ["a", "b", 7]],
    [
      { items: { $ref: "#/$defs/letter" }, $defs: { letter: { type: "string", enum: ["a", "ab", "abc"] } } },
      ["a", "ab", "abc"],
    ],
    [{ items: { type: "boolean" } }, [true, false, null]],
    [{ allOf: [{ uniqueItems: true }, { items: { const: "a" } }] }, ["a", "b", "c"]],
  ] as [Record<string, unknown>, unknown[]][])("of %j", (parts, values) => {
    const includes = parse(gbnfOf({ type: "array", uniqueItems: true, ...parts }));
    const { minItems = 0, maxItems = 9 } = parts as { minItems?: number; maxItems?: number };
    const usable = values.filter((value) =>
      "allOf" in parts ? value === "a" : JSON.stringify(parts).includes("boolean") ? value !== null : true,
    );
    const allowed = (array: readonly number[]) =>
      new Set(array).size === array.length &&
      array.length >= minItems &&
      array.length <= maxItems &&
      array.every((i) => usable.includes(values[i]));
    const written = (array: readonly number[]) => `[${array.map((i) => JSON.stringify(values[i])).join(", ")}]`;
    expect(arrays.filter((array) => includes(written(array)))).toEqual(arrays.filter(allowed));
  });

  it("of more constants than can be counted are refused, and so are fewer than there must be", () => {
    const items = { enum: Array.from({ length: 9 }, (_, i) => i) };
    expect(() => gbnfOf({ type: "array", items, uniqueItems: true })).toThrow("up to 8 constants");
    const two = { type: "array", items: { enum: [1, 2] }, uniqueItems: true, minItems: 3 };
    expect(() => gbnfOf(two)).toThrow("its items are 2 constants");
    expect(gbnfOf({ type: "array", items: { enum: items.enum.slice(1) }, uniqueItems: true })).toContain("root ::=");
  });

  it("are no matter where the schema says that they are none", () => {
    expect(gbnfOf({ uniqueItems: false })).toBe(gbnfOf({}));
  });
});

describe("unions in unions", () => {
  const object = (properties: Record<string, unknown>, required = Object.keys(properties)) => ({
    type: "object",
    properties,
    required,
    additionalProperties: false,
  });
  const failed = (code: number) => object({ status: { const: "failed" }, code: { const: code } });

  it("are told apart by the constants of all their objects", () => {
    const ok = object({ status: { const: "ok" } });
    const includes = parse(gbnfOf({ oneOf: [ok, { oneOf: [failed(400), failed(500)] }] }));
    for (const value of [{ status: "ok" }, { status: "failed", code: 400 }, { status: "failed", code: 500 }])
      expect(includes(JSON.stringify(value).replaceAll(":", ": ").replaceAll(",", ", "))).toBe(true);
    expect(includes('{"status": "ok", "code": 400}')).toBe(false);
  });

  it("are told apart where references lead to them, and constants have defaults", () => {
    const kinds = (...names: string[]) => ({
      oneOf: names.map((kind) => object({ kind: { const: kind, default: kind } }, [])),
    });
    const schema = { oneOf: [{ $ref: "#/$defs/pets" }, kinds("oak")], $defs: { pets: kinds("cat", "dog") } };
    const includes = parse(gbnfOf(schema));
    for (const kind of ["cat", "dog", "oak"]) expect(includes(`{"kind": "${kind}"}`)).toBe(true);
    expect(includes("{}")).toBe(false);
  });

  it("that may hold at once are refused still", () => {
    const schema = { oneOf: [failed(400), { oneOf: [failed(400), failed(500)] }] };
    expect(() => gbnfOf(schema)).toThrow("may hold at once");
  });
});
