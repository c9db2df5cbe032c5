/**
 * @module Starts the built gateway on a free port, and Python with what a check needs, for checks that are not part of
 * `npm test`.
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const program = fileURLToPath(new URL("../../dist/commands/cli.js", import.meta.url));

/** Resolves to `{ url, stop }` when it listens. */
export function startGateway(environment) {
  const records = path.join(temporaryFolder("icdpo-records"), "records.db");
  const child = spawn(process.execPath, [program, "serve"], {
    env: { ...process.env, PORT: "0", ICDPO_DATABASE: records, ...environment },
    stdio: ["ignore", "inherit", "pipe"],
  });
  let said = "";
  return new Promise((resolve, reject) => {
    child.stderr.setEncoding("utf8").on("data", (text) => {
      said = (said + text).slice(-10_000);
      const [, url] = /Base URL for OpenAI clients: (\S+)\/v1/u.exec(said) ?? [];
      if (url !== undefined) resolve({ url, stop: () => child.kill("SIGTERM") });
    });
    child.once("exit", (code) => reject(new Error(`The gateway ended with code ${code}:\n${said}`)));
  });
}

/** A folder that is gone when the process ends. */
export function temporaryFolder(name) {
  const folder = mkdtempSync(path.join(tmpdir(), `${name}-`));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Makes a virtual environment with these packages; returns the path of its programs. */
export function python(folder, packages) {
  const venv = path.join(folder, "venv");
  run("python3", ["-m", "venv", venv]);
  run(path.join(venv, "bin", "pip"), ["install", "--quiet", "--disable-pip-version-check", ...packages]);
  return path.join(venv, "bin");
}

function run(command, args) {
  const { status, error } = spawnSync(command, args, { stdio: ["ignore", "ignore", "inherit"] });
  if (error !== undefined || status !== 0)
    throw error ?? new Error(`${command} ${args.join(" ")} ended with code ${status}`);
}
