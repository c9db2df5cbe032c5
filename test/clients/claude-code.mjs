/**
 * @module Claude Code, a coding agent for the command line. With prompts that a small context holds, and one that none
 * does.
 */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { assert, runFeatures } from "./harness.mjs";

const { ICDPO_URL: url, ICDPO_KEY: key, PATH } = process.env;
const program = "claude";
const run = promisify(execFile);
const folder = mkdtempSync(path.join(tmpdir(), "claude-code-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const env = {
  PATH,
  HOME: folder,
  ANTHROPIC_AUTH_TOKEN: key,
  CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
  CLAUDE_CODE_MAX_OUTPUT_TOKENS: "512",
};

/** What it says in the end; it knows of nothing but the gateway. */
async function answer({ base = url, model = "plain", tools = "" }) {
  const options = ["--model", model, "--tools", tools, "--system-prompt", "Be brief.", "--output-format", "json"];
  const started = run(program, ["-p", "Name a fruit.", ...options], {
    cwd: folder,
    env: { ...env, ANTHROPIC_BASE_URL: base },
  });
  started.child.stdin.end();
  const { stdout } = await started.catch((error) => error);
  return JSON.parse(stdout);
}

/** It takes an answer that its limit cut off for an error, and the default model does not always come to an end. */
async function assertAnswered(asked) {
  let said;
  for (let left = 3; left > 0; left--) {
    said = await answer(asked);
    if (!/output token maximum/u.test(said.result)) break;
  }
  assert(!said.is_error && said.result, `No answer: ${said.result}`);
}

const { stdout: version } = await run(program, ["--version"], { env });
await runFeatures(`Claude Code ${version.split(" ")[0]}`, {
  chat: () => assertAnswered({}),
  scored: () => assertAnswered({ base: `${url}/routes/icdpo`, model: "claude-sonnet-4-5" }),
  errors: async () => {
    const { is_error: isError, result } = await answer({ tools: "default" });
    assert(isError && /prompt is too long/iu.test(result), `Not told that it is too long: ${result}`);
  },
});
