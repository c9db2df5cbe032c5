/**
 * What schemas may ask for: what is usual is kept to, however much there is of it; what is too much is refused by its
 * place, whoever sends it.
 */
import { beforeAll, describe, expect, it } from "vitest";
import { Budget } from "../../../src/constraint/budget.ts";
import { Grammar } from "../../../src/constraint/gbnf.ts";
import { addJsonSchema } from "../../../src/constraint/json-schema.ts";
import { Admission } from "../../../src/gateway/admission.ts";
import { AnswerGrammars, answerGrammar } from "../../../src/gateway/answer-grammar.ts";
import { genericToolSyntax } from "../../../src/icdpo/tool-prompt.ts";
import { GatewayError } from "../../../src/types/error.ts";
import { gateway, json } from "../scripted-gateway.ts";
import { grammarParser } from "./llama-grammar.ts";

let parse: Awaited<ReturnType<typeof grammarParser>>;
beforeAll(async () => {
  parse = await grammarParser();
});

function gbnfOf(schema: unknown, budget?: Budget): string {
  const grammar = new Grammar(budget);
  return grammar.toGbnf(addJsonSchema(grammar, { schema, path: "schema", strict: true }));
}

const atOnce = async (): Promise<void> => {};

function refusal(make: () => unknown): GatewayError {
  try {
    make();
  } catch (error) {
    if (error instanceof GatewayError) return error;
    throw error;
  }
  throw new Error("Expected a refusal");
}

const many = <Item>(count: number, make: (index: number) => Item): Item[] =>
  Array.from({ length: count }, (_, i) => make(i));
const named = (count: number, value: (index: number) => unknown) =>
  Object.fromEntries(many(count, (i) => [`property_${i}`, value(i)]));
/** Each definition is made of two of the next level. */
const levels = (count: number, twoOf: (a: unknown, b: unknown) => unknown) => ({
  $defs: {
    ...Object.fromEntries(
      many(count, (i) => i).flatMap((i) =>
        ["a", "b"].map((side) => [side + i, twoOf(to(`a${i + 1}`), to(`b${i + 1}`))] as const),
      ),
    ),
    [`a${count}`]: { type: "object", properties: { a: { type: "null" } } },
    [`b${count}`]: { type: "object", properties: { b: { type: "null" } } },
  },
  ...to("a0"),
});
const listOf = (items: unknown, minItems: number) => ({ type: "array", items, minItems });
const to = (name: string) => ({ $ref: `#/$defs/${name}` });

describe("what is usual is kept to", () => {
  const products = many(2_000, (i) => `SKU-${(i * 7_919) % 100_000} "${i}" €`);
  it.each<[string, unknown, string[], string[]]>([
    ["2,000 products", { enum: products }, [JSON.stringify(products[1_999])], ['"SKU-0"']],
    ["8,000 numbers", { enum: many(8_000, (i) => i) }, ["0", "7", "79", "7999"], ["8000", "", "07"]],
    [
      "500 names that are required",
      { type: "object", required: many(500, (i) => `n${i}`), additionalProperties: { type: "null" } },
      [`{${many(500, (i) => `"n${i}": null`).join(", ")}}`],
      ["{}"],
    ],
    [
      "500 properties",
      { type: "object", properties: named(500, () => ({ type: "null" })), required: many(500, (i) => `property_${i}`) },
      [`{${many(500, (i) => `"property_${i}": null`).join(", ")}}`],
      ["{}"],
    ],
    [
      "500 properties, each of them optional",
      { type: "object", properties: named(500, () => ({ type: "null" })) },
      ["{}", '{"property_499": null}', '{"property_0": null, "property_7": null}'],
      ['{"property_7": null, "property_0": null}'],
    ],
    [
      "one of 200, by a discriminator",
      {
        oneOf: many(200, (i) => ({
          type: "object",
          properties: { kind: { const: `k${i}` }, n: { type: "integer" } },
          required: ["kind", "n"],
        })),
      },
      ['{"kind": "k199", "n": 3}'],
      ['{"kind": "k200", "n": 3}'],
    ],
    ["the same definition twice, 24 levels of it", levels(24, (a) => ({ allOf: [a, a] })), ['{"a": null}'], ["[]"]],
    [
      "two definitions together, 24 levels of them",
      levels(24, (a, b) => ({ allOf: [a, b] })),
      ['{"a": null, "b": null}'],
      ["[]"],
    ],
    [
      "operations on each other, told apart at once",
      {
        anyOf: [
          { type: "integer" },
          ...many(30, (i) => ({
            type: "object",
            properties: { op: { const: `op${i}` }, a: { $ref: "#" }, b: { $ref: "#" } },
            required: ["op", "a", "b"],
          })),
        ],
      },
      ['{"op": "op7", "a": 1, "b": {"op": "op29", "a": 2, "b": 3}}'],
      ['{"op": "op30", "a": 1, "b": 2}'],
    ],
    [
      "two of them that are told apart later",
      {
        anyOf: [
          { type: "integer" },
          ...many(2, (i) => ({
            type: "object",
            properties: { a: { $ref: "#" }, op: { const: i } },
            required: ["a", "op"],
          })),
        ],
      },
      ['{"a": {"a": 1, "op": 0}, "op": 1}'],
      ['{"a": 1, "op": 2}'],
    ],
    ["a type again and again", { type: many(5_000, () => "boolean") }, ["true"], ["null"]],
    [
      "texts that begin with each other",
      { enum: many(100, (i) => "a".repeat(i)) },
      ['""', '"aaa"', `"${"a".repeat(99)}"`],
      ['"b"'],
    ],
    ["halves of a pair in common", { enum: ["😀", "😁", "😀😁"] }, ['"😀"', '"😁"', '"😀😁"'], ['"😁😀"']],
    [
      "definitions called as the gateway's own rules",
      { $defs: { char: { type: "null" } }, items: to("char"), type: "array" },
      ["[null]"],
      ["[1]"],
    ],
    [
      "definitions called as rules that come later",
      {
        $defs: {
          string: { type: "null" },
          value: { type: "null" },
          object: { type: "null" },
          "text-0": { type: "null" },
        },
        type: "array",
        prefixItems: [to("string"), to("value"), to("object"), to("text-0"), true, { type: "string" }],
      },
      ['[null, null, null, null, {"a": [1]}, "x"]'],
      ["[1]"],
    ],
  ])("%s", (_, schema, valid, invalid) => {
    const includes = parse(gbnfOf(schema));
    expect(valid.filter((text) => !includes(text))).toEqual([]);
    expect(invalid.filter((text) => includes(text))).toEqual([]);
  });
});

/** Each begins with a character of its own, so that no two repetitions take the same. */
const inEachOther = (groups: number): string =>
  many(groups, (i) => String.fromCodePoint(0x100 + i)).reduce((inner, own) => `(?:${own}${inner}){0,2}`, "z");

describe("what is too much is refused by its place", () => {
  const tooLarge = "too large to keep to; make them smaller";
  const scattered = many(15_000, (i) => String.fromCodePoint(0x4e00 + ((i * 15_838) % 40_000))).join("");
  it.each<[string, unknown, string, string]>([
    ["20,000 quantifiers", { type: "string", pattern: `^${"a?".repeat(20_000)}$` }, "in a row", "schema.pattern"],
    [
      "what may be left out, 10,000 times",
      { type: "string", pattern: `^${"a?".repeat(10_000)}$` },
      "in a row",
      "schema.pattern",
    ],
    ["20,000 names that are required", { type: "object", required: many(20_000, (i) => `n${i}`) }, tooLarge, "schema"],
    [
      "4,000 properties",
      { type: "object", properties: named(4_000, () => ({ type: "string" })) },
      tooLarge,
      "schema.properties.property_",
    ],
    [
      "a class of 15,000 characters",
      { type: "string", pattern: `[${scattered}]` },
      "a class in it is longer",
      "schema.pattern",
    ],
    [
      "a class of 30,000 classes",
      { type: "string", pattern: `[^${"\\W".repeat(30_000)}]` },
      "a class in it is longer",
      "schema.pattern",
    ],
    [
      "3,000 groups in each other",
      { pattern: `${"(".repeat(3_000)}a${")".repeat(3_000)}` },
      "groups stand more than 32",
      "schema.pattern",
    ],
    [
      "one of 2,000",
      { oneOf: many(2_000, (i) => ({ type: "object", properties: { k: { const: i } }, required: ["k"] })) },
      tooLarge,
      "schema",
    ],
    [
      "1,000 of 1,000 alternatives",
      {
        type: "object",
        properties: named(500, () => ({})),
        anyOf: many(500, (i) => ({ required: [`property_${i}`] })),
      },
      tooLarge,
      "schema",
    ],
    [
      "a tree of properties, 14 levels deep",
      levels(14, (a, b) => ({ properties: { a: { allOf: [a, b] }, b: { allOf: [b, a] } } })),
      tooLarge,
      "schema.properties.",
    ],
    ["no JSON pointer", { $ref: "#/%ZZ" }, "no JSON pointer", "schema.$ref"],
    ["names that are no names", { type: "object", required: [["a"]] }, "must be a list of names", "schema.required"],
    ["a pattern that is none", { type: "string", pattern: {} }, "must be a text", "schema.pattern"],
    [
      "itself, or something else",
      { anyOf: [{ $ref: "#" }, { type: "string" }] },
      "holds itself with nothing before it",
      "schema",
    ],
    [
      "itself by way of another",
      { $defs: { a: { anyOf: [to("b"), { type: "null" }] }, b: { anyOf: [to("a"), { type: "string" }] } }, ...to("a") },
      "holds itself with nothing before it",
      "schema",
    ],
    [
      "itself by way of another that has been seen before",
      {
        $defs: {
          a: { anyOf: [{ type: "array", items: to("b") }, to("b")] },
          b: { anyOf: [to("a"), { type: "null" }] },
        },
        ...to("a"),
      },
      "holds itself with nothing before it",
      "schema",
    ],
    ["paths to the same, 30 levels of them", levels(30, (a, b) => ({ anyOf: [a, b] })), "too many ways", "schema"],
    [
      "lists that hold each other, and begin alike",
      { anyOf: [...many(3, (i) => ({ type: "array", items: { $ref: "#" }, minItems: i })), { type: "null" }] },
      "begin alike",
      "schema",
    ],
    [
      "the same by way of others",
      {
        $defs: {
          a: { anyOf: [{ type: "array", items: to("a") }, to("b")] },
          b: { anyOf: [{ type: "array", items: to("a"), minItems: 1 }, to("c")] },
          c: { anyOf: [{ type: "array", items: to("b"), minItems: 2 }, { type: "null" }] },
        },
        ...to("a"),
      },
      "begin alike",
      "schema",
    ],
    [
      "two lists that begin alike, at each of 20 levels",
      levels(20, (a, b) => ({ anyOf: [listOf(a, 0), listOf(b, 1)] })),
      "begin alike",
      "schema",
    ],
    [
      "repetitions in repetitions",
      { type: "string", pattern: "^(((a?){1000}){1000}){1000}$" },
      "in a row",
      "schema.pattern",
    ],
    ["what may be empty, without end", { type: "string", pattern: "^(a*)*$" }, "in a row", "schema.pattern"],
    ["repetitions in a row", { type: "string", pattern: `^${"[a-z]*".repeat(6)}$` }, "in a row", "schema.pattern"],
    ["groups that follow themselves, in each other", { pattern: inEachOther(32) }, tooLarge, "schema.pattern"],
    [
      "as many, where they may be left out",
      { type: "string", pattern: `^${"a?".repeat(6)}$` },
      "in a row",
      "schema.pattern",
    ],
    [
      "as many with others between",
      { type: "string", pattern: `^${"[a-z]*a".repeat(6)}$` },
      "in a row",
      "schema.pattern",
    ],
    [
      "as many in groups",
      { type: "string", pattern: `^(?:${"(?:[a-z]*|x)".repeat(6)})$` },
      "in a row",
      "schema.pattern",
    ],
    ["one that follows itself", { type: "string", pattern: "^(?:[a-z]+,?)+$" }, "in a row", "schema.pattern"],
    ["one that follows itself often", { type: "string", pattern: "^(?:[a-z]+,?){9}$" }, "in a row", "schema.pattern"],
    [
      "too many repetitions together",
      { type: "object", properties: named(200, (i) => ({ type: "string", maxLength: 1_000 - i })) },
      "lower its bounds",
      "schema.properties.property_",
    ],
    ["lists in lists", { const: JSON.parse(`${"[".repeat(10_000)}${"]".repeat(10_000)}`) }, "256 deep", "schema"],
    ["schemas in schemas", JSON.parse(`${'{"items":'.repeat(10_000)}{}${"}".repeat(10_000)}`), "256 deep", "schema"],
    [
      "a type in lists",
      JSON.parse(`{"type":${"[".repeat(200)}"string"${"]".repeat(200)}}`),
      "is no type",
      "schema.type",
    ],
  ])("%s", (_, schema, reason, place) => {
    const { code, param, message } = refusal(() => gbnfOf(schema));
    expect({ code, message }).toEqual({ code: "invalid_request", message: expect.stringContaining(reason) });
    expect(param?.startsWith(place), `${param}`).toBe(true);
    expect(message.length).toBeLessThan(5_000);
  });

  it("by work, not by time: the same schema passes where more may be done", () => {
    const schema = { type: "object", properties: named(20, () => ({ type: "string" })) };
    expect(refusal(() => gbnfOf(schema, new Budget(3_000))).message).toContain(tooLarge);
    expect(gbnfOf(schema)).toContain("property-19");
  });

  it("repeats no more of a client's words than tells the place", () => {
    const long = "x".repeat(50_000);
    for (const schema of [
      { type: long },
      { type: "string", format: long },
      { $ref: `#/${long}` },
      { type: "object", required: [long], additionalProperties: false },
      { properties: { [long]: { not: { minimum: 3 } } } },
    ])
      expect(refusal(() => gbnfOf(schema)).message.length).toBeLessThan(500);
  });
});

describe("a request's schemas", () => {
  const wanted = (count: number, properties: number) => ({
    tools: many(count, (i) => ({
      name: `tool_${i}`,
      parameters: { type: "object", properties: named(properties, () => ({ type: "string" })) },
      path: `tools.${i}.function.parameters`,
      strict: true,
    })),
    toolChoice: "auto" as const,
    parallelToolCalls: true,
    format: { type: "text" } as const,
  });
  const wantedOf = (schema: unknown) => ({
    ...wanted(0, 0),
    format: { type: "json-schema", path: "f", schema, strict: true } as const,
  });

  it("have one budget together", () => {
    expect(answerGrammar(wanted(128, 8), genericToolSyntax).gbnf).toContain("tool_127");
    const { message, param } = refusal(() => answerGrammar(wanted(128, 60), genericToolSyntax));
    expect(message).toContain("too large to keep to");
    expect(param).toMatch(/^tools\.[1-9]\d*\.function\.parameters/u);
  });

  it.each([
    ["compiled", {}],
    ["refused", { not: {} }],
  ])("are %s once, when it is their turn", async (_, more) => {
    const grammars = new AnswerGrammars();
    let reads = 0;
    const schema = {
      ...more,
      get type() {
        reads += 1;
        return "string";
      },
    };
    let turns = 0;
    const turn = async () => {
      turns += 1;
    };
    const ask = async () => {
      reads = 0;
      try {
        return await grammars.of(wantedOf(schema), genericToolSyntax, turn);
      } catch (error) {
        const { code, message, param } = error as GatewayError;
        return { code, message, param };
      }
    };
    const first = await ask();
    expect(reads).toBeGreaterThan(1);
    expect(await ask()).toEqual(first);
    // To see that it is the same, which takes no turn.
    expect(reads).toBe(1);
    expect(turns).toBe(1);
  });

  it("are compiled once where several wait for their turn; to be told apart, large ones wait for it as well", async () => {
    const grammars = new AnswerGrammars();
    let turns = 0;
    const turn = async () => {
      turns += 1;
    };
    const ask = (description: string) => grammars.of(wantedOf({ description }), genericToolSyntax, turn);
    const together = await Promise.all([ask("small"), ask("small")]);
    expect(new Set(together).size).toBe(1);
    expect(turns).toBe(2);
    const large = "large".repeat(10_000);
    await ask(large);
    await ask(large);
    expect(turns).toBe(4);
  });

  it("are told apart by all that a grammar depends on", async () => {
    const grammars = new AnswerGrammars();
    const one = wanted(2, 1);
    const variants = [
      one,
      { ...one, toolChoice: "required" as const },
      { ...one, parallelToolCalls: false },
      wanted(1, 1),
    ];
    const texts = await Promise.all(variants.map((variant) => grammars.of(variant, genericToolSyntax, atOnce)));
    expect(new Set(texts.map(({ gbnf }) => gbnf)).size).toBe(variants.length);
    expect(await grammars.of(one, { ...genericToolSyntax, name: "function" }, atOnce)).not.toEqual(texts[0]);
  });

  it("may not be larger than can be compiled", async () => {
    const asked = new AnswerGrammars().of(wantedOf({ description: "x".repeat(1_000_001) }), genericToolSyntax, atOnce);
    await expect(asked).rejects.toThrow("more than 1000000 characters");
  });
});

describe("over HTTP", () => {
  const formatOf = (schema: unknown) => ({
    response_format: { type: "json_schema", json_schema: { name: "a", schema, strict: true } },
  });
  const place = "response_format.json_schema.schema";

  it.each([
    ["groups", { type: "string", pattern: `${"(".repeat(3_000)}a${")".repeat(3_000)}` }, `${place}.pattern`],
    ["a pointer", { $ref: "#/%ZZ" }, `${place}.$ref`],
    ["a schema that holds itself", { anyOf: [{ $ref: "#" }, { type: "null" }] }, `${place}.anyOf.0`],
    ["more than can be compiled", { type: "string", pattern: `^${"a?".repeat(20_000)}$` }, `${place}.pattern`],
  ])("%s is the client's mistake, every time", async (_, schema, param) => {
    const { chat, requests, reported } = await gateway();
    for (let i = 0; i < 2; i++) {
      const response = await chat({ model: "plain", ...formatOf(schema) });
      expect(response.status).toBe(400);
      expect((await json(response)).error).toMatchObject({ type: "invalid_request_error", param });
    }
    expect(await requests()).toBe(0);
    expect(reported).toEqual([]);
  });

  it("nothing is compiled where there is no room for the request", async () => {
    const admission = new Admission({ limit: 1, now: () => 0 });
    const leave = admission.enter();
    const { chat } = await gateway({}, { admission });
    expect((await chat({ model: "plain", ...formatOf({ $ref: "#/%ZZ" }) })).status).toBe(429);
    leave();
    expect((await chat({ model: "plain", ...formatOf({ $ref: "#/%ZZ" }) })).status).toBe(400);
    expect(admission.admitted).toBe(0);
  });

  it.each([
    ["parts", { messages: [{ role: "user", content: many(2_049, () => ({ type: "text", text: "a" })) }] }],
    ["tool calls", { messages: [{ role: "assistant", tool_calls: many(129, () => 1) }] }],
    ["wrong tool calls", { messages: [{ role: "assistant", tool_calls: many(150_000, () => 1) }] }],
    ["values", { messages: [{ role: "user", content: "a" }], unknown: many(200_001, () => 1) }],
  ])("more %s than anybody needs are refused before they are looked at", async (_, body) => {
    const { chat } = await gateway({}, { maxBodyBytes: 10_000_000 });
    expect((await chat({ model: "plain", ...body })).status).toBe(400);
  });
});
