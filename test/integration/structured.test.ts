/**
 * Answers that keep to a JSON schema, and calls that keep to a tool's, on the real model at temperature 1. `npm run
 * check -- structured` asks for more.
 */
import { Ajv2020 } from "ajv/dist/2020.js";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Gateway, post, startGateway } from "./gateway.ts";

const jsonRequests = Number(process.env["ICDPO_TEST_JSON"] ?? 10);
const toolRequests = Number(process.env["ICDPO_TEST_TOOLS"] ?? 6);
const atOnce = 8;
const minutes = 60_000;

let gateway: Gateway;
beforeAll(async () => {
  gateway = await startGateway({ ICDPO_CONTEXT_SIZE: "2048" });
});
afterAll(async () => {
  await gateway.stop();
});

const ajv = new Ajv2020({ strict: false });
const object = (properties: Record<string, unknown>, more: Record<string, unknown> = {}) => ({
  type: "object",
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
  ...more,
});
const text = { type: "string", maxLength: 40 };

/** Nesting, enums, arrays, numbers, references, alternatives. */
const schemas: readonly (readonly [question: string, schema: Record<string, unknown>])[] = [
  [
    "Describe a cat.",
    object({
      name: text,
      age: { type: "integer", minimum: 0, maximum: 30 },
      colour: { enum: ["black", "white", "grey"] },
    }),
  ],
  [
    "Plan a dinner.",
    object({
      dishes: {
        type: "array",
        items: object({ dish: text, minutes: { type: "integer", minimum: 1, maximum: 240 } }),
        minItems: 1,
        maxItems: 3,
      },
    }),
  ],
  ["Is the sky blue?", object({ answer: { type: "boolean" }, confidence: { type: "number", minimum: 0, maximum: 1 } })],
  [
    "Where is Paris?",
    object({
      place: object({ city: text, position: object({ latitude: { type: "number" }, longitude: { type: "number" } }) }),
    }),
  ],
  [
    "Rate this film: it was fine.",
    object({
      stars: { enum: [1, 2, 3, 4, 5] },
      tags: { type: "array", items: { enum: ["slow", "funny", "sad"] }, maxItems: 4 },
    }),
  ],
  [
    "Name some primes.",
    { type: "array", items: { type: "integer", minimum: 2, maximum: 100 }, minItems: 2, maxItems: 6 },
  ],
  ["Who wrote Hamlet?", object({ author: { anyOf: [text, { type: "null" }] }, year: { type: ["integer", "null"] } })],
  [
    "Write a to-do list.",
    {
      ...object({ items: { type: "array", items: { $ref: "#/$defs/item" }, maxItems: 4 } }),
      $defs: { item: object({ task: text, done: { type: "boolean" } }) },
    },
  ],
  [
    "What time is lunch?",
    object({ date: { type: "string", format: "date" }, time: { type: "string", pattern: "^[01][0-9]:[0-5][0-9]$" } }),
  ],
  [
    "Sort these: pear, fig.",
    {
      type: "object",
      properties: { sorted: { type: "array", items: text, maxItems: 3 }, note: text },
      required: ["sorted"],
      additionalProperties: false,
    },
  ],
];

interface Choice {
  readonly finish_reason: string;
  readonly message: {
    readonly content: string | null;
    readonly tool_calls?: readonly { readonly function: { readonly name: string; readonly arguments: string } }[];
  };
}

/** The choices of so many requests, some at once. */
async function ask(count: number, body: (number: number) => Record<string, unknown>): Promise<Choice[]> {
  const choices: Choice[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let number = next++; number < count; number = next++) {
      const answer = await post(`${gateway.url}/v1/chat/completions`, {
        model: "plain",
        temperature: 1,
        seed: number,
        max_tokens: 400,
        ...body(number),
      });
      expect(answer.status, JSON.stringify(answer.body)).toBe(200);
      choices[number] = (answer.body["choices"] as Choice[])[0] as Choice;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return choices;
}

function countLengths(choices: readonly Choice[], what: string): number {
  const lengths = choices.filter(({ finish_reason }) => finish_reason === "length").length;
  console.log(`${what}: ${choices.length} requests, ${lengths} ended in length`);
  return lengths;
}

it(`answers ${jsonRequests} requests with JSON of their schemas`, { timeout: 60 * minutes }, async () => {
  const choices = await ask(jsonRequests, (number) => {
    const [question, schema] = schemas[number % schemas.length] as (typeof schemas)[number];
    return {
      messages: [{ role: "user", content: question }],
      response_format: { type: "json_schema", json_schema: { name: "answer", strict: true, schema } },
    };
  });
  const lengths = countLengths(choices, "JSON schemas");
  for (const [number, { finish_reason, message }] of choices.entries()) {
    if (finish_reason === "length") continue;
    const validate = ajv.compile((schemas[number % schemas.length] as (typeof schemas)[number])[1]);
    expect(finish_reason).toBe("stop");
    expect(validate(JSON.parse(message.content ?? "")), `${message.content}: ${ajv.errorsText(validate.errors)}`).toBe(
      true,
    );
  }
  expect(lengths).toBeLessThanOrEqual(Math.max(1, jsonRequests * 0.05));
});

it(`answers ${toolRequests} requests that must call a tool with valid calls`, { timeout: 60 * minutes }, async () => {
  const tools = [
    { name: "get_weather", parameters: object({ city: text, unit: { enum: ["celsius", "fahrenheit"] } }) },
    {
      name: "add",
      parameters: object({
        numbers: { type: "array", items: { type: "number", minimum: -1000, maximum: 1000 }, minItems: 2, maxItems: 4 },
      }),
    },
    { name: "now", parameters: object({}) },
  ];
  const choices = await ask(toolRequests, (number) => ({
    messages: [{ role: "user", content: ["How warm is Paris?", "What is 2 + 3?", "How late is it?"][number % 3] }],
    tools: tools.map((tool) => ({ type: "function", function: tool })),
    tool_choice: number % 2 === 0 ? "required" : { type: "function", function: { name: tools[number % 3]?.name } },
  }));
  const lengths = countLengths(choices, "tools");
  for (const [number, { finish_reason, message }] of choices.entries()) {
    if (finish_reason === "length") continue;
    expect(finish_reason).toBe("tool_calls");
    for (const call of message.tool_calls ?? []) {
      const tool = tools.find(({ name }) => name === call.function.name);
      const validate = ajv.compile(tool?.parameters ?? false);
      expect(validate(JSON.parse(call.function.arguments)), call.function.arguments).toBe(true);
      if (number % 2 === 1) expect(call.function.name).toBe(tools[number % 3]?.name);
    }
    expect(message.tool_calls?.length).toBeGreaterThan(0);
  }
  expect(lengths).toBeLessThanOrEqual(Math.max(1, toolRequests * 0.05));
});
