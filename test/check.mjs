/**
 * @module `npm run check -- NAME`: a test in its long form, or one that needs what does not come with the project. Without a name: which there are.
 * Variables that are set already hold; whatever follows the name goes on to what is run.
 */
import { spawnSync } from "node:child_process";

const integration = (name, settings = {}) => ({ command: "vitest", args: ["run", `test/integration/${name}.test.ts`], settings });
const script = (file) => ({ command: process.execPath, args: [file], settings: {} });

const checks = {
  abuse: integration("abuse", { ICDPO_TEST_ABUSE_MINUTES: "60" }),
  clients: script("test/clients/run.mjs"),
  disconnect: integration("disconnect", { ICDPO_TEST_MOMENTS: "50" }),
  fuzz: integration("fuzz", { ICDPO_TEST_FUZZ: "5000" }),
  "llama-server": script("test/conformance/llama-server.mjs"),
  load: integration("load", { ICDPO_TEST_LOAD: "300", ICDPO_TEST_KILLS: "20" }),
  prompts: integration("prompts", { ICDPO_TEST_PROMPTS: "200" }),
  reference: integration("reference", { ICDPO_TEST_ROWS: "all" }),
  replicas: integration("replicas"),
  schemathesis: script("test/conformance/schemathesis.mjs"),
  soak: integration("soak", { ICDPO_TEST_SOAK_MINUTES: "30" }),
  story: integration("story", { ICDPO_TEST_AB: "200" }),
  structured: integration("structured", { ICDPO_TEST_JSON: "500", ICDPO_TEST_TOOLS: "100" }),
  vllm: integration("vllm", { ICDPO_TEST_ROWS: "all" }),
};

const [name, ...more] = process.argv.slice(2);
const check = Object.hasOwn(checks, name ?? "") ? checks[name] : undefined;
if (check === undefined) {
  console.error(`npm run check -- NAME, one of: ${Object.keys(checks).join(", ")}`);
  process.exit(1);
}
const { command, args, settings } = check;
// npm has put the folder of vitest's program in the path; on Windows that is a script, which needs a shell.
const { status, error } = spawnSync(command, [...args, ...more], {
  stdio: "inherit",
  env: { ...settings, ...process.env },
  shell: process.platform === "win32" && command === "vitest",
});
if (error !== undefined) console.error(String(error));
process.exitCode = status ?? 1;
