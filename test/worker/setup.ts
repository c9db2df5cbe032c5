/** @module Before the worker's tests: it is built as it would be deployed, wrangler.toml and all. */
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import path from "node:path";
import { program } from "../integration/gateway.ts";
import { built } from "./worker.ts";

export function setup(): void {
  const run = (...command: string[]) =>
    execFileSync(process.execPath, command, {
      stdio: ["ignore", "ignore", "inherit"],
      env: {
        ...process.env,
        WRANGLER_SEND_METRICS: "false",
        WRANGLER_LOG_PATH: path.dirname(built),
        ICDPO_ENGINES: "",
      },
    });
  run(program, "bundle", "--out", "dist/worker/bundle.json");
  run(createRequire(import.meta.url).resolve("wrangler"), "deploy", "--dry-run", "--outdir", path.dirname(built));
}
