/** @module Schemas as people write them with zod: what zod makes of them, and what the OpenAI SDK does. */
import { zodFunction, zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { versionOf, writeCorpus } from "./corpus-file.mjs";

const category = z.object({
  name: z.string(),
  get subcategories() {
    return z.array(category);
  },
});
const address = z.object({ street: z.string(), zip: z.string().regex(/^\d{5}$/u), country: z.string().length(2) });
const shape = z.discriminatedUnion("type", [
  z.object({ type: z.literal("circle"), radius: z.number().positive() }),
  z.object({ type: z.literal("rectangle"), width: z.number(), height: z.number() }),
  z.strictObject({ type: z.literal("none") }),
]);

/** `[name, kind, schema]` */
const schemas = [
  ["weather", "tool", z.object({ city: z.string().describe("The city"), unit: z.enum(["celsius", "fahrenheit"]) })],
  [
    "search",
    "tool",
    z.object({
      query: z.string().min(1).max(200),
      limit: z.int().min(1).max(100).default(10),
      after: z.iso.date().optional(),
      tags: z.array(z.string()).max(5).optional(),
      order: z.enum(["newest", "relevance"]).nullish(),
    }),
  ],
  [
    "edit file",
    "tool",
    z.strictObject({
      path: z.string().startsWith("/"),
      edits: z.array(z.strictObject({ oldText: z.string(), newText: z.string() })).min(1),
      dryRun: z.boolean().default(false),
    }),
  ],
  ["no arguments", "tool", z.object({})],
  ["loose arguments", "tool", z.looseObject({ method: z.enum(["GET", "POST"]), url: z.url() })],
  ["any arguments", "tool", z.record(z.string(), z.unknown())],
  [
    "formats",
    "output",
    z.object({
      email: z.email(),
      url: z.url(),
      uuid: z.uuid(),
      guid: z.guid(),
      cuid2: z.cuid2(),
      ulid: z.ulid(),
      nanoid: z.nanoid(),
      ipv4: z.ipv4(),
      ipv6: z.ipv6(),
      cidr: z.cidrv4(),
      base64: z.base64(),
      jwt: z.jwt(),
      date: z.iso.date(),
      time: z.iso.time(),
      datetime: z.iso.datetime({ offset: true }),
      duration: z.iso.duration(),
      e164: z.e164(),
      emoji: z.emoji(),
    }),
  ],
  [
    "some formats",
    "output",
    z.object({ email: z.email(), id: z.uuid(), at: z.iso.datetime(), on: z.iso.date(), page: z.url().optional() }),
  ],
  [
    "numbers",
    "output",
    z.object({
      int: z.int(),
      int32: z.int32(),
      uint32: z.uint32(),
      float32: z.float32(),
      even: z.number().multipleOf(2),
      cents: z.number().multipleOf(0.01),
      positive: z.number().positive(),
      share: z.number().min(0).max(1),
      between: z.number().gt(-5).lt(5),
    }),
  ],
  [
    "strings",
    "output",
    z.object({
      prefix: z.string().startsWith("id_"),
      suffix: z.string().endsWith(".txt"),
      part: z.string().includes("@"),
      both: z
        .string()
        .min(3)
        .max(20)
        .regex(/^[a-z]+$/u),
      upper: z.string().uppercase(),
      hex: z.string().regex(/^#[0-9a-f]{6}$/iu),
      template: z.templateLiteral(["v", z.number(), ".", z.enum(["a", "b"])]),
      fixed: z.string().length(4),
    }),
  ],
  ["shape", "output", shape],
  ["shapes", "output", z.object({ shapes: z.array(shape), by: z.record(z.string(), shape) })],
  [
    "nested discriminators",
    "output",
    z.discriminatedUnion("status", [
      z.object({ status: z.literal("ok"), data: z.string() }),
      z.discriminatedUnion("code", [
        z.object({ status: z.literal("failed"), code: z.literal(400), message: z.string() }),
        z.object({ status: z.literal("failed"), code: z.literal(500) }),
      ]),
    ]),
  ],
  ["union", "output", z.object({ value: z.union([z.string(), z.number(), z.array(z.string()), z.null()]) })],
  ["intersection", "output", z.intersection(z.object({ a: z.string() }), z.object({ b: z.number().optional() }))],
  ["recursive", "output", category],
  ["tuple", "output", z.tuple([z.string(), z.number()])],
  ["tuple and rest", "output", z.object({ row: z.tuple([z.string(), z.int()], z.boolean()) })],
  ["record by enum", "output", z.record(z.enum(["low", "high"]), z.number())],
  ["partial record", "output", z.partialRecord(z.enum(["low", "high"]), z.number())],
  ["record by pattern", "output", z.record(z.string().regex(/^[a-z]{2}$/u), z.string())],
  ["literals", "output", z.object({ code: z.literal([200, 404, "none"]), yes: z.literal(true), nil: z.null() })],
  [
    "defaults",
    "output",
    z.object({ a: z.string().default("x"), b: z.int().prefault(3), c: z.array(z.int()).catch([]) }),
  ],
  ["optional", "output", z.object({ a: z.string().optional(), b: z.string().nullable(), c: z.string().nullish() })],
  ["unknown", "output", z.object({ any: z.any(), unknown: z.unknown(), never: z.never().optional() })],
  ["catchall", "output", z.object({ name: z.string() }).catchall(z.number())],
  ["json", "output", z.object({ value: z.json() })],
  ["read only", "output", z.object({ tags: z.array(z.string()).readonly() }).readonly()],
  ["branded", "output", z.object({ id: z.string().brand("id") }).meta({ title: "Branded", examples: [{ id: "x" }] })],
  ["pipe", "output", z.object({ size: z.string().transform(Number).pipe(z.number().min(0)) })],
  [
    "coerced",
    "output",
    z.object({ n: z.coerce.number(), b: z.stringbool(), trimmed: z.string().trim().toLowerCase() }),
  ],
  [
    "person",
    "output",
    z.object({
      name: z.string(),
      age: z.int().min(0).max(130).optional(),
      home: address,
      work: address.optional(),
      pets: z.array(z.object({ kind: z.enum(["cat", "dog"]), name: z.string().nullable() })).nonempty(),
    }),
  ],
  [
    "extraction",
    "output",
    z.object({
      people: z.array(z.object({ name: z.string(), role: z.string().nullable() })),
      dates: z.array(z.iso.date()),
      sentiment: z.enum(["positive", "neutral", "negative"]),
      confidence: z.number().min(0).max(1),
      summary: z.string().max(280),
    }),
  ],
  [
    "enum of numbers",
    "output",
    z.object({ level: z.enum({ low: 1, high: 2 }), colour: z.nativeEnum({ red: "r", blue: "b" }) }),
  ],
  [
    "file",
    "output",
    z.object({ name: z.string(), bytes: z.int().nonnegative(), hash: z.hash("sha256"), host: z.hostname() }),
  ],
];

const targets = [
  ["2020-12", { target: "draft-2020-12" }],
  ["input", { target: "draft-2020-12", io: "input" }],
  ["draft-07", { target: "draft-7" }],
  ["draft-04", { target: "draft-4" }],
  ["OpenAPI 3.0", { target: "openapi-3.0" }],
];

function ownSchemas() {
  return schemas.flatMap(([name, kind, schema]) => {
    const seen = new Set();
    return targets.flatMap(([target, options]) => {
      const made = z.toJSONSchema(schema, { ...options, unrepresentable: "any" });
      const { $schema: _, ...bare } = made;
      const text = JSON.stringify(bare);
      if (seen.has(text)) return [];
      seen.add(text);
      return [{ name: `${name}, ${target}`, kind, schema: made }];
    });
  });
}

function openaiSchemas() {
  return schemas.flatMap(([name, kind, schema]) => {
    try {
      if (kind === "tool") {
        const { parameters, strict } = zodFunction({ name: "tool", parameters: schema }).function;
        return [{ name, kind, strict, schema: parameters }];
      }
      const { schema: made, strict } = zodResponseFormat(schema, "answer").json_schema;
      const text = zodTextFormat(schema, "answer").schema;
      if (JSON.stringify(text) !== JSON.stringify(made)) throw new Error("zodTextFormat makes another schema");
      return [{ name, kind, strict, schema: made }];
    } catch (error) {
      console.log(`the OpenAI SDK refuses ${name}: ${String(error).slice(0, 120)}`);
      return [];
    }
  });
}

writeCorpus("zod", versionOf("zod"), ownSchemas());
writeCorpus("openai-node", versionOf("openai"), openaiSchemas());
