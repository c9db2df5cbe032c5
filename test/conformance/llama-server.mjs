/**
 * @module `npm run check -- llama-server`: llama.cpp's own server tests, from the source that node-llama-cpp ships,
 * against a plain route. Nothing in them is changed but constants that belong to their model
 * (llama-server/constants.json); which are run, and why the others are not, stands here.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { program, python, temporaryFolder } from "./gateway.mjs";

const here = fileURLToPath(new URL("./llama-server/", import.meta.url));
const bundle = fileURLToPath(new URL("../../node_modules/node-llama-cpp/llama/gitRelease.bundle", import.meta.url));
const unit = "tools/server/tests/unit";

/**
 * Functions that are run; where not all cases are, a word of the names of those that are left out, each with the
 * reason.
 */
const chosen = {
  "test_basic.py": { test_server_start_simple: {}, test_server_models: {} },
  "test_security.py": { test_access_public_endpoint: {} },
  "test_chat_completion.py": {
    test_chat_completion: { blue: "takes another chat template", chatml: "takes another chat template" },
    test_chat_completion_with_openai_library: {},
    test_completion_with_response_format: {
      response_format0: "llama-server's own 'schema' beside json_object",
      response_format1: "llama-server's own 'schema' beside json_object",
      response_format5: "llama-server's own 'schema' beside json_object",
      response_format6: "llama-server's own 'schema' beside json_object",
      response_format7: "llama-server's own 'schema' beside json_object",
    },
    test_invalid_chat_completion_req: { messages7: "two assistant messages in a row are fine for OpenAI's API" },
    test_logprobs: {},
    test_chat_completions_multiple_choices: {},
  },
};

const folder = temporaryFolder("llama-server");
const programs = python(folder, ["pytest==8.4.2", "requests==2.32.5", "openai==1.109.1"]);
const source = path.join(folder, "source");
const git = (...args) => execFileSync("git", args, { stdio: ["ignore", "pipe", "ignore"], maxBuffer: 1e8 });
git("clone", "--quiet", "--no-checkout", bundle, source);
const constants = JSON.parse(readFileSync(path.join(here, "constants.json"), "utf8"));
for (const file of Object.keys(chosen)) {
  let text = git("-C", source, "show", `HEAD:${unit}/${file}`).toString();
  for (const [what, theirs, ours] of constants[file] ?? []) {
    if (!text.includes(theirs)) throw new Error(`${file} does not hold the ${what} ${theirs}`);
    text = text.replaceAll(theirs, ours);
  }
  writeFileSync(path.join(folder, file), text);
}
for (const file of ["utils.py", "conftest.py"]) copyFileSync(path.join(here, file), path.join(folder, file));

const left = Object.values(chosen).flatMap((functions) =>
  Object.values(functions).flatMap((cases) => Object.keys(cases)),
);
const names = Object.entries(chosen).flatMap(([file, functions]) =>
  Object.keys(functions).map((name) => `${file}::${name}`),
);
const filter = ["-k", left.map((name) => `not ${name}`).join(" and ")];
const report = path.join(folder, "report.xml");
spawnSync(
  path.join(programs, "pytest"),
  ["-v", "--tb=short", "-p", "no:cacheprovider", `--junitxml=${report}`, ...filter, ...names],
  {
    cwd: folder,
    stdio: "inherit",
    env: { ...process.env, ICDPO_PROGRAM: [process.execPath, program, "serve"].join("\n") },
  },
);
const [tests, failures, errors] = readCounts(readFileSync(report, "utf8"));
console.log(`${tests - failures - errors} passed, ${failures + errors} failed`);
process.exitCode = failures + errors > 0 || tests < 15 ? 1 : 0;

function readCounts(xml) {
  const count = (name) => Number(new RegExp(`<testsuite [^>]*${name}="(\\d+)"`, "u").exec(xml)?.[1] ?? 0);
  return [count("tests"), count("failures"), count("errors")];
}
