/** @module Bodies of requests whose fields hold what they should not: arbitraries of fast-check. */
import fc from "fast-check";

/** Of a body, where they are sent. */
export const mostOddBytes = 1_000_000;

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
const anything = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }),
  fc.constantFrom<unknown>(null, -1, 0, 1e308, 1.5, "", [], {}, true, [[[[]]]]),
);
const oddMessage = fc.oneof(
  fc.record({
    role: fc.constantFrom("user", "system", "assistant", "tool", "developer", "nobody"),
    content: fc.oneof(oddText, anything),
  }),
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
  model: fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom("plain", "icdpo") },
    { weight: 1, arbitrary: fc.oneof(oddText, anything) },
  ),
  messages: fc.oneof(
    { weight: 4, arbitrary: fc.array(oddMessage, { maxLength: 3 }) },
    { weight: 1, arbitrary: anything },
  ),
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
  tool_choice: fc.oneof(
    fc.constantFrom<unknown>("none", "auto", "required", { type: "function", function: { name: "f" } }),
    anything,
  ),
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
export const oddBody = fc.oneof(
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
      "a".repeat(mostOddBytes + 1),
      JSON.stringify({
        model: "plain",
        messages: Array.from({ length: 10_000 }, () => ({ role: "user", content: "a" })),
      }),
    ),
  },
);
export const oddPath = fc.constantFrom("chat/completions", "completions", "responses", "embeddings", "score");
export const oddContentType = fc.oneof(
  { weight: 9, arbitrary: fc.constant("application/json") },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "text/plain",
      "application/xml",
      "multipart/form-data",
      "application/json; charset=latin1",
    ),
  },
);
