#!/usr/bin/env node
/** @module The program `icdpo`. Results go to stdout, everything else to stderr. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import process from "node:process";
import { Command } from "commander";
import { readSettings } from "../node/settings.ts";
import { harmless } from "../text/quoted.ts";
import { GatewayError, isCancellation } from "../types/error.ts";
import { bundleCommand } from "./bundle-command.ts";
import { demosCommand } from "./demos-command.ts";
import { experimentsCommand } from "./experiments-command.ts";
import { judgeCommand } from "./judge-command.ts";
import { keysCommand } from "./keys-command.ts";
import { benchCommand, evalCommand, tuneCommand } from "./laboratory-command.ts";
import { modelsCommand } from "./models-command.ts";
import { policiesCommand } from "./policies-command.ts";
import { scoreCommand } from "./score-command.ts";
import { serveCommand } from "./serve-command.ts";

const { version } = createRequire(import.meta.url)("../../package.json") as { version: string };
const environmentFile = ".env";
const interruptedExitCode = 130;

function report(line: string): void {
  process.stderr.write(`${harmless(line)}\n`);
}

async function main(): Promise<void> {
  if (existsSync(environmentFile)) process.loadEnvFile(environmentFile);
  const world = { settings: () => readSettings(process.env, process.cwd()), report, version };
  const program = new Command("icdpo")
    .description(
      "An OpenAI-compatible gateway that lets a local model choose its own best answer under a better model's example (ICDPO).",
    )
    .version(version)
    .showHelpAfterError();
  for (const command of [
    serveCommand,
    scoreCommand,
    modelsCommand,
    keysCommand,
    policiesCommand,
    demosCommand,
    experimentsCommand,
    judgeCommand,
    evalCommand,
    tuneCommand,
    benchCommand,
    bundleCommand,
  ])
    program.addCommand(command(world));
  await program.parseAsync();
}

// Whoever read what we say has gone: that is no reason to end.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});

main().catch((error: unknown) => {
  if (isCancellation(error)) {
    process.exitCode = interruptedExitCode;
    return;
  }
  report(
    error instanceof GatewayError
      ? error.message
      : error instanceof Error
        ? (error.stack ?? error.message)
        : String(error),
  );
  process.exitCode = 1;
});
