/** Requests that nobody should send: each gets a proper answer or a proper refusal, and nothing is left behind. `npm run check:fuzz` sends 5,000. */
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { eventually, type Gateway, post, startGateway } from "./gateway.ts";

const requests = Number(process.env["ICDPO_TEST_FUZZ"] ?? 400);
const minutes = 60_000;
const mostBytes = 1_000_000;

let gateway: Gateway;
beforeAll(async () => {
  // A small context keeps what is accepted by chance short.
  gateway = await startGateway({
    ICDPO_CONTEXT_SIZE: "128",
    ICDPO_MAX_BODY_BYTES: String(mostBytes),
    ICDPO_REQUEST_TIMEOUT_MS: "2000",
    ICDPO_LOG_LEVEL: "error",
  });
});
afterAll(async () => {
  await gateway.stop();
});

const oddText = fc.oneof(
  fc.string({ unit: "binary", maxLength: 30 }),
  fc.constantFrom(
    "",
    " ",
    "\u0000",
    "\ud83d",
    "<|im_end|>",
    "<|im_start|>system",
    "</tool_call>",
    "{{ 7 * 7 }}",
    "a".repeat(5_000),
    "😀".repeat(300),
    "\u202e\u200b",
  ),
);
const anything = fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.constantFrom<unknown>(null, -1, 0, 1e308, 1.5, "", [], {}, true, [[[[]]]]));
const oddMessage = fc.oneof(
  fc.record({ role: fc.constantFrom("user", "system", "assistant", "tool", "developer", "nobody"), content: fc.oneof(oddText, anything) }),
  anything,
);
const schema = fc.oneof(
  fc.constantFrom<unknown>(
    { type: "object", properties: { a: { type: "integer" } } },
    { type: "string", pattern: "^(a*)*$" },
    { $ref: "#" },
    { anyOf: [] },
  ),
  anything,
);
const fields = {
  model: fc.oneof({ weight: 4, arbitrary: fc.constantFrom("plain", "icdpo") }, { weight: 1, arbitrary: fc.oneof(oddText, anything) }),
  messages: fc.oneof({ weight: 4, arbitrary: fc.array(oddMessage, { maxLength: 3 }) }, { weight: 1, arbitrary: anything }),
  prompt: fc.oneof(oddText, fc.array(fc.integer({ min: -5, max: 60_000 }), { maxLength: 5 }), anything),
  input: fc.oneof(oddText, fc.array(oddMessage, { maxLength: 3 }), anything),
  completions: fc.oneof(fc.array(oddText, { maxLength: 2 }), anything),
  max_tokens: fc.oneof(fc.constantFrom<unknown>(1, 2, 4), anything),
  temperature: fc.oneof(fc.constantFrom<unknown>(0, 1, 2), anything),
  n: fc.oneof(fc.constantFrom<unknown>(1, 2, 17, 1e9), anything),
  stop: fc.oneof(oddText, anything),
  stream: fc.oneof(fc.boolean(), anything),
  logprobs: fc.oneof(fc.boolean(), fc.integer({ min: -1, max: 25 }), anything),
  top_logprobs: fc.oneof(fc.integer({ min: -1, max: 25 }), anything),
  logit_bias: fc.oneof(
    fc.dictionary(fc.oneof(fc.nat(60_000).map(String), oddText), fc.integer({ min: -101, max: 101 }), { maxKeys: 3 }),
    anything,
  ),
  seed: fc.oneof(fc.integer(), anything),
  response_format: fc.oneof(
    schema.map((schema) => ({ type: "json_schema", json_schema: { name: "a", schema } })),
    anything,
  ),
  tools: fc.oneof(
    fc.array(
      schema.map((parameters) => ({ type: "function", function: { name: "f", parameters } })),
      { maxLength: 2 },
    ),
    anything,
  ),
  tool_choice: fc.oneof(fc.constantFrom<unknown>("none", "auto", "required", { type: "function", function: { name: "f" } }), anything),
  demonstrations: anything,
  encoding_format: anything,
  icdpo: fc.oneof(fc.constant({ explain: true }), anything),
};
/** What every endpoint takes, but for a few fields. */
const normal = {
  model: "plain",
  messages: [{ role: "user", content: "Say hi." }],
  prompt: "Say",
  input: "Say hi.",
  completions: ["Hi."],
  max_tokens: 2,
  max_output_tokens: 2,
};
const mutated = fc
  .tuple(fc.record(fields), fc.subarray(Object.keys(fields) as (keyof typeof fields)[], { maxLength: 3 }))
  .map(([odd, names]) => JSON.stringify({ ...normal, ...Object.fromEntries(names.map((name) => [name, odd[name]])) }));
const body = fc.oneof(
  { weight: 8, arbitrary: mutated },
  { weight: 1, arbitrary: fc.record(fields, { requiredKeys: [] }).map((value) => JSON.stringify(value)) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "",
      "{",
      "null",
      "[]",
      '"a"',
      "[".repeat(50_000),
      `{"model":${"[".repeat(99)}${"]".repeat(99)}}`,
      "a".repeat(mostBytes + 1),
      JSON.stringify({ model: "plain", messages: Array.from({ length: 10_000 }, () => ({ role: "user", content: "a" })) }),
    ),
  },
);
const path = fc.constantFrom("chat/completions", "completions", "responses", "embeddings", "score");
const contentType = fc.oneof(
  { weight: 9, arbitrary: fc.constant("application/json") },
  { weight: 1, arbitrary: fc.constantFrom("text/plain", "application/xml", "multipart/form-data", "application/json; charset=latin1") },
);

/** Whatever comes must be an answer or an error of OpenAI's shape, whole. */
async function send(path: string, body: string | Uint8Array<ArrayBuffer>, type: string): Promise<number> {
  const response = await fetch(`${gateway.url}/v1/${path}`, { method: "POST", headers: { "content-type": type }, body });
  const text = await response.text();
  const what = `${path} ${typeof body === "string" ? body.slice(0, 500) : body}: ${response.status} ${text.slice(0, 500)}`;
  expect(response.status < 500, what).toBe(true);
  if (response.headers.get("content-type")?.startsWith("text/event-stream")) {
    expect(text, what).toMatch(/\n\n$/u);
    expect(text, what).not.toMatch(/"(?:internal_error|engine_failure)"/u);
  } else if (response.status !== 200) {
    const { error } = JSON.parse(text);
    expect(error, what).toMatchObject({ message: expect.any(String), type: expect.any(String) });
    expect(error, what).toHaveProperty("param");
    expect(error, what).toHaveProperty("code");
  } else JSON.parse(text);
  return response.status;
}

/** Megabytes that a process holds in memory. */
function residentMegabytes(pid: number): number {
  const [, kilobytes] = /VmRSS:\s+(\d+)/u.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kilobytes) / 1024;
}

async function memory(): Promise<number> {
  const { engine } = (await (await fetch(`${gateway.url}/health`)).json()) as { engine: { pid: number } };
  return residentMegabytes(gateway.process.pid as number) + residentMegabytes(engine.pid);
}

it(`refuses or answers ${requests} odd requests, and the next normal one works`, { timeout: 60 * minutes }, async () => {
  const samples = fc.sample(fc.tuple(path, body, contentType), { numRuns: requests, seed: 20_261_124 });
  const statuses = new Map<number, number>();
  const [warmUp, rest] = [samples.slice(0, requests / 4), samples.slice(requests / 4)];
  const sendAll = async (some: typeof samples): Promise<void> => {
    let next = 0;
    const worker = async (): Promise<void> => {
      for (let entry = some[next++]; entry !== undefined; entry = some[next++]) {
        const status = await send(...entry);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
    };
    await Promise.all([worker(), worker(), worker(), worker()]);
  };
  await sendAll(warmUp);
  const before = await memory();
  await sendAll(rest);
  const after = await memory();
  console.log(
    `${requests} requests: ${[...statuses].map(([status, count]) => `${status} × ${count}`).join(", ")}; ${before.toFixed(0)} MB, then ${after.toFixed(0)} MB`,
  );
  expect(after).toBeLessThan(before + 150);
  const normal = await post(`${gateway.url}/v1/chat/completions`, {
    model: "plain",
    messages: [{ role: "user", content: "Say hi." }],
    max_tokens: 4,
  });
  expect(normal.status).toBe(200);
});

it("does not wait for a client that sends its body slowly", async () => {
  const { hostname, port } = new URL(gateway.url);
  const socket = connect(Number(port), hostname);
  socket.write("POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{");
  let answer = "";
  socket.on("data", (data) => {
    answer += data;
  });
  await new Promise((resolve) => socket.once("close", resolve));
  expect(answer).toMatch(/^HTTP\/1\.1 408/u);
  await eventually(async () => ((await (await fetch(`${gateway.url}/health`)).json()) as { requests: number }).requests === 0);
});
