/** @module promptfoo, which compares prompts and models, with the configuration of its page and with assertions. */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { assert, runFeatures, said, schema, weather } from "./harness.mjs";

const { HOME: home, ICDPO_URL: url, ICDPO_KEY: apiKey } = process.env;
const env = {
  ...process.env,
  PROMPTFOO_DISABLE_TELEMETRY: "1",
  PROMPTFOO_DISABLE_UPDATE: "1",
  PROMPTFOO_DISABLE_REMOTE_GENERATION: "1",
};

/** The results of one provider's answers. */
async function evaluate(provider, { config = {}, assertions = [], prompt = "Name a fruit." }) {
  const file = path.join(home, "promptfoo.json");
  const output = path.join(home, "results.json");
  const providers = [{ id: provider, config: { apiBaseUrl: `${url}/v1`, apiKey, max_tokens: 12, ...config } }];
  writeFileSync(file, JSON.stringify({ prompts: [prompt], providers, tests: [{ assert: assertions }] }));
  await said("promptfoo", ["eval", "-c", file, "-o", output, "--no-cache", "--no-progress-bar"], {
    cwd: home,
    env,
  }).catch(() => {});
  const { results } = JSON.parse(readFileSync(output, "utf8")).results;
  for (const { success, error, response } of results)
    assert(success, `${error} ${JSON.stringify(response)}`.slice(0, 800));
  return results.map(({ response }) => response);
}

const isText = { type: "javascript", value: "typeof output === 'string' && output.length > 0" };
const version = (await said("promptfoo", ["--version"], { env })).trim().split("\n").at(-1);
await runFeatures(`promptfoo ${version}`, {
  chat: () => evaluate("openai:chat:plain", { assertions: [isText] }),
  scored: () => evaluate("openai:chat:icdpo", { assertions: [isText] }),
  completions: () => evaluate("openai:completion:plain", { assertions: [isText], prompt: "A fruit is" }),
  responses: () => evaluate("openai:responses:plain", { assertions: [isText], config: { max_output_tokens: 12 } }),
  usage: async () => {
    const [{ tokenUsage }] = await evaluate("openai:chat:plain", {});
    assert(tokenUsage.completion > 0, JSON.stringify(tokenUsage));
  },
  "JSON schema": () => {
    const response_format = { type: "json_schema", json_schema: { name: "fruit", strict: true, schema } };
    return evaluate("openai:chat:plain", {
      config: { response_format, max_tokens: 100 },
      assertions: [{ type: "is-json", value: schema }],
    });
  },
  tools: () => {
    const config = { tools: [{ type: "function", function: weather }], tool_choice: "required", max_tokens: 150 };
    return evaluate("openai:chat:plain", {
      config,
      prompt: "How warm is it in Paris? Use celsius.",
      assertions: [{ type: "is-valid-openai-tools-call" }],
    });
  },
  embeddings: () => {
    const provider = { id: "openai:embedding:plain", config: { apiBaseUrl: `${url}/v1`, apiKey } };
    return evaluate("openai:chat:plain", {
      assertions: [{ type: "similar", value: "A fruit is sweet.", threshold: -1, provider }],
    });
  },
});
