/**
 * @module `npm run check -- clients`: every client × feature against a running gateway, as one table. `--only TEXT`: a
 * client or a feature.
 */
import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { linesOf } from "../../dist/text/lines.js";
import { python, startGateway, temporaryFolder } from "../conformance/gateway.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const scripts = [
  ...["openai.mjs", "openai_python.py", "anthropic.mjs", "anthropic_python.py"],
  ...["ai-sdk.mjs", "langchain.mjs", "langchain_python.py", "curl.mjs"],
  ...(process.env.ICDPO_TEST_CLAUDE_CODE ? ["claude-code.mjs"] : []),
];
const features = [
  ...[
    "models",
    "chat",
    "scored",
    "stream",
    "scored stream",
    "usage",
    "n, stop, seed",
    "stop sequence",
    "JSON schema",
    "JSON schema stream",
  ],
  ...["tools", "tools stream", "tool result", "logprobs", "embeddings", "completions"],
  ...["responses", "responses stream", "responses tools", "responses JSON", "beta messages", "errors", "abort"],
];
const only = process.argv.includes("--only") ? process.argv[process.argv.indexOf("--only") + 1] : undefined;
const key = "a-key-for-the-client-checks";

const installed = spawnSync("npm", ["ci", "--silent", "--no-audit", "--no-fund"], {
  cwd: here,
  stdio: ["ignore", "ignore", "inherit"],
});
if (installed.status !== 0) throw new Error("The JavaScript clients could not be installed");
const requirements = readFileSync(path.join(here, "requirements.txt"), "utf8").trim().split("\n");
const programs = python(temporaryFolder("clients"), requirements);
const gateway = await startGateway({
  ICDPO_CONTEXT_SIZE: "1024",
  ICDPO_API_KEYS: `clients=${key}`,
  ICDPO_LOG_LEVEL: "error",
});

const columns = [];
for (const script of scripts) columns.push(await runClient(script));
gateway.stop();
printTable();
const results = columns.flatMap(({ results }) => [...results.values()]);
const failed =
  columns.filter(({ code, results }) => code !== 0 || (results.size === 0 && only === undefined)).length +
  results.filter(({ ok }) => !ok).length;
for (const { client, results } of columns)
  for (const [feature, { ok, detail }] of results) if (!ok) console.log(`\n${client}, ${feature}:\n${detail}`);
console.log(`\n${results.filter(({ ok }) => ok).length} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;

async function runClient(script) {
  const command = script.endsWith(".py") ? path.join(programs, "python") : process.execPath;
  const env = {
    ...process.env,
    ICDPO_URL: gateway.url,
    ICDPO_KEY: key,
    OPENAI_API_KEY: key,
    ...(only !== undefined && { ICDPO_ONLY: only }),
  };
  const child = spawn(command, [script], { cwd: here, env, stdio: ["ignore", "pipe", "inherit"] });
  const column = { client: script, results: new Map(), code: null };
  for await (const line of linesOf(script, child.stdout)) {
    const { client, feature, ...result } = JSON.parse(line);
    if (client !== undefined) column.client = client;
    else column.results.set(feature, result);
  }
  column.code = await new Promise((resolve) =>
    child.exitCode === null ? child.once("exit", resolve) : resolve(child.exitCode),
  );
  return column;
}

/** – : the client has no such feature of its own. */
function printTable() {
  const cell = ({ results }, feature) => (results.has(feature) ? (results.get(feature).ok ? "✓" : "✗") : "–");
  console.log(["", ...columns.map(({ client }) => client)].join(" | "));
  for (const feature of features)
    console.log(
      [feature.padEnd(20), ...columns.map((column) => cell(column, feature).padEnd(column.client.length))].join(" | "),
    );
}
