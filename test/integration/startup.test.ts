import { once } from "node:events";
import { cpSync, mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { defaultModel, pinnedModels } from "../../src/models/catalog.ts";
import { readSettings } from "../../src/node/settings.ts";
import { eventually, type Gateway, post, spawnServe, startGateway } from "./gateway.ts";

const { cacheDirectory } = readSettings(process.env, process.cwd());
const hello = { model: "icdpo", messages: [{ role: "user", content: "Say hello." }], max_tokens: 8 };
/** Nothing listens there, and no package index can be found. */
const cutOff = {
  HF_ENDPOINT: "http://127.0.0.1:9",
  PIP_INDEX_URL: "http://127.0.0.1:9",
  PIP_NO_INDEX: "1",
  PIP_FIND_LINKS: "",
};

let folder: string;
let gateway: Gateway | undefined;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "icdpo-cache-"));
});
afterEach(async () => {
  await gateway?.stop();
  gateway = undefined;
  rmSync(folder, { recursive: true });
});

async function answers(running: Gateway): Promise<boolean> {
  return (await post(`${running.url}/v1/chat/completions`, hello)).status === 200;
}

describe("starting", () => {
  it("needs no network once the models are in the cache", async () => {
    // Here, as anywhere but in these tests, the engine finds out how many threads are fastest.
    gateway = await startGateway({ ...cutOff, ICDPO_THREADS: "" });
    expect(await answers(gateway)).toBe(true);
  });

  it("says what was tried, and how to give a file by hand, where nothing can be reached", async () => {
    const failure = await startGateway({ ...cutOff, ICDPO_CACHE: folder }).then(
      () => "it started",
      (error: Error) => error.message,
    );
    expect(failure).toContain("http://127.0.0.1:9");
    expect(failure).toContain("pip");
    expect(failure).toContain("ICDPO_MODEL");
  });

  it("notices a truncated model file, says so, and fetches it anew", async () => {
    for (const { name } of pinnedModels)
      cpSync(path.join(cacheDirectory, name), path.join(folder, name), { recursive: true });
    const model = path.join(folder, defaultModel.name);
    const { size } = statSync(model);
    truncateSync(model, 1_000_000);
    gateway = await startGateway({ ICDPO_CACHE: folder });
    expect(gateway.log()).toMatch(/SmolLM2-135M-Instruct\.Q4_1\.gguf.*(?:1,?000,?000|truncated|damaged)/u);
    expect(statSync(model).size).toBe(size);
    expect(await answers(gateway)).toBe(true);
  });

  it("refuses wrong settings and wrong files by name", async () => {
    const failure = (environment: Record<string, string>) =>
      startGateway(environment).then(
        () => "it started",
        (error: Error) => error.message,
      );
    expect(await failure({ PORT: "eighty" })).toContain("PORT");
    writeFileSync(path.join(folder, "notes.gguf"), "not a model");
    expect(await failure({ ICDPO_MODEL: path.join(folder, "notes.gguf") })).toContain("GGUF");
    writeFileSync(path.join(folder, "routes.yaml"), "routes:\n  icdpo: { policy: missing }\n");
    expect(await failure({ ICDPO_POLICIES: folder })).toContain("routes.icdpo.policy");
  });

  it("refuses an address that strangers reach, without keys, before it loads anything", async () => {
    const failure = await startGateway({ ...cutOff, ICDPO_CACHE: folder, HOST: "0.0.0.0" }).then(
      () => "it started",
      (error: Error) => error.message,
    );
    expect(failure).toContain("ICDPO_KEYS_FILE");
    expect(failure).not.toContain("127.0.0.1:9");
  });

  it("waits for a model server that is not there yet, and ends quietly when it is interrupted", async () => {
    const file = path.join(folder, "engines.yaml");
    writeFileSync(file, "engines:\n  default: { type: vllm, urls: [http://127.0.0.1:9] }\n");
    const { child, said } = spawnServe({ ...cutOff, ICDPO_ENGINES: file });
    await eventually(async () => said().includes("waiting: "));
    const before = said();
    const ended = once(child, "close"); // all that it says has been read then
    child.kill("SIGINT");
    expect((await ended)[0]).toBe(130);
    expect(said()).toBe(before);
  });
});

describe("running", () => {
  it("outlives its engine: the child is killed, the next request is answered", async () => {
    gateway = await startGateway();
    const { url } = gateway;
    const ready = async () =>
      (await (await fetch(`${url}/ready`)).json()) as { status: string; engine: { pid: number; restarts: number } };
    const { engine } = await ready();
    process.kill(engine.pid, "SIGKILL");
    expect(await answers(gateway)).toBe(true);
    expect((await ready()).engine.restarts).toBe(1);
    expect((await ready()).engine.pid).not.toBe(engine.pid);
  });

  it("begins again what was under way when the engine is killed, and answers 503 when it is killed once more", async () => {
    gateway = await startGateway();
    const { url } = gateway;
    const messages = [{ role: "user", content: "Tell me a very long story about a fox, a river and a lighthouse." }];
    const pending = post(`${url}/v1/chat/completions`, { model: "plain", messages, n: 4, max_tokens: 2000 });
    const engine = async () =>
      ((await (await fetch(`${url}/ready`)).json()) as { engine: { pid: number; active: number } }).engine;
    const first = (await engine()).pid;
    await eventually(async () => (await engine()).active === 1);
    process.kill(first, "SIGKILL");
    await eventually(async () => (await engine()).pid !== first && (await engine()).active === 1);
    process.kill((await engine()).pid, "SIGKILL");
    const { status, body } = await pending;
    expect(status).toBe(503);
    expect(body).toMatchObject({ error: { code: "engine_unavailable", type: "server_error" } });
  });

  it("finishes what is under way and exits with 0 on SIGTERM, its engine with it", async () => {
    gateway = await startGateway();
    const { engine } = (await (await fetch(`${gateway.url}/ready`)).json()) as { engine: { pid: number } };
    const { url } = gateway;
    let isOver = false;
    const pending = answers(gateway).finally(() => {
      isOver = true;
    });
    await eventually(
      async () => isOver || ((await (await fetch(`${url}/health`)).json()) as { requests: number }).requests === 1,
    );
    expect(await gateway.stop()).toBe(0);
    expect(await pending).toBe(true);
    await eventually(async () => !isAlive(engine.pid));
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
