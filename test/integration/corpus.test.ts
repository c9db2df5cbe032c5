/**
 * Answers of the real model under the grammars of schemas that real programs send: each is JSON, or the beginning of
 * some, and valid where nothing of its schema is relaxed. `npm run check -- corpus` asks for a thousand.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { type CorpusSchema, corpus, validatorOf } from "../corpus/corpus.ts";
import { type Gateway, startGateway } from "./gateway.ts";

const count = Number(process.env["ICDPO_TEST_CORPUS"] ?? 6);
const atOnce = 8;
const minutes = 60_000;
const temperatures = [0.2, 0.7, 1];
/** Of few answers, each is to be short, and to a short prompt. */
const isShort = count < 100;
const mostTokens = isShort ? 60 : 300;
const mostCharacters = isShort ? 600 : 12_000;

const asked = corpus.filter(({ schema }) => JSON.stringify(schema).length <= mostCharacters);

let gateway: Gateway;
beforeAll(async () => {
  gateway = await startGateway({ ICDPO_CONTEXT_SIZE: isShort ? "1024" : "8192" });
});
afterAll(async () => {
  await gateway.stop();
});

interface Answer {
  readonly entry: CorpusSchema;
  readonly text: string;
  readonly ended: boolean;
  readonly relaxed: boolean;
}

async function ask(number: number): Promise<Answer> {
  // Far from each other, so that a few come from many generators.
  const entry = asked[Math.floor((number * asked.length) / count) % asked.length] as CorpusSchema;
  const { kind, schema } = entry;
  const wanted =
    kind === "tool"
      ? { tools: [{ type: "function", function: { name: "act", parameters: schema } }], tool_choice: "required" }
      : { response_format: { type: "json_schema", json_schema: { name: "answer", schema } } };
  const response = await fetch(`${gateway.url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      model: "plain",
      messages: [{ role: "user", content: "Make up an example." }],
      temperature: temperatures[number % temperatures.length],
      parallel_tool_calls: false,
      max_tokens: mostTokens,
      seed: number,
      ...wanted,
    }),
  });
  const body = await response.json();
  expect(response.status, `${entry.generator}, ${entry.name}: ${JSON.stringify(body)}`).toBe(200);
  const [{ message, finish_reason: reason }] = (body as { choices: [Choice] }).choices;
  return {
    entry,
    text: message.tool_calls?.[0]?.function.arguments ?? message.content ?? "",
    ended: reason !== "length",
    relaxed: response.headers.has("x-icdpo-schema"),
  };
}

interface Choice {
  readonly finish_reason: string;
  readonly message: {
    readonly content: string | null;
    readonly tool_calls?: readonly { readonly function: { readonly arguments: string } }[];
  };
}

/** Whether a text may go on to become JSON, as far as strings and brackets go. */
function beginsJson(text: string): boolean {
  const outside = text.replace(/"(?:[^"\\]|\\.)*(?:"|\\?$)/gsu, "");
  const open: string[] = [];
  for (const bracket of outside.match(/[[\]{}]/gu) ?? [])
    if ("[{".includes(bracket)) open.push(bracket);
    else if (open.pop() !== (bracket === "]" ? "[" : "{")) return false;
  return !/[^\s\w[\]{}:,.+-]/u.test(outside);
}

it(`answers ${count} requests with JSON of real programs' schemas`, { timeout: 300 * minutes }, async () => {
  const answers: Answer[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let number = next++; number < count; number = next++) answers.push(await ask(number));
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  const ended = answers.filter((answer) => answer.ended);
  const valid = ended.filter(({ entry, text }) => validatorOf(entry.schema)(JSON.parse(text)));
  const relaxed = ended.filter((answer) => answer.relaxed).length;
  const generators = new Set(answers.map(({ entry }) => entry.generator)).size;
  console.log(
    `${answers.length} answers to schemas of ${generators} generators: ${ended.length} ended, ${relaxed} of them ` +
      `relaxed; ${valid.length} fit the whole schema; ${answers.length - ended.length} beginnings`,
  );
  for (const { text } of answers) expect(beginsJson(text), text).toBe(true);
  const wrong = ended.filter((answer) => !answer.relaxed && !valid.includes(answer));
  expect(wrong.map(({ entry, text }) => `${entry.generator}, ${entry.name}: ${text}`)).toEqual([]);
});
