/**
 * @module `npm run check -- NAME`: a test in its long form, or one that needs what does not come with the project.
 * Without a name: which there are. Variables that are set hold; whatever follows the name goes on to what is run.
 */
import { spawnSync } from "node:child_process";

const integration = (name, settings = {}) => ({
  command: "vitest",
  args: ["run", `test/integration/${name}.test.ts`],
  settings,
});
const script = (file) => ({ command: process.execPath, args: [file], settings: {} });

/** `[name, what it does, what is run]` */
const table = [
  [
    "abuse",
    "an hour of what nobody should send, to two gateways",
    integration("abuse", { ICDPO_TEST_ABUSE_MINUTES: "60" }),
  ],
  [
    "clients",
    "the clients that people have, as a table of features (Python 3 with pip)",
    script("test/clients/run.mjs"),
  ],
  ["corpus", "1,000 answers to schemas that real programs send", integration("corpus", { ICDPO_TEST_CORPUS: "1000" })],
  ["disconnect", "clients that leave at 50 moments", integration("disconnect", { ICDPO_TEST_MOMENTS: "50" })],
  ["fuzz", "5,000 odd requests to the real model", integration("fuzz", { ICDPO_TEST_FUZZ: "5000" })],
  ["llama-server", "llama.cpp's own server tests (Python 3 with pip)", script("test/conformance/llama-server.mjs")],
  [
    "load",
    "300 requests, and 20 kills of the engine",
    integration("load", { ICDPO_TEST_LOAD: "300", ICDPO_TEST_KILLS: "20" }),
  ],
  [
    "prompts",
    "200 real prompts through each kind of policy (ICDPO_TEST_DATA)",
    integration("prompts", { ICDPO_TEST_PROMPTS: "200" }),
  ],
  ["reference", "sums beside PyTorch's (ICDPO_TEST_DATA)", integration("reference", { ICDPO_TEST_ROWS: "all" })],
  [
    "replicas",
    "one of two vLLMs is killed under load (ICDPO_TEST_VLLM_URLS, ICDPO_TEST_VLLM_PID)",
    integration("replicas"),
  ],
  [
    "schemathesis",
    "made-up requests by /openapi.json (Python 3 with pip)",
    script("test/conformance/schemathesis.mjs"),
  ],
  [
    "soak",
    "half an hour of everything at once, then the books",
    integration("soak", { ICDPO_TEST_SOAK_MINUTES: "30" }),
  ],
  ["story", "an experiment on the page, in Chromium", integration("story", { ICDPO_TEST_AB: "200" })],
  [
    "structured",
    "500 schemas and 100 tool calls",
    integration("structured", { ICDPO_TEST_JSON: "500", ICDPO_TEST_TOOLS: "100" }),
  ],
  ["vllm", "a real vLLM beside the reference (ICDPO_TEST_VLLM)", integration("vllm", { ICDPO_TEST_ROWS: "all" })],
];

const [name, ...more] = process.argv.slice(2);
const check = table.find(([known]) => known === name);
if (check === undefined) {
  const widest = Math.max(...table.map(([known]) => known.length));
  const lines = table.map(([known, help]) => `  ${known.padEnd(widest)}  ${help}`);
  const text = ["npm run check -- NAME", "", ...lines].join("\n");
  if (name === undefined) console.log(text);
  else console.error(`There is no check "${name}".\n\n${text}`);
  process.exit(name === undefined ? 0 : 1);
}
const [, , { command, args, settings }] = check;
process.exitCode = run("npm", ["run", "--silent", "build"]) || run(command, [...args, ...more], settings);

/** Gives the exit code. npm has put the folder of vitest's program in the path. */
function run(command, args, settings = {}) {
  const { status, error } = spawnSync(command, args, {
    stdio: "inherit",
    env: { ...settings, ...process.env },
    // npm and vitest are scripts on Windows, which need a shell.
    shell: process.platform === "win32" && command !== process.execPath,
  });
  if (error !== undefined) console.error(String(error));
  return status ?? 1;
}
