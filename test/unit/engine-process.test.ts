/** The embedded engine's process: started again until it runs, ended when it is told to. The processes are real, their model is not. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LlamaEngine, type LlamaEngineOptions } from "../../src/node/llama/engine.ts";
import { childModule, isAlive } from "./engine-child.ts";

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

describe("starting an engine", () => {
  it("says why it cannot be started", async () => {
    await writeFile(model, JSON.stringify({ error: "out of memory" }));
    await expect(start()).rejects.toMatchObject({ code: "model_unavailable", message: expect.stringContaining("out of memory") });
  });

  it("says so where its process dies", async () => {
    await writeFile(model, JSON.stringify({ ends: true }));
    await expect(start()).rejects.toMatchObject({
      code: "model_unavailable",
      message: expect.stringContaining("the process ended (code 7)"),
    });
  });

  it("ends when that is called off while it loads", async () => {
    await writeFile(model, JSON.stringify({ loads: true }));
    const caller = new AbortController();
    const starting = start({}, caller.signal);
    caller.abort();
    await expect(starting).rejects.toMatchObject({ code: "cancelled" });
  });
});

describe("an engine's process", () => {
  it.runIf(process.platform === "linux")("has a session of its own, between which Linux shares the cores", async () => {
    const pid = pidOf(await start());
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    const [, , , session] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    expect(Number(session)).toBe(pid);
  });
});

describe("an engine whose process dies", () => {
  const works = (engine: LlamaEngine) => expect.poll(() => engine.tokenize(["a"]).catch(() => null), { timeout: 9_000 }).toEqual([[1]]);

  it("is started again", async () => {
    const engine = await start();
    const pid = pidOf(engine);
    await expect(engine.tokenize(["die"])).rejects.toMatchObject({ code: "engine_unavailable" });
    expect(await engine.tokenize(["a"])).toEqual([[1]]);
    expect(engine.lifecycle).toMatchObject({ status: "ready", restarts: 1 });
    expect(pidOf(engine)).not.toBe(pid);
  });

  /** Calls fail with what a client may try again, and /ready tells why. */
  async function refuses(engine: LlamaEngine, reason: string): Promise<void> {
    await expect.poll(() => engine.lifecycle.reason).toContain(reason);
    await expect
      .poll(() => engine.tokenize(["a"]).catch((error: unknown) => error))
      .toMatchObject({ code: "engine_unavailable", retryAfter: expect.any(Number) });
    expect(await engine.state()).toMatchObject({ status: "restarting", reason: expect.stringContaining(reason) });
  }

  it.each([
    ["loading fails", { error: "out of memory" }, "out of memory"],
    ["it dies while it loads", { ends: true }, "the process ended (code 7)"],
  ])("is tried again where %s, until that passes", async (_, trouble, reason) => {
    const engine = await start();
    await writeFile(model, JSON.stringify(trouble));
    process.kill(pidOf(engine), "SIGKILL");
    await refuses(engine, reason);
    await writeFile(model, "{}");
    await works(engine);
    expect(await engine.state()).toMatchObject({ status: "ready" });
    expect(engine.lifecycle.reason).toBeUndefined();
  });

  /** Node tells of some errors by an event, and throws the others. */
  it.each([
    ["an event", "ENOENT", () => Object.assign(process, { execPath: path.join(folder, "no-such-program") })],
    ["an exception", "E2BIG", () => Object.assign(process.env, { ICDPO_TEST_TOO_BIG: "x".repeat(200_000) })],
  ])("is tried again where no process can be started, as %s tells, until that passes", async (_, code, prevent) => {
    const engine = await start();
    const { execPath } = process;
    try {
      prevent();
      process.kill(pidOf(engine), "SIGKILL");
      await refuses(engine, code);
    } finally {
      process.execPath = execPath;
      delete process.env["ICDPO_TEST_TOO_BIG"];
    }
    await works(engine);
  });

  it("is not tried again once it is closed", async () => {
    const engine = await start();
    await writeFile(model, JSON.stringify({ error: "out of memory" }));
    process.kill(pidOf(engine), "SIGKILL");
    await refuses(engine, "out of memory");
    const waiting = engine.tokenize(["a"]);
    await engine.close();
    await expect(waiting).rejects.toMatchObject({ code: "engine_unavailable" });
    await expect(engine.tokenize(["a"])).rejects.toThrow("The engine is shut down.");
    expect(engine.lifecycle.status).toBe("closed");
  });
});

describe("an engine that hangs", () => {
  it("is ended and started again", async () => {
    const engine = await start({ hangMs: 1_000 });
    const pid = pidOf(engine);
    process.kill(pid, "SIGSTOP");
    await expect.poll(() => engine.lifecycle.restarts, { timeout: 9_000 }).toBe(1);
    expect(await engine.tokenize(["a"])).toEqual([[1]]);
    expect(isAlive(pid)).toBe(false);
    expect(said.join("\n")).toContain("has not got on for 1000 ms");
  });

  it("is not taken for one where it was the gateway that stood still", async () => {
    const engine = await start({ hangMs: 1_500 });
    const pid = pidOf(engine);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_500);
    await new Promise((resolve) => setTimeout(resolve, 100)); // the beat that is due comes first
    expect(await engine.tokenize(["a"])).toEqual([[1]]);
    expect(pidOf(engine)).toBe(pid);
    expect(engine.lifecycle.restarts).toBe(0);
  });
});

describe("closing an engine", () => {
  it("fails what waits for its process to be started again", async () => {
    const engine = await start();
    await writeFile(model, JSON.stringify({ loads: true }));
    process.kill(pidOf(engine), "SIGKILL");
    await expect.poll(() => engine.lifecycle.restarts).toBe(1);
    const waiting = engine.tokenize(["a"]);
    await engine.close();
    await expect(waiting).rejects.toMatchObject({ code: "engine_unavailable" });
  });

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
