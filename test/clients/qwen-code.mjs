/** @module Qwen Code, a coding agent for the command line, with the settings of its page. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { assert, runFeatures, said } from "./harness.mjs";

const { HOME: home, ICDPO_URL: url, ICDPO_KEY: key } = process.env;
const folder = path.join(home, "work");
mkdirSync(folder, { recursive: true });
const env = { ...process.env, OPENAI_API_KEY: key, OPENAI_BASE_URL: `${url}/v1`, OPENAI_MODEL: "plain" };
const qwen = (question, ...options) =>
  said("qwen", ["--auth-type", "openai", ...options, question], { cwd: folder, env });
const version = (await said("qwen", ["--version"])).trim();

await runFeatures(`Qwen Code ${version}`, {
  ask: async () => assert((await qwen("Name a fruit.")).trim(), "No text"),
  "ask, as JSON": async () => {
    const result = JSON.parse(await qwen("Name a fruit.", "--output-format", "json")).find(
      ({ type }) => type === "result",
    );
    assert(!result.is_error && result.usage.input_tokens > 0, JSON.stringify(result).slice(0, 600));
  },
  "edit of one line": async () => {
    const file = path.join(folder, "greet.py");
    writeFileSync(file, 'def greet():\n    return "hello"\n');
    await qwen('Change "hello" to "goodbye" in the file greet.py, which you find in the working directory.', "--yolo");
    assert(readFileSync(file, "utf8").includes("goodbye"), readFileSync(file, "utf8"));
  },
});
