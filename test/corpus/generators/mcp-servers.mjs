/** @module The tools of public MCP servers, as each names them when it is started over stdio and asked. */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, realpathSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { versionOf, writeCorpus } from "./corpus-file.mjs";

const python = process.env.CORPUS_PYTHON ?? "python3";
const bin = fileURLToPath(new URL("node_modules/.bin/", import.meta.url));
const folder = realpathSync(mkdtempSync(path.join(tmpdir(), "corpus-")));
spawnSync("git", ["init", "-q", folder]);
/** Long enough for what has to compile; each answers in a few seconds. */
const patienceMs = 60_000;

const official = (name, args = [], env = {}) => ({ package: `@modelcontextprotocol/${name}`, args, env });
/** Their licences let a schema be copied: MIT or Apache-2.0. Keys are made up: nothing is called but `tools/list`. */
const servers = [
  official("server-filesystem", [folder]),
  official("server-memory"),
  official("server-everything"),
  official("server-sequential-thinking"),
  official("server-github"),
  official("server-gitlab", [], { GITLAB_PERSONAL_ACCESS_TOKEN: "none" }),
  official("server-slack", [], { SLACK_BOT_TOKEN: "none", SLACK_TEAM_ID: "none" }),
  official("server-brave-search", [], { BRAVE_API_KEY: "none" }),
  official("server-google-maps", [], { GOOGLE_MAPS_API_KEY: "none" }),
  official("server-puppeteer"),
  { package: "@playwright/mcp", args: ["--headless"] },
  { package: "@upstash/context7-mcp", args: [] },
  { package: "firecrawl-mcp", args: [], env: { FIRECRAWL_API_KEY: "fc-none" } },
  { module: "mcp_server_git", package: "mcp-server-git", args: ["--repository", folder] },
  { module: "mcp_server_fetch", package: "mcp-server-fetch", args: [] },
  { module: "mcp_server_time", package: "mcp-server-time", args: ["--local-timezone", "UTC"] },
  {
    program: path.join(path.dirname(python), "mcp-grafana"),
    package: "mcp-grafana",
    args: ["-t", "stdio"],
    env: { GRAFANA_URL: "http://127.0.0.1:9", GRAFANA_SERVICE_ACCOUNT_TOKEN: "none" },
  },
];

function commandOf({ module, program, package: name, args }) {
  if (module !== undefined) return [python, ["-m", module, ...args]];
  if (program !== undefined) return [program, args];
  const { bin: programs } = JSON.parse(
    spawnSync(process.execPath, ["-p", `JSON.stringify(require("./node_modules/${name}/package.json"))`], {
      cwd: fileURLToPath(new URL(".", import.meta.url)),
      encoding: "utf8",
    }).stdout,
  );
  const own = typeof programs === "string" ? path.basename(name) : Object.keys(programs)[0];
  return [path.join(bin, own), args];
}

function versionIn(server) {
  if (server.module === undefined && server.program === undefined) return versionOf(server.package);
  const code = `import importlib.metadata; print(importlib.metadata.version("${server.package}"))`;
  return spawnSync(python, ["-c", code], { encoding: "utf8" }).stdout.trim();
}

/** The tools of one server; it is ended whatever it says. */
async function toolsOf(server) {
  const [command, args] = commandOf(server);
  const child = spawn(command, args, { env: { ...process.env, ...server.env }, stdio: ["pipe", "pipe", "ignore"] });
  const timer = setTimeout(() => child.kill("SIGKILL"), patienceMs);
  const send = (message) => child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  child.stdin.on("error", () => {});
  try {
    const clientInfo = { name: "corpus", version: "1" };
    send({ id: 0, method: "initialize", params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo } });
    const tools = [];
    for await (const line of createInterface(child.stdout)) {
      const { id, result, error } = JSON.parse(line);
      if (error !== undefined && id !== undefined) throw new Error(JSON.stringify(error));
      if (id === 0) send({ method: "notifications/initialized" });
      if (id === 0) send({ id: 1, method: "tools/list", params: {} });
      if (typeof id !== "number" || id === 0) continue;
      tools.push(...result.tools);
      if (result.nextCursor === undefined) return tools;
      send({ id: id + 1, method: "tools/list", params: { cursor: result.nextCursor } });
    }
    throw new Error("it ended before it had said what tools it has");
  } finally {
    clearTimeout(timer);
    child.kill("SIGKILL");
  }
}

for (const server of servers) {
  try {
    const tools = await toolsOf(server);
    const schemas = tools.flatMap(({ name, inputSchema, outputSchema }) => [
      { name, kind: "tool", schema: inputSchema },
      ...(outputSchema === undefined ? [] : [{ name: `${name}, its output`, kind: "output", schema: outputSchema }]),
    ]);
    const version = versionIn(server);
    const text = JSON.stringify(schemas).replaceAll(folder, "/folder");
    writeCorpus(server.package, version, JSON.parse(text));
  } catch (error) {
    console.log(`${server.package}: ${String(error)}`);
  }
}
