/** Engines and their owner, the policies in force. The engines' processes are real, their models are not. */
import { existsSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Engine } from "../../../src/engine/engine.ts";
import { type EngineOpener, EnginePool } from "../../../src/engine/engine-pool.ts";
import { openEngines } from "../../../src/node/open-engines.ts";
import { openModelStore } from "../../../src/node/runtime.ts";
import { readSettings } from "../../../src/node/settings.ts";
import { PolicyBuilder } from "../../../src/policy/build.ts";
import { parseEngines } from "../../../src/policy/engines-file.ts";
import { PolicyFolder } from "../../../src/policy/policy-files.ts";
import { PolicyStore } from "../../../src/policy/policy-store.ts";
import { ScriptedEngine } from "../scripted-engine.ts";
import { childModule, isAlive } from "./llama-cpp/scripted-child.ts";

let folder: string;
let said: string[];
let engines: EnginePool;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "icdpo-owned-"));
  said = [];
  for (const name of ["policies", "demos"]) await mkdir(path.join(folder, name));
  for (const name of ["a", "b"]) await writeFile(path.join(folder, `${name}.gguf`), "GGUF{}");
  engines = open(`engines:
  default: { type: llama, model: ${folder}/a.gguf }
  other: { type: llama, model: ${folder}/b.gguf, adapters: { worn: ${folder}/a.gguf } }
  unreachable: { type: openai, urls: ["http://127.0.0.1:9"], model: m, retries: 0 }
  silent: { type: llama-server, urls: ["http://127.0.0.1:9"], retries: 0 }
`);
  await write({ r: "score: { type: none }\n" });
});
afterEach(async () => {
  await engines.close();
  await rm(folder, { recursive: true });
});

/** With the engines of an engines file. */
function open(text: string): EnginePool {
  const settings = readSettings({ ICDPO_CACHE: folder }, folder);
  const definitions = parseEngines("engines.yaml", text, {});
  const report = (line: string): void => void said.push(line);
  return openEngines({
    settings,
    definitions,
    store: openModelStore(settings, report),
    report,
    lingerMs: 20,
    childModule,
  });
}

/** Policies by route; those written before are gone. */
async function write(policies: Record<string, string>): Promise<void> {
  const at = (file: string): string => path.join(folder, "policies", file);
  await rm(path.join(folder, "policies"), { recursive: true });
  await mkdir(path.join(folder, "policies"));
  for (const [name, text] of Object.entries(policies)) await writeFile(at(`${name}.yaml`), text);
  const routes = Object.keys(policies).map((name) => `${name}: { policy: ${name} }`);
  await writeFile(at("routes.yaml"), `routes: { ${routes.join(", ")} }\n`);
}

function openStore(): Promise<PolicyStore> {
  const files = new PolicyFolder({
    policies: path.join(folder, "policies"),
    demonstrations: path.join(folder, "demos"),
  });
  const builder = new PolicyBuilder({ engines, embedder: () => Promise.reject(new Error("not needed")) });
  const retain: EnginePool["retain"] = (models) => engines.retain(models);
  return PolicyStore.open({
    read: () => files.read(),
    build: (read) => builder.build(read),
    retain,
    unixTime: () => 1,
  });
}

const plain = "score: { type: none }\n";
const onOther = "engine: other\nscore: { type: none }\n";

/** Of all processes that have loaded it, the first one first. */
function pidsOf(model: string): number[] {
  const file = path.join(folder, `${model}.gguf.pids`);
  return existsSync(file) ? readFileSync(file, "utf8").trim().split("\n").map(Number) : [];
}

function samplerOf(store: PolicyStore, name: string): Engine {
  const engine = store.current.policies.get(name)?.sampler.engine;
  if (engine === undefined) throw new Error(`There is no policy ${name}.`);
  return engine;
}

/** A sample that goes on until it is released; resolves to the events once it has begun. */
async function begin(engine: Engine) {
  const request = { temperature: 0, topP: 1, topK: 0, maxTokens: 8, stop: [], seeds: [1], logprobs: false };
  const events = engine.sample(await engine.chatPrompt([]), request)[Symbol.asyncIterator]();
  expect(await events.next()).toMatchObject({ value: { type: "prompt" } });
  return events;
}

const ended = (pid: number | undefined) => expect.poll(() => isAlive(pid ?? 0), { timeout: 9_000 }).toBe(false);
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe("an engine that no policy uses any more", () => {
  it("is closed once its last request has ended, and begun anew when it is needed again", async () => {
    await write({ r: plain, s: onOther });
    const store = await openStore();
    const held = samplerOf(store, "s");
    expect(await engines.state()).toMatchObject({
      status: "ready",
      engines: { default: { status: "ready" }, other: { status: "ready" } },
    });
    const request = await begin(held);
    await write({ r: plain });
    expect(await store.reload()).toBeNull();
    expect(await engines.state()).toMatchObject({ status: "ready" });
    expect(Object.keys((await engines.state()).engines)).toEqual(["default"]);
    const [pid] = pidsOf("b");
    await pause(100); // five times as long as an idle engine stays
    expect(isAlive(pid ?? 0)).toBe(true);
    await held.tokenize(["release"]);
    expect(await request.next()).toMatchObject({ value: { type: "done", sample: { text: "Done." } } });
    expect(await request.next()).toMatchObject({ done: true });
    await ended(pid);
    await write({ r: plain, s: onOther });
    expect(await store.reload()).toBeNull();
    expect(samplerOf(store, "s")).toBe(held);
    expect(pidsOf("b")).toHaveLength(2);
    await pause(100);
    expect(isAlive(pidsOf("b")[1] ?? 0)).toBe(true);
    expect(await engines.state()).toMatchObject({ status: "ready", engines: { other: { status: "ready" } } });
    expect(pidsOf("a")).toHaveLength(1);
  });

  it("is begun once more by a request that still holds it, and closed again", async () => {
    await write({ r: plain, s: onOther });
    const store = await openStore();
    const held = samplerOf(store, "s");
    await write({ r: plain });
    await store.reload();
    await ended(pidsOf("b")[0]);
    expect(await held.tokenize(["late"])).toEqual([[1]]);
    await ended(pidsOf("b")[1]);
    expect(pidsOf("b")).toHaveLength(2);
    expect(await engines.state()).toMatchObject({ status: "ready" });
  });

  it("does not hold readiness back where it is a server that is away", async () => {
    await write({ r: plain, s: "engine: unreachable\nscore: { type: none }\n" });
    const store = await openStore();
    expect(await engines.state()).toMatchObject({ status: "unreachable" });
    await write({ r: plain });
    await store.reload();
    expect(await engines.state()).toMatchObject({ status: "ready" });
  });

  it("leaves its restarts in the sum, which therefore never falls", async () => {
    await write({ r: plain, s: onOther });
    const store = await openStore();
    process.kill(pidsOf("b")[0] ?? 0, "SIGKILL");
    await expect.poll(() => engines.state()).toMatchObject({ status: "ready", restarts: 1 });
    await write({ r: plain });
    await store.reload();
    await ended(pidsOf("b")[1]);
    expect(await engines.state()).toMatchObject({ status: "ready", restarts: 1 });
  });

  it("is closed with its adapter, while the engine without it stays", async () => {
    await write({ r: onOther, s: "engine: other\nadapter: worn\nscore: { type: none }\n" });
    const store = await openStore();
    expect(Object.keys((await engines.state()).engines ?? {})).toEqual(["other", "other+worn"]);
    const [without, wearing] = pidsOf("b");
    await write({ r: onOther });
    await store.reload();
    await ended(wearing);
    expect(isAlive(without ?? 0)).toBe(true);
  });
});

describe("engines that were begun for a set that is then refused", () => {
  it("are closed, and never count", async () => {
    const store = await openStore();
    await write({ r: plain, s: onOther, t: "engine: silent\nscore: { type: none }\n" });
    expect(await store.reload()).toContain('The engine "silent" cannot be reached');
    const [pid] = pidsOf("b");
    expect(pid).toBeGreaterThan(0);
    expect(await engines.state()).toMatchObject({ status: "ready" });
    expect(Object.keys((await engines.state()).engines)).toEqual(["default"]);
    await ended(pid);
    expect(said).toContain("other: no policy needs it any more; closing it");
    expect(await samplerOf(store, "r").tokenize(["a"])).toEqual([[1]]);
  });

  it("are kept where they are in use", async () => {
    const store = await openStore();
    await write({ r: "candidates: many\n" });
    expect(await store.reload()).toContain("candidates");
    await pause(100);
    expect(isAlive(pidsOf("a")[0] ?? 0)).toBe(true);
    expect(pidsOf("a")).toHaveLength(1);
  });
});

it("forgets an engine of which nothing runs here, while who holds it goes on with it", async () => {
  const opened: string[] = [];
  const opener: EngineOpener = {
    open({ engine }) {
      opened.push(engine);
      return Object.assign(new ScriptedEngine(), { state: async () => ({ status: "ready" }), close: vi.fn() });
    },
    declared: () => ({ chat: true, text: true, score: true, grammar: true, tools: null }),
    close: async () => {},
  };
  const pool = new EnginePool(opener, { report: () => {}, lingerMs: null });
  const held = await pool.open({ engine: "a" });
  pool.retain([{ engine: "b" }]);
  await pool.open({ engine: "b" });
  expect(Object.keys((await pool.state()).engines)).toEqual(["b"]);
  expect(await held.tokenize(["x"])).toHaveLength(1);
  expect(opened).toEqual(["a", "b"]);
  expect(await pool.open({ engine: "a" })).not.toBe(held);
  expect(opened).toEqual(["a", "b", "a"]);
});

it("says that an engine which says nothing of itself is not ready", async () => {
  const opener: EngineOpener = {
    open: () => Object.assign(new ScriptedEngine(), { state: () => new Promise<never>(() => {}), close: vi.fn() }),
    declared: () => ({ chat: true, text: true, score: true, grammar: true, tools: null }),
    close: async () => {},
  };
  const pool = new EnginePool(opener, { report: () => {}, lingerMs: null, stateMs: 10 });
  await pool.open({ engine: "a" });
  expect(await pool.state()).toMatchObject({ status: "unresponsive", engines: { a: { status: "unresponsive" } } });
});

it("ends a build that waits for a server when the gateway ends", async () => {
  const asked = vi.fn();
  const server = createServer(asked);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const { port } = server.address() as AddressInfo;
    const text = `engines: { default: { type: llama-server, urls: ["http://127.0.0.1:${port}"] } }`;
    engines = open(text);
    const opening = openStore();
    opening.catch(() => {});
    await expect.poll(() => asked.mock.calls.length).toBeGreaterThan(0);
    await engines.close();
    await expect(opening).rejects.toMatchObject({ code: "engine_unavailable" });
  } finally {
    server.close();
    server.closeAllConnections();
  }
});

it("refuses calls after the gateway's end, by those who have left as well", async () => {
  const held = samplerOf(await openStore(), "r");
  await engines.close();
  await expect(held.tokenize(["a"])).rejects.toMatchObject({ code: "engine_unavailable" });
  await expect(held.tokenize(["a"], AbortSignal.abort())).rejects.toMatchObject({ code: "cancelled" });
});

it("ends every engine when the gateway ends, one that is just being loaded as well", async () => {
  await openStore();
  await writeFile(path.join(folder, "b.gguf"), `GGUF${JSON.stringify({ loads: true })}`);
  const opening = engines.open({ engine: "other" });
  opening.catch(() => {});
  await expect.poll(() => pidsOf("b")).toHaveLength(1);
  await engines.close();
  await expect(opening).rejects.toMatchObject({ code: "cancelled" });
  for (const pid of [...pidsOf("a"), ...pidsOf("b")]) expect(isAlive(pid)).toBe(false);
  await expect(engines.open({ engine: "default" })).rejects.toMatchObject({ code: "engine_unavailable" });
});
