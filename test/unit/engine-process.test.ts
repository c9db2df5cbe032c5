/** The embedded engine's process: it ends when it is told to. The processes are real, their model is not. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LlamaEngine, type LlamaEngineOptions } from "../../src/node/llama/engine.ts";

const childModule = new URL("./engine-child.mjs", import.meta.url);

let folder: string;
let model: string;
let said: string[];
const opened: LlamaEngine[] = [];
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "icdpo-engine-"));
  model = path.join(folder, "model.json");
  said = [];
  await writeFile(model, "{}");
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((engine) => engine.close()));
  await rm(folder, { recursive: true });
});

async function start(options: Partial<LlamaEngineOptions> = {}, signal?: AbortSignal): Promise<LlamaEngine> {
  const size = { contextSize: 0, sequences: 0, threads: 0, gpu: false } as const;
  const log = (line: string) => said.push(line);
  const all = { childModule, model: "none", modelPath: model, ...size, hangMs: 30_000, log, ...options };
  const engine = await LlamaEngine.start(all, signal);
  opened.push(engine);
  return engine;
}

function pidOf(engine: LlamaEngine): number {
  const { pid } = engine.lifecycle;
  if (pid === undefined) throw new Error("The engine has no process.");
  return pid;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe("starting an engine", () => {
  it("says why it cannot be started", async () => {
    await writeFile(model, JSON.stringify({ error: "out of memory" }));
    await expect(start()).rejects.toMatchObject({ code: "model_unavailable", message: expect.stringContaining("out of memory") });
  });

  it("ends when that is called off while it loads", async () => {
    await writeFile(model, JSON.stringify({ loads: true }));
    const caller = new AbortController();
    const starting = start({}, caller.signal);
    caller.abort();
    await expect(starting).rejects.toMatchObject({ code: "cancelled" });
  });
});

describe("closing an engine", () => {
  it("lets its process end by itself", async () => {
    const engine = await start();
    const pid = pidOf(engine);
    await engine.close();
    expect(isAlive(pid)).toBe(false);
    expect(said.join("\n")).not.toContain("killing it");
  });

  it("kills a process that hangs", async () => {
    const engine = await start({ closeMs: 50 });
    const pid = pidOf(engine);
    process.kill(pid, "SIGSTOP");
    await engine.close();
    expect(isAlive(pid)).toBe(false);
    expect(said.join("\n")).toContain("did not end within 50 ms");
  });
});
