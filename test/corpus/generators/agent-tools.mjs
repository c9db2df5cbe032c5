/**
 * @module The tools that coding agents send of their own: each is started once against a server that notes its first
 * request with tools, and answers nothing.
 */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { versionOf, writeCorpus } from "./corpus-file.mjs";

const home = mkdtempSync(path.join(tmpdir(), "corpus-"));
const bin = fileURLToPath(new URL("node_modules/.bin/", import.meta.url));
const patienceMs = 60_000;

/** Apache-2.0. Claude Code's licence does not let its schemas be copied. */
const agents = [
  {
    package: "@openai/codex",
    command: "codex",
    prepare(url) {
      const provider = `[model_providers.noting]\nname = "noting"\nbase_url = "${url}/v1"\nwire_api = "responses"\n`;
      mkdirSync(path.join(home, ".codex"), { recursive: true });
      writeFileSync(path.join(home, ".codex/config.toml"), `model = "gpt-5"\nmodel_provider = "noting"\n${provider}`);
      return { args: ["exec", "--skip-git-repo-check", "Say hello."], env: { CODEX_HOME: path.join(home, ".codex") } };
    },
  },
  {
    package: "@qwen-code/qwen-code",
    command: "qwen",
    prepare: (url) => ({
      args: ["--auth-type", "openai", "-p", "Say hello."],
      env: { OPENAI_API_KEY: "none", OPENAI_BASE_URL: `${url}/v1`, OPENAI_MODEL: "noted" },
    }),
  },
];

/** The tools of the first request that has any. */
async function toolsOf({ command, prepare }) {
  let noted;
  const first = new Promise((resolve) => {
    noted = resolve;
  });
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (piece) => {
      body += piece;
    });
    request.on("end", () => {
      try {
        const { tools } = JSON.parse(body);
        if (tools?.length > 0) noted(tools);
      } catch {
        // No JSON: not what is looked for.
      }
      response.writeHead(400, { "content-type": "application/json" }).end('{"error":{"message":"only noting"}}');
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { args, env } = prepare(`http://127.0.0.1:${server.address().port}`);
  const child = spawn(path.join(bin, command), args, {
    cwd: home,
    env: { PATH: process.env.PATH, HOME: home, ...env },
    stdio: ["ignore", "ignore", "ignore"],
    detached: true,
  });
  const timer = setTimeout(() => noted([]), patienceMs);
  child.on("error", () => noted([]));
  try {
    return await first;
  } finally {
    clearTimeout(timer);
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {
      // It has ended by itself.
    }
    server.closeAllConnections();
    server.close();
  }
}

function schemasOf(tool, prefix = "") {
  if (tool.type === "namespace") return tool.tools.flatMap((inner) => schemasOf(inner, `${tool.name}.`));
  const { name, parameters, strict } = tool.function ?? tool;
  return parameters === undefined
    ? []
    : [{ name: prefix + name, kind: "tool", strict: strict === true, schema: parameters }];
}

for (const agent of agents) {
  const tools = await toolsOf(agent);
  const schemas = tools.flatMap((tool) => schemasOf(tool));
  if (schemas.length === 0) console.log(`${agent.package}: sent no tools`);
  else writeCorpus(agent.command === "codex" ? "codex" : "qwen-code", versionOf(agent.package), schemas);
}
