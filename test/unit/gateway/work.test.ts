/** What every request owes, whichever endpoint it came to: its place, its charge, and the truth about how it ended. */
import { getEventListeners } from "node:events";
import { createServer, request as httpRequest, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { getRequestListener } from "@hono/node-server";
import { afterEach, describe, expect, it } from "vitest";
import type { ApiKey } from "../../../src/access/access.ts";
import { hashKey } from "../../../src/access/access.ts";
import { noLimits, uncounted } from "../../../src/access/key-limits.ts";
import { Admission } from "../../../src/gateway/admission.ts";
import type { RequestRecord } from "../../../src/gateway/observation.ts";
import { computedTokens } from "../../../src/icdpo/token-usage.ts";
import { noStore } from "../../../src/records/no-records.ts";
import type { RewardModel } from "../../../src/reward/reward-model.ts";
import { createTelemetry } from "../../../src/telemetry/telemetry.ts";
import { GatewayError } from "../../../src/types/error.ts";
import { gate, quiet, type Script } from "../scripted-engine.ts";
import { type GatewayOptions, gateway } from "../scripted-gateway.ts";

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

const key: ApiKey = { name: "one", hash: await hashKey("secret-one"), routes: null, limits: {} };
const bearer = { authorization: "Bearer secret-one" };
const died = new GatewayError("engine_unavailable", "It died.");
const messages = [{ role: "user", content: "How do I brew coffee?" }];
/** Every scored answer is compared with plain sampling's. */
const watchedRoutes = "routes: { icdpo: { policy: scored, counterfactual: 1 }, plain: { policy: plain } }\n";

/** A gateway whose records and charges are kept. */
async function site(script: Script = {}, dependencies: GatewayOptions = {}, routes?: string) {
  const records: RequestRecord[] = [];
  const spent: { readonly name: string | undefined; readonly tokens: number }[] = [];
  const telemetry = createTelemetry({
    recorders: [{ record: (record) => records.push(record) }],
    metrics: async () => ({ contentType: "text/plain", body: "" }),
    now: () => 0,
    onFailure: (error) => {
      throw error;
    },
  });
  const limiter = {
    admit: async () => ({}),
    reserve: async (caller: { name: string } | null) =>
      uncounted(async (tokens) => void spent.push({ name: caller?.name, tokens })),
  };
  const admission = new Admission({ limit: 100, now: () => 0 });
  const made = await gateway(script, { telemetry, limiter, admission, keys: [key], ...dependencies }, {}, routes);
  const post = (path: string, body: unknown, signal?: AbortSignal) => made.post(path, body, bearer, signal);
  const charged = (): number => spent.reduce((sum, { tokens }) => sum + tokens, 0);
  const worked = (): number =>
    records.reduce((sum, { work }) => sum + (work === undefined ? 0 : computedTokens(work)), 0);
  const underWay = (): number => (dependencies.admission ?? admission).admitted;
  return { ...made, post, records, spent, charged, worked, underWay };
}

const endpoints: readonly (readonly [string, string, Record<string, unknown>])[] = [
  ["a chat completion", "/v1/chat/completions", { model: "plain", messages }],
  ["a scored chat completion", "/v1/chat/completions", { model: "icdpo", messages }],
  ["a stream", "/v1/chat/completions", { model: "plain", messages, stream: true }],
  ["a scored stream", "/v1/chat/completions", { model: "icdpo", messages, stream: true }],
  ["a response", "/v1/responses", { model: "plain", input: "How do I brew coffee?" }],
  ["a streamed response", "/v1/responses", { model: "icdpo", input: "How do I brew coffee?", stream: true }],
  ["a completion", "/v1/completions", { model: "plain", prompt: "Coffee is" }],
  ["a completion that echoes", "/v1/completions", { model: "plain", prompt: "Coffee is", echo: true, logprobs: 1 }],
  ["a streamed completion", "/v1/completions", { model: "plain", prompt: "Coffee is", stream: true }],
  ["a scoring", "/v1/score", { model: "icdpo", messages, completions: ["With care.", "Badly."] }],
  ["a message", "/v1/messages", { model: "plain", messages, max_tokens: 99 }],
  ["a streamed message", "/v1/messages", { model: "icdpo", messages, max_tokens: 99, stream: true }],
  ["embeddings", "/v1/embeddings", { model: "scripted-embeddings", input: ["one two", "three"] }],
];

describe("what was worked through", () => {
  it.each(endpoints)("is charged to who asked, and told: %s", async (_, path, body) => {
    const { post, records, spent, charged, worked } = await site();
    const response = await post(path, body);
    await response.text();
    await quiet();
    expect(response.status).toBe(200);
    expect(records).toHaveLength(1);
    expect(records[0]).toMatchObject({ status: 200, key: "one" });
    expect(new Set(spent.map(({ name }) => name))).toEqual(new Set(["one"]));
    expect(charged()).toBeGreaterThan(0);
    expect(charged()).toBe(worked());
  });

  it("counts what was found in a cache as nothing", async () => {
    const cold = await site();
    const warm = await site({ cached: (context) => context.length - 1 });
    for (const { post } of [cold, warm]) await post("/v1/score", endpoints[9]?.[2]);
    expect(warm.charged()).toBeLessThan(cold.charged());
    expect(warm.charged()).toBe(warm.worked());
  });

  it.each(endpoints.slice(0, -1))("is charged where the engine fails in the middle: %s", async (_, path, body) => {
    const oom = new GatewayError("engine_failure", "Out of memory.");
    const failing: Script = {
      pause: async (what, _signal, index) => {
        if (
          (what === "score" && index === 0) ||
          (what === "sample" && path !== "/v1/score" && body["model"] === "plain")
        )
          throw oom;
      },
    };
    const { post, records, charged, worked } = await site(failing);
    await (await post(path, body)).text();
    await quiet();
    expect(records).toEqual([expect.objectContaining({ status: 500, error: "engine_failure" })]);
    expect(charged()).toBeGreaterThan(0);
    expect(charged()).toBe(worked());
  });

  it("is charged for both tries where the engine ended under the first", async () => {
    let failures = 1;
    const once: Script = {
      pause: async (what, _, index) => {
        if (what === "score" && index === 1 && failures-- > 0) throw died;
      },
    };
    const whole = await site();
    const broken = await site(once);
    const body = { model: "icdpo", messages };
    const answers = [await whole.post("/v1/chat/completions", body), await broken.post("/v1/chat/completions", body)];
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    // The client is told of the answer's own tokens.
    expect(answers[1]?.headers.get("x-icdpo-tokens")).toBe(answers[0]?.headers.get("x-icdpo-tokens"));
    expect(broken.charged()).toBeGreaterThan(whole.charged() * 1.2);
    expect(broken.charged()).toBe(broken.worked());
  });

  it("is charged for all prompts of a completion where one of them fails, and none goes on", async () => {
    const script: Script = {
      sample: (_, prompt) => ({ text: `${prompt} it goes.` }),
      pause: async (what, signal, index) => {
        if (what === "sample" && index === 1 && signal !== undefined)
          throw new GatewayError("engine_failure", "Out of memory.");
      },
    };
    const { post, records, charged, worked, engine } = await site(script);
    await (await post("/v1/completions", { model: "plain", prompt: ["Here", "There"], n: 2 })).text();
    const then = charged();
    await quiet();
    expect(records).toEqual([expect.objectContaining({ status: 500, error: "engine_failure" })]);
    expect(engine.calls.map(({ state }) => state)).not.toContain("open");
    expect(charged()).toBeGreaterThan(0);
    expect([charged(), worked()]).toEqual([then, then]);
  });

  it.each([
    ["a chat completion", { model: "plain", n: 2 }],
    ["a stream", { model: "plain", n: 2, stream: true }],
    ["a scored chat completion", { model: "icdpo" }],
    ["a scored stream", { model: "icdpo", stream: true }],
  ])("is charged where the client leaves in the middle: %s", async (_, body) => {
    const { opened, open } = gate();
    const reached = gate();
    const script: Script = {
      pause: async (what, _signal, index) => {
        if (what !== "sample" || index === 0) return;
        reached.open();
        await opened;
      },
    };
    const { post, records, charged, worked, underWay } = await site(script);
    const leave = new AbortController();
    const answer = Promise.resolve(post("/v1/chat/completions", { messages, ...body }, leave.signal)).then((response) =>
      response.text(),
    );
    await reached.opened;
    leave.abort();
    await answer.catch(() => {});
    open();
    await expect.poll(() => records).toEqual([expect.objectContaining({ status: 499, error: "request_cancelled" })]);
    expect(charged()).toBeGreaterThan(0);
    expect(charged()).toBe(worked());
    expect(underWay()).toBe(0);
  });

  it("is charged for the plain answer that the page compares with, in the page's one record", async () => {
    const alone = await site({}, { keys: [] });
    const compared = await site({}, { keys: [] });
    const form = (compare: boolean) => ({
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded", origin: "http://localhost" },
      body: new URLSearchParams({
        message: "Hello?",
        route: "icdpo",
        history: "[]",
        ...(compare && { compare: "on" }),
      }),
    });
    expect((await alone.app.request("/", form(false))).status).toBe(200);
    expect((await compared.app.request("/", form(true))).status).toBe(200);
    expect(compared.records).toHaveLength(1);
    expect(compared.charged()).toBeGreaterThan(alone.charged());
    for (const { charged, worked } of [alone, compared]) expect(charged()).toBe(worked());
  });

  it.each([false, true])(
    "is charged for a counterfactual, which has a record of its own; streamed: %s",
    async (stream) => {
      const { post, records, spent, charged, worked } = await site({}, {}, watchedRoutes);
      await (await post("/v1/chat/completions", { model: "icdpo", messages, stream })).text();
      await expect.poll(() => records).toHaveLength(2);
      expect(records.map(({ path, status, key: name }) => ({ path, status, name }))).toEqual(
        expect.arrayContaining([
          { path: "/v1/chat/completions", status: 200, name: "one" },
          { path: "counterfactual", status: 200, name: "one" },
        ]),
      );
      expect(spent).toHaveLength(2);
      expect(charged()).toBe(worked());
    },
  );

  it("is compared by reward where that alone chooses: no log-probabilities are needed", async () => {
    const asked: string[] = [];
    const reward: RewardModel = { id: "length", reward: async (_, text) => asked.push(text) };
    const kept: unknown[] = [];
    const judged = "score: { type: reward, model: judge }\n";
    const { chat, reported } = await gateway(
      { capabilities: { chat: true, text: true, score: false, grammar: false, tools: null } },
      { records: { ...noStore, counterfactual: (row) => kept.push(row) } },
      { judged, scored: judged, slow: judged },
      "routes: { icdpo: { policy: judged, counterfactual: 1 } }\n",
      undefined,
      new Map([["judge", () => reward]]),
    );
    expect((await chat({ model: "icdpo" })).status).toBe(200);
    await expect.poll(() => [...kept, ...reported]).toEqual([expect.objectContaining({ score: 4, chosenScore: 5 })]);
    expect(asked.slice(3)).toEqual(["Candidate number 0.", "Candidate number 2."]);
  });

  it("is lost where it cannot be charged, not the answer", async () => {
    const broken = new Error("The counter is away.");
    const { post, reported } = await site(
      {},
      { limiter: { ...noLimits, reserve: async () => uncounted(() => Promise.reject(broken)) } },
    );
    expect((await post("/v1/chat/completions", { model: "plain", messages })).status).toBe(200);
    expect(reported).toEqual([broken]);
  });
});

describe("a stream that fails after its first byte", () => {
  it.each([
    ["the engine ends", died, 503, "engine_unavailable"],
    ["the engine fails", new GatewayError("engine_failure", "Out of memory."), 500, "engine_failure"],
    ["it takes too long", new GatewayError("timeout", "Too long."), 503, "timeout"],
    ["something unforeseen happens", new TypeError("oops"), 500, "internal_error"],
  ] as const)("is recorded as what it was, with what it had shown: %s", async (_, error, status, code) => {
    for (const [path, body] of [
      ["/v1/chat/completions", { model: "plain", messages, n: 2, stream: true }],
      ["/v1/completions", { model: "plain", prompt: "Coffee is", n: 2, stream: true }],
    ] as const) {
      const failing: Script = {
        pause: async (_what, _signal, index) => {
          if (index === 1) throw error;
        },
      };
      const { post, records } = await site(failing);
      const response = await post(path, body);
      expect(response.status).toBe(200);
      await response.text();
      await quiet();
      expect(records).toEqual([expect.objectContaining({ status, error: code, stream: true })]);
      // The first answer was shown whole.
      expect(records[0]).toMatchObject({ completionTokens: "Candidate number 0.".length });
      expect(records[0]?.promptTokens).toBeGreaterThan(0);
    }
  });

  it("is recorded as a failure where a scored answer cannot be chosen", async () => {
    const failing: Script = {
      pause: async (what) => {
        if (what === "score") throw new GatewayError("engine_failure", "Out of memory.");
      },
    };
    const { post, records } = await site(failing);
    const response = await post("/v1/responses", { model: "icdpo", input: "Hi", stream: true });
    expect(response.status).toBe(200);
    await response.text();
    await quiet();
    expect(records).toEqual([expect.objectContaining({ status: 500, error: "engine_failure" })]);
  });
});

describe("a request's signal", () => {
  it.each(endpoints)("leaves nothing behind in what outlives it: %s", async (_, path, body) => {
    const [deadline, shutdown] = [new AbortController().signal, new AbortController().signal];
    const { post } = await site({}, { deadline: () => deadline, shutdown });
    for (let i = 0; i < 3; i++) await (await post(path, body)).text();
    await quiet();
    for (const signal of [deadline, shutdown]) expect(getEventListeners(signal, "abort")).toEqual([]);
  });

  it.each(endpoints.slice(0, -1))("fires when the gateway cannot wait any longer: %s", async (_, path, body) => {
    const shutdown = new AbortController();
    const reached = gate();
    const script: Script = {
      pause: () => {
        reached.open();
        return new Promise(() => {});
      },
    };
    const { post, records } = await site(script, { shutdown: shutdown.signal });
    const answer = Promise.resolve(post(path, body)).then((response) => response.text());
    await reached.opened;
    shutdown.abort(new GatewayError("shutting_down", "The gateway is shutting down."));
    await answer;
    await quiet();
    expect(records).toEqual([expect.objectContaining({ status: 503, error: "shutting_down" })]);
  });
});

describe("a gateway without room", () => {
  it("says so before it makes a grammar, and builds no policy for the request", async () => {
    const { opened, open } = gate();
    const { post, underWay } = await site(
      { pause: () => opened },
      { admission: new Admission({ limit: 1, now: () => 0 }) },
    );
    const held = post("/v1/chat/completions", { model: "plain", messages });
    await quiet();
    const schema = { type: "object", properties: { a: 3 } };
    const impossible = { type: "json_schema", json_schema: { name: "a", schema } };
    const refused = await post("/v1/chat/completions", { model: "plain", messages, response_format: impossible });
    expect(refused.status).toBe(429);
    open();
    expect((await held).status).toBe(200);
    expect((await post("/v1/chat/completions", { model: "plain", messages, response_format: impossible })).status).toBe(
      400,
    );
    expect(underWay()).toBe(0);
  });
});

describe("a reader that is slow", () => {
  const long = `${"x".repeat(9_999)} `;

  it("gets all of it, in pieces, as it asks for them", async () => {
    const { post, records } = await site({ sample: () => ({ text: long.repeat(30) }) });
    const response = await post("/v1/chat/completions", { model: "plain", messages, stream: true });
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    const decoder = new TextDecoder();
    let text = "";
    for (let read = await reader.read(); !read.done; read = await reader.read()) {
      expect(read.value.length).toBeLessThanOrEqual(3 * 16_384);
      text += decoder.decode(read.value, { stream: true });
      await quiet();
    }
    const deltas = [...text.matchAll(/"content":"([x ]+)"/gu)].map(([, content]) => content);
    expect(deltas.join("")).toHaveLength(long.length * 30);
    expect(text.endsWith("data: [DONE]\n\n")).toBe(true);
    expect(records).toEqual([expect.objectContaining({ status: 200 })]);
  });

  it.each([2, 8])(
    "is ended when more waits for it than a gateway can keep, and so is the work: %i answers of 1 MB",
    async (n) => {
      const { post, records, underWay, engine } = await site({
        sample: () => ({ text: long.repeat(100) }),
        pause: async () => {},
      });
      const response = await post("/v1/chat/completions", { model: "plain", messages, stream: true, n });
      await expect.poll(() => engine.calls.map(({ state }) => state)).not.toContain("open");
      // What waits takes a place, as work does.
      expect(underWay()).toBe(1);
      const read = await response.text();
      await expect.poll(underWay).toBe(0);
      expect(read.length).toBeLessThan(1.2 * 2 ** 20);
      expect(read).toContain("request_cancelled");
      expect(records).toEqual([expect.objectContaining({ status: 499, error: "request_cancelled" })]);
      expect(records[0]?.work?.sampled).toBeLessThan(2.1e6);
    },
  );

  it.each([
    ["plain", "/v1/chat/completions", { model: "plain", messages }],
    ["scored", "/v1/chat/completions", { model: "icdpo", messages }],
    ["response", "/v1/responses", { model: "icdpo", input: "Hi" }],
    ["message", "/v1/messages", { model: "plain", messages, max_tokens: 2e6 }],
    ["completion", "/v1/completions", { model: "plain", prompt: "Coffee is" }],
  ])("is cut off when it has stopped reading: %s", async (_, path, body) => {
    const { post, records, underWay } = await site({ sample: () => ({ text: long.repeat(20) }) }, { readerMs: 20 });
    const response = await post(path, { ...body, stream: true });
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    await reader.read();
    await expect.poll(() => records).toEqual([expect.objectContaining({ status: 499, error: "request_cancelled" })]);
    await expect(reader.read()).rejects.toThrow("stopped reading");
    expect(underWay()).toBe(0);
  });

  it.each([
    ["plain", "/v1/chat/completions", { model: "plain", messages }],
    ["scored", "/v1/chat/completions", { model: "icdpo", messages }],
    ["response", "/v1/responses", { model: "icdpo", input: "Hi" }],
    ["completion", "/v1/completions", { model: "plain", prompt: "Coffee is" }],
  ])("keeps its place until it has read all, or leaves: %s", async (_, path, body) => {
    const { post, charged, underWay, engine } = await site({ sample: () => ({ text: long.repeat(3) }) });
    const whole = await post(path, { ...body, stream: true });
    await expect.poll(() => engine.calls.map(({ state }) => state)).not.toContain("open");
    await quiet();
    expect(underWay()).toBe(1);
    // What it took is charged at once.
    expect(charged()).toBeGreaterThan(0);
    await whole.text();
    expect(underWay()).toBe(0);
    const left = await post(path, { ...body, stream: true });
    await quiet();
    expect(underWay()).toBe(1);
    await left.body?.cancel();
    await expect.poll(underWay).toBe(0);
  });

  it("does not keep its place by reading a little now and then", async () => {
    const readerMs = 300;
    const { post, records, underWay } = await site({ sample: () => ({ text: long.repeat(80) }) }, { readerMs });
    const response = await post("/v1/chat/completions", { model: "plain", messages, stream: true });
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    // Each piece is read in time, all of them would take fifty times as long as there is.
    const trickle = (async () => {
      for (let read = await reader.read(); !read.done; read = await reader.read())
        await new Promise((resolve) => setTimeout(resolve, readerMs / 3));
    })();
    await expect(trickle).rejects.toThrow("stopped reading");
    expect(records).toEqual([expect.objectContaining({ status: 499, error: "request_cancelled" })]);
    expect(underWay()).toBe(0);
  });

  it("is ended for who waits for its place, where there is only one", async () => {
    const admission = new Admission({ limit: 1, now: () => 0 });
    const { post } = await site({ sample: () => ({ text: long.repeat(3) }) }, { admission, readerMs: 50 });
    const body = { model: "plain", messages, stream: true };
    expect((await post("/v1/chat/completions", body)).status).toBe(200);
    expect((await post("/v1/chat/completions", body)).status).toBe(429);
    await expect.poll(() => admission.admitted).toBe(0);
    expect((await post("/v1/chat/completions", body)).status).toBe(200);
  });

  it("is cut off over HTTP, where its connection ends", async () => {
    const { app, records } = await site({ sample: () => ({ text: "x".repeat(20_000) }) }, { readerMs: 50 });
    const server = createServer(getRequestListener(app.fetch));
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const headers = { ...bearer, "content-type": "application/json" };
      const asked = httpRequest(
        { port, host: "127.0.0.1", path: "/v1/chat/completions", method: "POST", headers },
        resolve,
      );
      asked.on("error", reject);
      // About 30 MB: each character has twenty alternatives.
      asked.end(JSON.stringify({ model: "icdpo", messages, stream: true, logprobs: true, top_logprobs: 20 }));
    });
    // Nobody reads: the systems' buffers fill, then the gateway's.
    await expect
      .poll(() => records, { timeout: 8_000 })
      .toEqual([expect.objectContaining({ status: 499, error: "request_cancelled" })]);
    let bytes = 0;
    const isCut = await new Promise<boolean>((resolve) => {
      answer.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
      });
      answer.on("error", () => resolve(true));
      answer.on("end", () => resolve(false));
    });
    expect(isCut).toBe(true);
    expect(bytes).toBeLessThan(20e6);
  });
});
