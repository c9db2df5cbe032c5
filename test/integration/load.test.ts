/**
 * Many requests at once, clients that leave, an engine that is killed or hangs: nobody waits for ever, nothing leaks,
 * the gateway lives. `npm run check -- load` sends more.
 */
import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventually, type Gateway, pause, post, seeded, shortPrompts, startGateway, withoutEnd } from "./gateway.ts";

interface Ready {
  readonly status: string;
  readonly requests: number;
  readonly engine: {
    readonly status: string;
    readonly pid: number;
    readonly restarts: number;
    readonly active: number;
    readonly waiting: number;
    readonly freeSequences: number;
  };
}

const requests = Number(process.env["ICDPO_TEST_LOAD"] ?? 120);
const kills = Number(process.env["ICDPO_TEST_KILLS"] ?? 4);
const sequences = 12;
const limit = 40;
const minute = 60_000;
const settings = {
  ...shortPrompts,
  ICDPO_SEQUENCES: String(sequences),
  ICDPO_CONTEXT_SIZE: "1024",
  ICDPO_MAX_REQUESTS: String(limit),
  // V8's room for new objects grows to tens of MB under load: kept small, memory that grows is memory that is held.
  NODE_OPTIONS: "--max-semi-space-size=1",
};
let gateway: Gateway;
beforeAll(async () => {
  gateway = await startGateway(settings);
});
afterAll(async () => {
  await gateway.stop();
});

const ready = async (): Promise<Ready> => (await (await fetch(`${gateway.url}/ready`)).json()) as Ready;
const idle = async (): Promise<boolean> => {
  const { requests, engine } = await ready();
  return (
    requests === 0 &&
    engine.status === "ready" &&
    engine.active === 0 &&
    engine.waiting === 0 &&
    engine.freeSequences === sequences
  );
};

const contents = [
  "Name a fruit.",
  "How do I keep basil alive?",
  "Why is the sky blue?",
  "Say hello.",
  "What is bread made of?",
];

/**
 * One of the kinds of requests there are; `isNew`: none twice, for one that was there at two ends of an engine is
 * refused.
 */
function mixed(number: number, isNew: boolean): { readonly path: string; readonly body: Record<string, unknown> } {
  const messages = [{ role: "user", content: `${contents[number % contents.length]}${isNew ? ` ${number}` : ""}` }];
  const kinds = [
    { path: "chat/completions", body: { model: "plain", messages, max_tokens: 12 } },
    { path: "chat/completions", body: { model: "plain", messages, max_tokens: 12, stream: true } },
    { path: "chat/completions", body: { model: "icdpo", messages, max_tokens: 8 } },
    { path: "chat/completions", body: { model: "icdpo", messages, max_tokens: 8, stream: true } },
    { path: "score", body: { model: "icdpo", messages, completions: ["An apple.", "Ask somebody else."] } },
  ];
  return kinds[number % kinds.length] as (typeof kinds)[number];
}

type Outcome = "answered" | "streamed" | "left" | "unavailable" | "error event" | "busy";

/**
 * Sends a request and checks that whatever comes is whole: an answer, an error of OpenAI's shape, or a stream with an
 * end.
 */
async function send(number: number, signal?: AbortSignal, isNew = false): Promise<Outcome> {
  const { path, body } = mixed(number, isNew);
  try {
    const response = await fetch(`${gateway.url}/v1/${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      ...(signal && { signal }),
    });
    const text = await response.text();
    if (response.status === 503 || response.status === 429) {
      const { error } = JSON.parse(text) as { error: { message: string; type: string; param: null; code: string } };
      expect(error).toMatchObject({
        message: expect.any(String),
        type: expect.any(String),
        param: null,
        code: expect.any(String),
      });
      expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
      return response.status === 503 ? "unavailable" : "busy";
    }
    expect(response.status, text).toBe(200);
    if (body["stream"] !== true) {
      expect(JSON.parse(text)).toMatchObject(
        path === "score" ? { data: [{ index: 0 }, { index: 1 }] } : { object: "chat.completion" },
      );
      return "answered";
    }
    // A comment may stand before an event, in a line of its own.
    const events = text.split("\n").filter((line) => line.startsWith("data: "));
    const last = events.at(-1)?.slice("data: ".length) ?? "";
    if (last === "[DONE]") return "streamed";
    expect(JSON.parse(last)).toMatchObject({ error: { code: "engine_unavailable" } });
    return "error event";
  } catch (error) {
    if (signal?.aborted) return "left";
    throw error;
  }
}

/** Resident memory of the gateway and its engine, in KiB. */
async function memory(): Promise<number> {
  const { engine } = await ready();
  const sizes = execFileSync("ps", ["-o", "rss=", "-p", `${gateway.process.pid},${engine.pid}`], { encoding: "utf8" });
  return sizes
    .trim()
    .split(/\s+/u)
    .reduce((sum, size) => sum + Number(size), 0);
}

describe(`${requests} mixed requests, a third of them left at random moments`, () => {
  it("leave all sequences free, and memory as it was after the first 30", { timeout: 30 * minute }, async () => {
    const random = seeded(7);
    const outcomes: Outcome[] = [];
    const run = async (count: number): Promise<void> => {
      let next = outcomes.length;
      const end = next + count;
      const worker = async (): Promise<void> => {
        for (let number = next++; number < end; number = next++) {
          const leave = new AbortController();
          // Some at once, so that whatever the machine's speed somebody has left.
          const timer =
            number % 3 === 0 ? setTimeout(() => leave.abort(), number % 9 === 0 ? 0 : random(400)) : undefined;
          outcomes.push(await send(number, leave.signal));
          clearTimeout(timer);
        }
      };
      await Promise.all(Array.from({ length: 8 }, worker));
      await eventually(idle);
    };
    await run(30);
    const early = await memory();
    await run(requests - 30);
    const late = await memory();
    const count = (...kinds: Outcome[]): number => outcomes.filter((outcome) => kinds.includes(outcome)).length;
    expect(outcomes).toHaveLength(requests);
    // A ninth leaves at once, two thirds never.
    expect(count("left")).toBeGreaterThanOrEqual(Math.floor(requests / 9));
    expect(count("left")).toBeLessThanOrEqual(Math.ceil(requests / 3));
    expect(count("left", "answered", "streamed")).toBe(requests);
    expect(late / early).toBeLessThan(1.05);
    expect((await ready()).engine.restarts).toBe(0);
  });
});

describe("more requests than the gateway takes", () => {
  it("get 429 and a time to come back", { timeout: 30 * minute }, async () => {
    const leave = new AbortController();
    let busy = 0;
    const flood = Array.from({ length: limit + 10 }, async (_, number) => {
      if ((await send(number, leave.signal)) === "busy") busy += 1;
    });
    await eventually(async () => busy >= 5);
    leave.abort();
    await Promise.all(flood);
    await eventually(idle);
  });
});

describe(`an engine that is killed ${kills} times under load`, () => {
  it("ends every request in an answer, a 503 or an error event, and serves the next", {
    timeout: 30 * minute,
  }, async () => {
    const random = seeded(11);
    const outcomes: Outcome[] = [];
    let killing = true;
    const killed = new Set<number>();
    const isAnother = ({ engine }: Ready): boolean => engine.status === "ready" && !killed.has(engine.pid);
    const worker = async (first: number): Promise<void> => {
      for (let number = first; killing; number++) outcomes.push(await send(number, undefined, true));
    };
    const workers = [0, 1, 2, 3].map(worker);
    try {
      while (killed.size < kills) {
        await eventually(async () => isAnother(await ready()));
        await pause(random(1_200));
        const { pid } = (await ready()).engine;
        process.kill(pid, "SIGKILL");
        killed.add(pid);
      }
    } finally {
      killing = false;
      await Promise.all(workers);
    }
    expect(gateway.process.exitCode).toBeNull();
    await eventually(async () => isAnother(await ready()));
    expect((await ready()).engine.restarts).toBeGreaterThanOrEqual(killed.size);
    expect(outcomes).not.toContain("busy");
    expect(await send(1_000_000, undefined, true)).toBe("answered");
    await eventually(idle);
  });

  it("does again what nothing had been sent of", async () => {
    await eventually(idle);
    const { engine } = await ready();
    const body = {
      model: "icdpo",
      messages: [{ role: "user", content: "Tell me a long story." }],
      max_tokens: 96,
      ...withoutEnd,
    };
    const asked = post(`${gateway.url}/v1/chat/completions`, body);
    await eventually(async () => (await ready()).engine.active > 0);
    process.kill(engine.pid, "SIGKILL");
    expect(await asked).toMatchObject({ status: 200 });
    expect((await ready()).engine.restarts).toBe(engine.restarts + 1);
  });
});

describe("an engine that hangs", () => {
  beforeAll(async () => {
    await gateway.stop();
    // With one thread no other process can hold up a step for so long.
    gateway = await startGateway({ ...settings, ICDPO_HANG_MS: "10000", ICDPO_THREADS: "1" });
  });

  it("is noticed, ended and started again", async () => {
    const { engine } = await ready();
    process.kill(engine.pid, "SIGSTOP");
    expect(await send(0)).toBe("answered");
    const after = (await ready()).engine;
    expect(after.pid).not.toBe(engine.pid);
    expect(gateway.log()).toContain("has not got on for 10000 ms");
  });
});
