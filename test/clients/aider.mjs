/** @module aider, a coding assistant for the command line, with the settings of its page: an answer, and an edit of one line. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { assert, larger, runFeatures, said } from "./harness.mjs";

const { HOME: home, ICDPO_URL: url, ICDPO_KEY: key } = process.env;
const folder = path.join(home, "work");
mkdirSync(folder, { recursive: true });
const options = [
  "--yes-always",
  "--no-git",
  "--no-check-update",
  "--no-show-release-notes",
  "--analytics-disable",
  "--no-show-model-warnings",
  "--no-pretty",
  "--map-tokens",
  "0",
];

async function aider(message, ...more) {
  const env = {
    ...process.env,
    OPENAI_API_BASE: `${url}/v1`,
    OPENAI_API_KEY: key,
    LITELLM_LOCAL_MODEL_COST_MAP: "True",
  };
  const output = await said("aider", [...options, ...more, "--message", message], { cwd: folder, env });
  // That it cannot fetch its list of prices is no fault of the gateway.
  assert(!/litellm\.\w+Error|token limit/u.test(output), output.slice(-800));
  return output;
}

const answered = (output) => assert(/Tokens: [\d.k]+ sent, [\d.k]+ received/u.test(output), output.slice(-800));
const [, version] = (await said("aider", ["--version"])).trim().split(" ");
await runFeatures(`aider ${version}`, {
  ask: async () => answered(await aider("Name a fruit.", "--model", "openai/plain", "--chat-mode", "ask")),
  "ask, scored": async () => answered(await aider("Name a fruit.", "--model", "openai/icdpo", "--chat-mode", "ask")),
  "ask, whole answer": async () =>
    answered(await aider("Name a fruit.", "--model", "openai/plain", "--chat-mode", "ask", "--no-stream")),
  "edit of one line": async () => {
    const file = path.join(folder, "greet.py");
    writeFileSync(file, 'def greet():\n    return "hello"\n');
    const model = ["--model", "openai/plain", "--edit-format", "whole", "--openai-api-base", `${larger()}/v1`];
    await aider('Change "hello" to "goodbye" in greet.py.', ...model, "greet.py");
    assert(readFileSync(file, "utf8").includes("goodbye"), readFileSync(file, "utf8"));
  },
});
