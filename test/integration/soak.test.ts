/**
 * A long run of everything at once: mixed load, clients that leave, policies that come and go with their engine,
 * engines that are killed and one that hangs, a full disk, SIGTERM in the middle. Nothing may be lost or counted wrong.
 * `npm run check -- soak` takes half an hour; here it is a short one.
 */
import { execFileSync } from "node:child_process";
import { appendFileSync, closeSync, openSync, unlinkSync, writeSync } from "node:fs";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { endOfStream } from "../abuse/answers.ts";
import { contradictedRecords, contradictions, countBy, type Entry, logBooks, metricBooks, readLog } from "./books.ts";
import { eventually, type Gateway, pause, seeded, startGateway } from "./gateway.ts";

const minutes = Number(process.env["ICDPO_TEST_SOAK_MINUTES"] ?? 0.5);
const isLong = minutes >= 10;
const durationMs = minutes * 60_000;
const kills = isLong ? 20 : 2;
const edits = isLong ? 40 : 4;
const fullDiskMs = isLong ? 60_000 : 3_000;
/** The database's write-ahead log alone takes 4 MB. */
const diskBytes = 64 * 2 ** 20;
const workers = 4;
const watchKey = "a-key-of-who-watches";
const keys = { one: "a-key-for-the-soak-1", two: "a-key-for-the-soak-2" };

const root = fileURLToPath(new URL("../../", import.meta.url));
let folder: string;
let disk: string;
let isMounted = false;
let gateway: Gateway;

const file = (name: string): string => path.join(folder, name);
const sampling = "sampling: { max_tokens: 12 }\n";
const scored = `demonstrations: everyday\nretriever: { type: two-stage, window: 30, shortlist: 5 }\nshots: 1\ncandidates: 2\nscore: { type: contrast, negative: rejected }\n${sampling}`;
const plain = `candidates: 1\nscore: { type: none }\n${sampling}`;
const fixedRoutes = [
  "  icdpo: { policy: scored, counterfactual: 0.2, allow_overrides: true }",
  "  plain: { policy: plain }",
  "  ab: { experiment: { arms: { treatment: { policy: scored }, control: { policy: plain } } } }",
];

/** The route `other` has an engine of its own. */
async function writeRoutes(withOther: boolean): Promise<void> {
  const routes = [...fixedRoutes, ...(withOther ? ["  other: { policy: other }"] : [])];
  await writeFile(file("policies/routes.yaml"), `routes:\n${routes.join("\n")}\n`);
}

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "icdpo-soak-"));
  disk = file("disk");
  await mkdir(disk);
  await mkdir(file("policies"));
  await cp(path.join(root, "demos"), file("demos"), { recursive: true });
  await writeFile(file("policies/scored.yaml"), scored);
  await writeFile(file("policies/plain.yaml"), plain);
  await writeFile(file("policies/other.yaml"), `engine: second\n${plain}`);
  await writeRoutes(false);
  const engines = [
    "default: { type: llama, context_size: 1024, sequences: 8 }",
    "second: { type: llama, context_size: 512, sequences: 2 }",
  ];
  await writeFile(file("engines.yaml"), `engines:\n  ${engines.join("\n  ")}\n`);
  isMounted = mounted(disk);
  gateway = await startGateway(
    {
      ICDPO_DATABASE: path.join(disk, "records.db"),
      ICDPO_LOG_FILE: file("log.jsonl"),
      ICDPO_API_KEYS: Object.entries(keys)
        .map(([name, key]) => `${name}=${key}`)
        .join(","),
      ICDPO_ADMIN_KEYS: `watch=${watchKey}`,
      ICDPO_TOKENS_PER_MINUTE: "100000000",
      ICDPO_HANG_MS: "8000",
      ICDPO_RELOAD_MS: "200",
      ICDPO_MAX_REQUESTS: "32",
    },
    folder,
  );
}, 120_000);
afterAll(async () => {
  await gateway.stop();
  if (isMounted) execFileSync("umount", ["--lazy", disk]);
  await rm(folder, { recursive: true, force: true });
});

/** A file system of its own, which can be filled; needs root on Linux. */
function mounted(folder: string): boolean {
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${diskBytes}`, "tmpfs", folder], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

const watch = { headers: { authorization: `Bearer ${watchKey}` } };
const ready = async () =>
  (await fetch(`${gateway.url}/ready`, watch)).json() as Promise<{
    status: string;
    requests: number;
    policies: { reloads: number };
  }>;
const metrics = async () => metricBooks(await (await fetch(`${gateway.url}/metrics`, watch)).text());

/** Engines' processes, oldest first. */
function engines(): number[] {
  const list = execFileSync("ps", ["-o", "pid=,args=", "--ppid", String(gateway.process.pid)], { encoding: "utf8" });
  return [...list.matchAll(/^\s*(\d+) .*child\.js/gmu)].map(([, pid]) => Number(pid));
}

const contents = [
  "Name a fruit.",
  "How do I keep basil alive?",
  "Why is the sky blue?",
  "Say hello.",
  "What is bread made of?",
];
const schema = {
  type: "object",
  properties: { fruit: { enum: ["apple", "pear"] } },
  required: ["fruit"],
  additionalProperties: false,
};

/** One of the kinds of requests there are, wrong ones included. */
function mixed(number: number): { readonly path: string; readonly body: Record<string, unknown> } {
  const content = contents[number % contents.length];
  const messages = [{ role: "user", content }];
  const chat = "/v1/chat/completions";
  const kinds = [
    { path: chat, body: { model: "plain", messages } },
    { path: chat, body: { model: "plain", messages, stream: true, n: 2 } },
    { path: chat, body: { model: "icdpo", messages } },
    { path: chat, body: { model: "icdpo", messages, stream: true } },
    { path: chat, body: { model: "ab", messages, user: `user-${number % 50}` } },
    { path: chat, body: { model: "ab", messages, user: `user-${number % 50}`, stream: true } },
    { path: chat, body: { model: "other", messages } },
    { path: chat, body: { model: "other", messages, stream: true } },
    { path: chat, body: { model: "icdpo", messages, icdpo: { overrides: { candidates: 3 } } } },
    {
      path: chat,
      body: {
        model: "plain",
        messages,
        response_format: { type: "json_schema", json_schema: { name: "fruit", schema } },
      },
    },
    { path: "/v1/responses", body: { model: "icdpo", input: content } },
    { path: "/v1/responses", body: { model: "plain", input: content, stream: true } },
    { path: "/v1/messages", body: { model: "icdpo", messages, max_tokens: 24, stream: true } },
    {
      path: "/v1/completions",
      body: { model: "plain", prompt: [content, "Bread is"], max_tokens: 8, echo: true, logprobs: 1 },
    },
    { path: "/v1/completions", body: { model: "plain", prompt: content, max_tokens: 8, stream: true } },
    { path: "/v1/score", body: { model: "icdpo", messages, completions: ["An apple.", "Ask somebody else."] } },
    { path: "/v1/embeddings", body: { model: "icdpo", input: [content, `${number}`] } },
    { path: chat, body: { model: "nobody", messages } },
    { path: chat, body: { model: "plain", messages, temperature: 9 } },
  ];
  return kinds[number % kinds.length] as (typeof kinds)[number];
}

/** Sends a request and notes how it ended; null where the gateway was not there to hear it. */
async function send(number: number, leaveAfterMs: number | null): Promise<Entry | null> {
  const { path: at, body } = mixed(number);
  const leave = new AbortController();
  const timer = leaveAfterMs === null ? undefined : setTimeout(() => leave.abort(), leaveAfterMs);
  const headers = {
    "content-type": "application/json",
    authorization: `Bearer ${number % 2 === 0 ? keys.one : keys.two}`,
  };
  try {
    const response = await fetch(`${gateway.url}${at}`, {
      method: "POST",
      headers,
      body: JSON.stringify(body),
      signal: leave.signal,
    });
    const text = await response.text();
    if (response.status !== 200)
      expect(JSON.parse(text)).toMatchObject({ error: { message: expect.any(String), type: expect.any(String) } });
    const isStream = response.headers.get("content-type")?.startsWith("text/event-stream") === true;
    return { path: at, status: isStream ? endOfStream(text) : response.status };
  } catch (error) {
    if (leave.signal.aborted) return { path: at, status: null };
    const { cause } = error as { cause?: { code?: string } };
    if (cause?.code === "ECONNREFUSED") return null;
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** Several clients, one request after another each, until told to stop. */
function load(seed: number, entries: Entry[]) {
  let isRunning = true;
  let next = seed;
  const random = seeded(seed);
  const worker = async (): Promise<void> => {
    while (isRunning) {
      const entry = await send(next++, random(4) === 0 ? random(1_500) : null);
      if (entry !== null) entries.push(entry);
    }
  };
  const running = Promise.all(Array.from({ length: workers }, worker));
  return {
    running,
    async stop() {
      isRunning = false;
      await running;
    },
  };
}

async function fillDisk(ms: number): Promise<void> {
  const ballast = path.join(disk, "ballast");
  const handle = openSync(ballast, "w");
  try {
    for (;;) writeSync(handle, Buffer.alloc(65_536, 1));
  } catch (error) {
    expect(error).toMatchObject({ code: "ENOSPC" });
  } finally {
    closeSync(handle);
  }
  await pause(ms);
  unlinkSync(ballast);
}

const isIdle = async (): Promise<boolean> => {
  const { requests, status } = await ready();
  return requests === 0 && status === "ready";
};

it(`${minutes} minutes of everything: nothing is lost, nothing counted wrong`, {
  timeout: durationMs + 10 * 60_000,
}, async () => {
  const entries: Entry[] = [];
  const memory: { readonly gateway: number; readonly engine: number }[] = [];
  const happened = { kills: 0, hangs: 0, edits: 0, fullDisks: 0 };
  const random = seeded(3);
  const { running, stop } = load(1, entries);
  const begun = Date.now();
  /** Does something so many times, spread over the run. */
  const spread = async (times: number, act: (time: number) => Promise<void>): Promise<void> => {
    for (let time = 0; time < times; time++) {
      await pause(Math.max(0, begun + ((time + 0.5) * durationMs) / times - Date.now() + random(500)));
      await act(time);
    }
  };
  const somebody = (): number => {
    const pids = engines();
    return pids[random(pids.length)] as number;
  };
  const disturbances = Promise.all([
    spread(kills, async () => {
      await eventually(async () => engines().length > 0);
      process.kill(somebody(), "SIGKILL");
      happened.kills += 1;
    }),
    spread(1, async () => {
      await eventually(async () => engines().length > 0);
      process.kill(engines()[0] as number, "SIGSTOP");
      happened.hangs += 1;
    }),
    spread(edits, async (time) => {
      await writeRoutes(time % 2 === 0);
      happened.edits += 1;
    }),
    spread(1, async () => {
      await pause(durationMs / 5);
      if (!isMounted) return;
      await fillDisk(fullDiskMs);
      happened.fullDisks += 1;
    }),
    spread(Math.max(4, Math.round(minutes * 6)), async () => {
      const sizes =
        engines().length === 0
          ? "0"
          : execFileSync("ps", ["-o", "rss=", "-p", engines().join(",")], { encoding: "utf8" });
      const [engine] = sizes.trim().split(/\s+/u).map(Number);
      memory.push({ gateway: (await metrics()).residentBytes, engine: (engine ?? 0) * 1024 });
    }),
  ]);
  await Promise.race([Promise.all([disturbances, pause(durationMs)]), running]);
  await stop();
  await writeRoutes(false);
  await eventually(isIdle, 120_000);
  // An engine that no policy needs is gone.
  await eventually(async () => engines().length === 1, 60_000);

  await eventually(async () => (await metrics()).waiting === 0, 60_000);
  const told = await metrics();
  expect(told.lost).toBe(0);
  // The log is written a moment after.
  await eventually(
    async () => readLog(file("log.jsonl")).length === Object.values(told.requests).reduce((a, b) => a + b, 0),
  );
  const logged = logBooks(readLog(file("log.jsonl")));
  expect({ ...told.requests }).toEqual(logged.requests);
  expect({ ...told.tokens }).toEqual(logged.tokens);
  expect({ ...told.charged }).toEqual(logged.charged);
  expect(contradictions(entries, readLog(file("log.jsonl")))).toEqual([]);

  const third = Math.floor(memory.length / 3);
  const median = (values: readonly number[]): number =>
    values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] as number;
  const grown = (of: "gateway" | "engine"): [number, number] => [
    median(memory.slice(third, 2 * third).map((sample) => sample[of])),
    median(memory.slice(-third).map((sample) => sample[of])),
  ];
  const summary = {
    minutes,
    happened,
    requests: entries.length,
    ended: countBy(entries, ({ status }) => String(status ?? "left")),
    charged: told.charged,
    memory: { gateway: grown("gateway"), engine: grown("engine") },
  };
  console.log(JSON.stringify(summary));
  const report = process.env["ICDPO_TEST_SOAK_REPORT"];
  if (report !== undefined) appendFileSync(report, `${JSON.stringify({ ...summary, samples: memory })}\n`);

  // SIGTERM in the middle of it: what is under way is finished, who comes is told 503, and the books still agree.
  const last = load(1_000, entries);
  await pause(2_000);
  const stopping = gateway.stop();
  const leaving = last.stop();
  expect(await stopping).toBe(0);
  await leaving;
  const lines = readLog(file("log.jsonl"));
  expect(contradictions(entries, lines)).toEqual([]);
  expect(await contradictedRecords(path.join(disk, "records.db"), lines)).toEqual([]);
  if (!isLong) return;
  const [middle, end] = grown("gateway");
  expect(end).toBeLessThan(middle * 1.1);
});
