/**
 * The embedded engine's process: started again until it runs, ended when it is told to. The processes are real, their
 * model is not.
 */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LlamaEngine, type LlamaEngineOptions } from "../../../../src/engine/llama-cpp/index.ts";
import { onceMore } from "../../../../src/gateway/work.ts";
import { childModule, isAlive } from "./scripted-child.ts";

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
    await expect(start()).rejects.toMatchObject({
      code: "model_unavailable",
      message: expect.stringContaining("out of memory"),
    });
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
  const works = (engine: LlamaEngine) =>
    expect.poll(() => engine.tokenize(["a"]).catch(() => null), { timeout: 9_000 }).toEqual([[1]]);

  it("is started again", async () => {
    const engine = await start();
    const pid = pidOf(engine);
    await expect(engine.tokenize(["die"])).rejects.toMatchObject({ code: "engine_unavailable" });
    expect(await engine.tokenize(["a"])).toEqual([[1]]);
    expect(engine.lifecycle).toMatchObject({ status: "ready", restarts: 1 });
    expect(pidOf(engine)).not.toBe(pid);
  });

  it("fails no call done once more, however long it takes from the loss of its channel to its end", async () => {
    const engine = await start();
    const parting = engine.tokenize(["part"]).catch((error: unknown) => error);
    const tokenize = () => engine.tokenize(["a"]);
    const meanwhile: Promise<number[][]>[] = [];
    while (engine.lifecycle.restarts === 0) {
      meanwhile.push(onceMore(tokenize, () => false));
      await pause(20);
    }
    for (const tokens of await Promise.all(meanwhile)) expect(tokens).toEqual([[1]]);
    expect(await parting).toMatchObject({ code: "engine_unavailable" });
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
    ["an exception", "E2BIG", () => Object.assign(process.env, { LLAMA_TEST_TOO_BIG: "x".repeat(200_000) })],
  ])("is tried again where no process can be started, as %s tells, until that passes", async (_, code, prevent) => {
    const engine = await start();
    const { execPath } = process;
    try {
      prevent();
      process.kill(pidOf(engine), "SIGKILL");
      await refuses(engine, code);
    } finally {
      process.execPath = execPath;
      delete process.env["LLAMA_TEST_TOO_BIG"];
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

describe("a request that ends the engine's process", () => {
  const request = { maxTokens: 9, temperature: 1, topP: 1, topK: 0, stop: [], logprobs: false };
  const begun = async () =>
    (await readFile(`${model}.samples`, "utf8").catch(() => "")).split("\n").filter((line) => line !== "");

  /** As the gateway asks: once more where that is said to be of use. One signal for all that a request asks. */
  async function ask(engine: LlamaEngine, grammar: string, seed = 1): Promise<string> {
    const { signal } = new AbortController();
    const texts: string[] = [];
    await onceMore(
      async () => {
        const { tokens, end } = await engine.chatPrompt([], signal);
        for await (const event of engine.sample({ tokens, end }, { ...request, grammar, seeds: [seed] }, signal))
          if (event.type === "done") texts.push(event.sample.text);
      },
      () => false,
    );
    return texts.join();
  }

  const refused = {
    code: "engine_unavailable",
    message: expect.stringContaining("not tried again"),
    isFinal: true,
    retryAfter: 300,
  };

  it("is not given to the next one, whatever its seed, nor by whoever asks again", async () => {
    const engine = await start();
    for (const seed of [1, 2, 3]) await expect(ask(engine, "deadly", seed)).rejects.toMatchObject(refused);
    expect(await begun()).toEqual(["deadly"]);
    expect(engine.lifecycle.restarts).toBe(1);
    const good = ask(engine, "good");
    await expect.poll(begun).toEqual(["deadly", "good"]);
    await engine.tokenize(["release"]);
    expect(await good).toBe("Done.");
  });

  it("is not given to the next one where it hangs", async () => {
    const engine = await start({ hangMs: 1_000 });
    await expect(ask(engine, "endless")).rejects.toMatchObject(refused);
    expect(await begun()).toEqual(["endless"]);
    expect(await engine.tokenize(["a"])).toEqual([[1]]);
  });

  it("is told from those beside it, which are done once more", async () => {
    const engine = await start();
    const good = ["one", "two", "three"].map((grammar) => ask(engine, grammar));
    await expect.poll(async () => (await begun()).length).toBe(3);
    await expect(ask(engine, "deadly")).rejects.toMatchObject(refused);
    await expect.poll(async () => (await begun()).toSorted().join()).toBe("deadly,one,one,three,three,two,two");
    await expect.poll(async () => (await engine.state()).active).toBe(3);
    await engine.tokenize(["release"]);
    expect(await Promise.all(good)).toEqual(["Done.", "Done.", "Done."]);
    expect(engine.lifecycle.restarts).toBe(1);
  });

  it("is told from those that wait beside it, one after the other", async () => {
    const engine = await start();
    // None of them has begun to be answered when the process ends.
    const names = ["waits 1", "waits 2", "waits 3"];
    const good = names.map((name) => ask(engine, name));
    await expect.poll(async () => (await begun()).length).toBe(3);
    const evil = ask(engine, "deadly");
    const failed = expect(evil).rejects.toMatchObject(refused);
    await expect.poll(() => engine.lifecycle.restarts).toBeGreaterThan(0);
    const releasing = setInterval(() => void engine.tokenize(["release"]).catch(() => {}), 50);
    try {
      expect(await Promise.all(good)).toEqual(["Done.", "Done.", "Done."]);
      await failed;
    } finally {
      clearInterval(releasing);
    }
    expect((await begun()).filter((grammar) => grammar === "deadly").length).toBeLessThanOrEqual(2);
    expect((await begun()).length).toBeLessThanOrEqual(8);
  });

  it("is done once more where the process was killed from outside, and no oftener", async () => {
    const engine = await start();
    const asked = ask(engine, "good");
    const failed = expect(asked).rejects.toMatchObject(refused);
    for (const count of [1, 2]) {
      await expect.poll(async () => (await begun()).length).toBe(count);
      process.kill(pidOf(engine), "SIGKILL");
      if (count === 1) await expect.poll(() => engine.lifecycle.restarts).toBe(1);
    }
    await failed;
    expect(await begun()).toEqual(["good", "good"]);
  });
});

describe("the engine's process", () => {
  it("sees no secret of the gateway's environment", async () => {
    const secrets = {
      ICDPO_API_KEYS: "alice=secret",
      ICDPO_KEYS_FILE: "/secret",
      ICDPO_DATABASE_TOKEN: "secret",
      HF_TOKEN: "secret",
      OPENAI_API_KEY: "secret",
      AWS_SECRET_ACCESS_KEY: "secret",
      AZURE_CLIENT_SECRET: "secret",
      GOOGLE_APPLICATION_CREDENTIALS: "/secret",
      HTTPS_PROXY: "http://me:secret@proxy",
      PIP_INDEX_URL: "https://me:secret@index",
      LLAMA_API_KEY: "secret",
      GGML_TOKEN: "secret",
      UNKNOWN_TO_ALL: "secret",
    };
    const wanted = {
      CUDA_VISIBLE_DEVICES: "0",
      GGML_VK_VISIBLE_DEVICES: "1",
      LD_LIBRARY_PATH: "/usr/local/cuda/lib64",
      LC_ALL: "C.UTF-8",
    };
    const before = { ...process.env };
    try {
      Object.assign(process.env, secrets, wanted);
      await start();
    } finally {
      for (const name of Object.keys({ ...secrets, ...wanted })) delete process.env[name];
      Object.assign(process.env, before);
    }
    const seen = JSON.parse(await readFile(`${model}.environment`, "utf8")) as Record<string, string>;
    expect(seen).toMatchObject({ ...wanted, PATH: process.env["PATH"], UV_THREADPOOL_SIZE: "1" });
    for (const name of Object.keys(secrets)) expect(seen).not.toHaveProperty(name);
    expect(JSON.stringify(seen)).not.toContain("secret");
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
