/** @module Runs the built program as a user would, on a free port. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { randomFrom } from "../../src/icdpo/seed.ts";

export const program = fileURLToPath(new URL("../../dist/commands/cli.js", import.meta.url));
export const childModule = new URL("../../dist/engine/llama-cpp/child.js", import.meta.url);

const short = (name: string): string => fileURLToPath(new URL(`short/${name}`, import.meta.url));
/** The same two routes, with prompts of a few tokens: for tests that are about something else than answers. */
export const shortPrompts = { ICDPO_POLICIES: short("policies"), ICDPO_DEMOS: short("demos") };

export interface Gateway {
  /** `http://127.0.0.1:port` */
  readonly url: string;
  readonly process: ChildProcess;
  /** Everything it has said on stderr. */
  readonly log: () => string;
  /** SIGTERM; resolves to the exit code. */
  stop(): Promise<number | null>;
}

const greeting = /Base URL for OpenAI clients: (\S+)\/v1/u;

/** Starts `icdpo serve`; `said` is everything on its stderr. */
export function spawnServe(environment: Record<string, string> = {}, workingDirectory?: string) {
  const child = spawn(process.execPath, [program, "serve"], {
    env: { ...process.env, PORT: "0", ICDPO_DATABASE: "off", ...environment },
    stdio: ["ignore", "inherit", "pipe"],
    ...(workingDirectory !== undefined && { cwd: workingDirectory }),
  });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  return { child, said: () => said };
}

/** Starts `icdpo serve` and waits until it listens. Throws with what it said where it ends before. */
export async function startGateway(
  environment: Record<string, string> = {},
  workingDirectory?: string,
): Promise<Gateway> {
  const { child, said } = spawnServe(environment, workingDirectory);
  const url = await new Promise<string>((resolve, reject) => {
    child.stderr.on("data", () => {
      const [, found] = greeting.exec(said()) ?? [];
      if (found !== undefined) resolve(found);
    });
    child.once("exit", (code) => reject(new Error(`The gateway ended with code ${code}:\n${said()}`)));
  });
  return {
    url,
    process: child,
    log: said,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill("SIGTERM");
        await once(child, "exit");
      }
      return child.exitCode;
    },
  };
}

/** Of the default model: an answer goes on to its `max_tokens`. */
export const withoutEnd = { logit_bias: { "2": -100 } };

/** POSTs JSON and reads JSON. */
export async function post(url: string, body: unknown, headers: Record<string, string> = {}) {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Record<string, unknown>,
  };
}

/** Polls until `check` holds. */
export async function eventually(check: () => Promise<boolean>, timeoutMs = 300_000): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!(await check())) {
    if (Date.now() > end) throw new Error("It did not come true in time");
    await pause(100);
  }
}

/** Whole numbers below a bound, the same in each run. */
export function seeded(seed: number): (below: number) => number {
  const random = randomFrom(seed);
  return (below) => Math.floor(random() * below);
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
