/**
 * @module `npm run check -- clients`: every client × feature against a running gateway, as one table. `--only TEXT`:
 * clients (their names or parts, with commas between) or a feature; `--write`: the table of docs/clients.md, by the last result of each client that there is.
 */
import { spawn, spawnSync } from "node:child_process";
import path from "node:path";
import { linesOf } from "../../dist/text/lines.js";
import { program, startGateway, temporaryFolder } from "../conformance/gateway.mjs";
import { methodPolicies } from "../conformance/method-policies.mjs";
import { blocksOf } from "./client-page.mjs";
import { keep, rowOf } from "./client-results.mjs";
import { clients, install, installLibraries } from "./programs.mjs";

const here = import.meta.dirname;
const only = process.argv.includes("--only") ? process.argv[process.argv.indexOf("--only") + 1] : undefined;
const minutes = Number(process.env.ICDPO_CHECK_MINUTES || 60);
const parallel = Number(process.env.ICDPO_CHECK_PARALLEL || 2);
const largerModel = process.env.ICDPO_CHECK_LARGER_MODEL;
const key = "a-key-for-the-client-checks";
/** What people have set for other services is no business of the clients here. */
const theirs = /KEY|TOKEN|SECRET|^(?:OPENAI|ANTHROPIC|CLAUDE|CODEX|LITELLM|AWS|AZURE|GOOGLE|ICDPO|npm)_/iu;
const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !theirs.test(name)));

installLibraries();
const settings = {
  ICDPO_API_KEYS: `clients=${key}`,
  ICDPO_LOG_LEVEL: "error",
  ICDPO_POLICIES: methodPolicies(),
  ICDPO_TRUST_PROXY: "1",
};
const gateway = await startGateway(settings);
const larger = largerModel ? await startGateway({ ...settings, ICDPO_MODEL: largerModel }) : undefined;
const model = spawnSync(process.execPath, [program, "models", "path", "SmolLM2-135M-Instruct.Q4_1.gguf"], {
  encoding: "utf8",
}).stdout.trim();

const chosen = clients.filter(
  ({ name }) => only === undefined || isFeature(only) || only.split(",").some((text) => name.includes(text)),
);
const columns = [];
const waiting = [...chosen];
await Promise.all(Array.from({ length: parallel }, work));
gateway.stop();
larger?.stop();
report();

/** `--only` with a small letter first names a feature of all clients, else a client. */
function isFeature(text) {
  return !clients.some(({ name }) => text.split(",").some((part) => name.includes(part)));
}

async function work() {
  for (let client = waiting.shift(); client !== undefined; client = waiting.shift()) columns.push(await check(client));
}

async function check(client) {
  const column = { name: client.name, client: client.name, results: {}, at: new Date().toISOString().slice(0, 10) };
  try {
    await runClient(client, install(client), column);
  } catch (error) {
    column.missing = String(error.message ?? error);
  }
  console.error(rowOf(column));
  if (only === undefined || !isFeature(only)) keep(column);
  return column;
}

/** First what the page says, then the client's features, in the same home. */
async function runClient({ name, script, serves, wantsLarger }, programs, column) {
  const { url } = (wantsLarger && larger) || gateway;
  const home = temporaryFolder("icdpo-client");
  const env = {
    ...environment,
    HOME: home,
    PATH: [...programs, process.env.PATH].join(path.delimiter),
    ICDPO_URL: url,
    ICDPO_KEY: key,
    ICDPO_DEFAULT_MODEL: model,
    ICDPO_BLOCKS: JSON.stringify(blocksOf(name, { url, key })),
    OPENAI_API_KEY: key,
    ...(larger !== undefined && { ICDPO_LARGER_URL: larger.url }),
    ...(only !== undefined && isFeature(only) && { ICDPO_ONLY: only }),
  };
  if (wantsLarger && larger === undefined)
    column.results["all of it"] = { skipped: "ICDPO_CHECK_LARGER_MODEL is not set" };
  else {
    if (!serves) for (const line of JSON.parse(env.ICDPO_BLOCKS)) await runBlock(line, { env, home, column });
    await runScript(script, { env, column, wantsLarger });
  }
}

async function runBlock({ language, code }, { env, home, column }) {
  const commands = {
    sh: ["bash", ["-euo", "pipefail", "-c", code], home],
    python: ["python", ["-c", code], home],
    js: [process.execPath, ["--input-type=module", "-e", code], here],
  };
  if (!(language in commands)) return;
  const [command, args, cwd] = commands[language];
  const { code: status, said } = await finished(spawn(command, args, { cwd, env, detached: true }));
  const ok = status === 0 && said.trim() !== "";
  column.results["as on the page"] = ok ? { ok } : { ok, detail: `ended with ${status}: ${said.slice(-600)}` };
}

async function runScript(script, { env, column, wantsLarger }) {
  const command = script.endsWith(".py") ? "python" : process.execPath;
  const child = spawn(command, [script], { cwd: here, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
  const end = finished(child);
  for await (const line of linesOf(script, child.stdout)) {
    if (!line.startsWith("{")) continue;
    const { client, feature, ...result } = JSON.parse(line);
    if (client !== undefined) column.client = client;
    else column.results[feature] = { ...result, larger: result.larger || (wantsLarger ?? false) };
  }
  const { code, said } = await end;
  if (code !== 0) column.results["its end"] = { ok: false, detail: `${code}: ${said.slice(-600)}` };
}

/** Its code and what it said, in time; whatever it started ends with it. */
function finished(child) {
  let said = "";
  child.stdin?.end();
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (data) => {
      said = (said + data).slice(-5_000);
    });
  const kill = () => {
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {}
  };
  const timer = setTimeout(kill, minutes * 60_000);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      clearTimeout(timer);
      kill();
      resolve({ code: code ?? `no code in ${minutes} minutes`, said });
    });
  });
}

function report() {
  const rows = columns.map(rowOf);
  console.log(rows.join("\n"));
  const results = columns.flatMap(({ name, results }) => Object.entries(results).map((row) => [name, ...row]));
  const bad = results.filter(([, , { ok, skipped }]) => !ok && skipped === undefined);
  for (const [name, feature, { detail }] of bad) console.log(`\n${name}, ${feature}:\n${detail}`);
  const missing = columns.filter((column) => column.missing !== undefined);
  const skipped = results.filter(([, , row]) => row.skipped !== undefined).length + missing.length;
  const good = results.filter(([, , { ok }]) => ok).length;
  console.log(`\n${good} passed, ${bad.length} failed, ${skipped} skipped`);
  process.exitCode = bad.length > 0 ? 1 : 0;
}
