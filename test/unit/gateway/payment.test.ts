/** What is taken is paid: tokens are counted before they are worked through, and put right when they have been. */
import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import { type ApiKey, hashKey, type KeyLimits } from "../../../src/access/access.ts";
import { KeyLimiter } from "../../../src/access/key-limits.ts";
import { MemoryCounts } from "../../../src/access/minute-counts.ts";
import { Admission } from "../../../src/gateway/admission.ts";
import { estimateTokens } from "../../../src/gateway/demand.ts";
import { GatewayError } from "../../../src/types/error.ts";
import { gate, quiet, type Script, ScriptedEngine } from "../scripted-engine.ts";
import { type GatewayOptions, gateway, json } from "../scripted-gateway.ts";

const hash = await hashKey("secret-of-alice");
const bearer = { authorization: "Bearer secret-of-alice" };
const messages = [{ role: "user", content: "1".repeat(50) }];
const died = new GatewayError("engine_unavailable", "It died.");

/** A gateway with one key, and what has been counted of it. */
async function site(limits: KeyLimits, script: Script = {}, dependencies: GatewayOptions = {}, routes?: string) {
  const counts = new MemoryCounts();
  let ids = 0;
  const limiter = new KeyLimiter(counts, {}, () => `r${ids++}`);
  const alice: ApiKey = { name: "alice", hash, routes: null, limits };
  const made = await gateway(script, { keys: [alice], limiter, ...dependencies }, {}, routes);
  const used = async (): Promise<number> => (await counts.add("alice", { tokens: 0 })).tokens?.used ?? 0;
  const ask = (body: Record<string, unknown>, signal?: AbortSignal) =>
    made.post("/v1/chat/completions", { model: "plain", messages, ...body }, bearer, signal);
  const post = (path: string, body: unknown, signal?: AbortSignal) => made.post(path, body, bearer, signal);
  return { ...made, post, ask, used, counts };
}

/** As many tokens as a request may have. */
const wordy: Script = { sample: (_, __, { maxTokens }) => ({ text: "1".repeat(maxTokens), finish: "length" }) };

describe("tokens of a key", () => {
  it("cannot be exceeded by requests that come at once", async () => {
    const { opened, open } = gate();
    const { ask, used } = await site({ tokensPerMinute: 1_000 }, { ...wordy, pause: () => opened });
    let answered = 0;
    const asked = Array.from({ length: 20 }, async () => {
      const answer = await ask({ max_tokens: 200 });
      answered += 1;
      return answer;
    });
    await expect.poll(() => answered).toBe(17);
    expect(await used()).toBeLessThanOrEqual(1_000);
    open();
    const answers = await Promise.all(asked);
    const taken = answers.filter(({ status }) => status === 200);
    const refused = answers.filter(({ status }) => status === 429);
    expect([taken.length, refused.length]).toEqual([3, 17]);
    for (const { headers } of refused) expect(Number(headers.get("retry-after"))).toBeGreaterThan(0);
    const usages = await Promise.all(taken.map(async (answer) => (await json(answer)).usage.total_tokens));
    expect(await used()).toBe(usages.reduce((a, b) => a + b, 0));
    expect(await used()).toBeLessThanOrEqual(1_000);
  });

  it("come back where a request takes fewer than it might have", async () => {
    const { ask, used } = await site({ tokensPerMinute: 1_000 });
    for (let i = 0; i < 5; i++) expect((await ask({ max_tokens: 500 })).status).toBe(200);
    expect(await used()).toBeLessThan(1_000);
  });

  it("are refused, without a time to come back, to a request that never fits", async () => {
    const { ask, used, engine } = await site({ tokensPerMinute: 1_000 });
    for (const stream of [false, true]) {
      const response = await ask({ max_tokens: 5_000, stream });
      expect(response.status).toBe(400);
      expect(response.headers.get("retry-after")).toBeNull();
      expect((await json(response)).error.message).toMatch(
        /may take \d+ tokens.*may use 1000 a minute: it never fits/u,
      );
    }
    expect(await used()).toBe(0);
    expect(engine.calls).toEqual([]);
  });

  it("may be fewer than a client's largest answer where the model's context is", async () => {
    const { ask } = await site({ tokensPerMinute: 2_000 }, { contextSize: 400 });
    expect((await ask({ max_tokens: 1_000_000 })).status).toBe(200);
  });

  it.each([
    [
      "a scored answer counts its samples and their scoring",
      "/v1/chat/completions",
      { model: "icdpo", messages, max_tokens: 100 },
      600,
    ],
    ["each of several answers", "/v1/chat/completions", { model: "plain", messages, n: 4, max_tokens: 100 }, 400],
    [
      "each of several prompts",
      "/v1/completions",
      { model: "plain", prompt: ["1", "2", "3"], n: 2, max_tokens: 100 },
      600,
    ],
    ["a response", "/v1/responses", { model: "plain", input: "1", max_output_tokens: 300 }, 300],
    ["a message", "/v1/messages", { model: "plain", messages, max_tokens: 300 }, 300],
    [
      "a prompt that is scored",
      "/v1/completions",
      { model: "plain", prompt: "1".repeat(300), echo: true, logprobs: 0, max_tokens: 0 },
      600,
    ],
    [
      "completions in three contexts",
      "/v1/score",
      { model: "icdpo", messages, completions: ["1".repeat(100), "2".repeat(100)] },
      600,
    ],
    ["texts", "/v1/embeddings", { model: "scripted-embeddings", input: ["1".repeat(150), "2".repeat(150)] }, 300],
  ])("are counted before they are worked through: %s", async (_, path, body, least) => {
    const { post } = await site({ tokensPerMinute: least - 1 });
    const response = await post(path, body);
    expect((await json(response)).error?.message).toContain("it never fits");
    const roomy = await site({ tokensPerMinute: 3 * least + 1_000 });
    expect((await roomy.post(path, body)).status).toBe(200);
  });

  const failing = (error: Error): Script => ({
    pause: async (_, __, index) => {
      if (index === 1) throw error;
    },
  });
  it.each([
    ["it fails", failing(new GatewayError("engine_failure", "Out of memory.")), [500]],
    ["something unforeseen happens", failing(new TypeError("oops")), [500]],
    ["the engine ends under both tries", failing(died), [503]],
  ])("are those worked through where %s", async (_, script, statuses) => {
    const whole = await site({ tokensPerMinute: 100_000 });
    await (await whole.ask({ n: 2, max_tokens: 100 })).text();
    const { ask, used } = await site({ tokensPerMinute: 100_000 }, script);
    const response = await ask({ n: 2, max_tokens: 100 });
    await response.text();
    expect(statuses).toContain(response.status);
    expect(await used()).toBeGreaterThan(0);
    expect(await used()).toBeLessThan(2 * (await whole.used()));
  });

  it.each([false, true])("are those worked through where the client leaves; streamed: %s", async (stream) => {
    const { opened, open } = gate();
    const reached = gate();
    const script: Script = {
      pause: async (_, __, index) => {
        if (index === 0) return;
        reached.open();
        await opened;
      },
    };
    const { ask, used } = await site({ tokensPerMinute: 100_000 }, script);
    const leave = new AbortController();
    const asked = Promise.resolve(ask({ n: 2, max_tokens: 1_000, stream }, leave.signal)).then((response) =>
      response.text(),
    );
    await reached.opened;
    expect(await used()).toBeGreaterThan(2_000);
    leave.abort();
    await asked.catch(() => {});
    open();
    await expect.poll(used).toBeLessThan(200);
    expect(await used()).toBeGreaterThan(50);
  });

  it("are counted for what the gateway adds: the plain answer beside it, and both scores", async () => {
    const routes = "routes: { icdpo: { policy: scored, counterfactual: 1 }, plain: { policy: plain } }\n";
    const alone = await site({ tokensPerMinute: 100_000 });
    const watched = await site({ tokensPerMinute: 100_000, parallel: 1 }, {}, {}, routes);
    for (const { ask } of [alone, watched]) expect((await ask({ model: "icdpo" })).status).toBe(200);
    // It is no request of the key's own, and stands in none's way.
    expect((await watched.ask({ model: "plain" })).status).toBe(200);
    await expect.poll(watched.used).toBeGreaterThan((await alone.used()) * 1.2);
  });

  it("are asked of nobody who has no limit", async () => {
    const info = vi.spyOn(ScriptedEngine.prototype, "info");
    const { post } = await site({});
    const before = info.mock.calls.length;
    expect((await post("/v1/embeddings", { model: "scripted-embeddings", input: "one" })).status).toBe(200);
    expect(info.mock.calls.length).toBe(before);
    info.mockRestore();
  });
});

describe("a minute", () => {
  afterEach(() => void vi.useRealTimers());
  const open = (limit: number) => {
    const counts = new MemoryCounts();
    const limiter = new KeyLimiter(counts, { tokensPerMinute: limit }, () => "id");
    const caller = { name: "alice", hash: new Uint8Array(), routes: null, limits: {} };
    const used = async (): Promise<number> => (await counts.add("alice", { tokens: 0 })).tokens?.used ?? 0;
    return { used, reserve: (tokens: number) => limiter.reserve(caller, async () => tokens) };
  };

  it("gives nothing back to the next one", async () => {
    vi.useFakeTimers();
    const { reserve, used } = open(1_000);
    const long = await reserve(900);
    vi.advanceTimersByTime(61_000);
    const other = await reserve(500);
    await long.settle(10);
    expect(await used()).toBe(500);
    await other.settle(20);
    expect(await used()).toBe(20);
  });

  it("counts what is beyond a reservation, whenever that turns out", async () => {
    vi.useFakeTimers();
    const { reserve, used } = open(1_000);
    const long = await reserve(100);
    vi.advanceTimersByTime(61_000);
    await long.settle(1_500);
    expect(await used()).toBe(1_400);
    await expect(reserve(1)).rejects.toMatchObject({ code: "rate_limited" });
  });

  it("never holds more reservations than the limit, and in the end what was worked through, in whatever order requests come and go", async () => {
    const step = fc.record({
      tokens: fc.integer({ min: 0, max: 700 }),
      worked: fc.integer({ min: 0, max: 700 }),
      ends: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const { reserve, used } = open(1_000);
        const held: { tokens: number; settle: () => Promise<void> }[] = [];
        let done = 0;
        for (const { tokens, worked, ends } of steps) {
          const reservation = await reserve(tokens).catch(() => null);
          if (reservation !== null) {
            const most = Math.min(worked, tokens);
            const settle = async (): Promise<void> => {
              await reservation.settle(most);
              done += most;
            };
            held.push({ tokens, settle });
          }
          if (ends) await held.shift()?.settle();
          expect(await used()).toBe(done + held.reduce((sum, one) => sum + one.tokens, 0));
          expect(await used()).toBeLessThanOrEqual(1_000);
        }
        for (const one of held) await one.settle();
        expect(await used()).toBe(done);
      }),
    );
  });
});

describe("requests of a key in parallel", () => {
  it("are as many as it may have; another key's are its own, and who has ended makes room", async () => {
    const { opened, open } = gate();
    const { ask, post, engine } = await site({ parallel: 2 }, { pause: () => opened });
    const held = [ask({}), ask({ stream: true })];
    await expect.poll(() => engine.calls.length).toBe(2);
    for (const [path, body] of [
      ["/v1/chat/completions", { model: "icdpo", messages }],
      ["/v1/embeddings", { model: "scripted-embeddings", input: "one" }],
    ] as const) {
      const refused = await post(path, body);
      expect(refused.status).toBe(429);
      expect(refused.headers.get("retry-after")).toBe("1");
      expect((await json(refused)).error.message).toContain("2 requests under way");
    }
    open();
    for (const answer of held) await (await answer).text();
    await quiet();
    expect((await ask({})).status).toBe(200);
  });

  it("are given back where their tokens do not fit", async () => {
    const { ask } = await site({ parallel: 1, tokensPerMinute: 1_000 });
    for (let i = 0; i < 3; i++) expect((await ask({ max_tokens: 2_000 })).status).toBe(400);
    expect((await ask({ max_tokens: 100 })).status).toBe(200);
  });
});

describe("places of a request", () => {
  it.each([
    ["prompts and answers", "/v1/completions", { model: "plain", prompt: Array(16).fill("1"), n: 4 }],
    [
      "completions to score",
      "/v1/score",
      { model: "icdpo", messages, completions: Array.from({ length: 64 }, (_, i) => `${i}`) },
    ],
  ])("are as many as its %s fill", async (_, path, body) => {
    const { opened, open } = gate();
    const admission = new Admission({ limit: 5, now: () => 0 });
    const { post, ask } = await site({}, { pause: () => opened }, { admission });
    const held = post(path, body);
    await expect.poll(() => admission.admitted).toBe(1);
    const one = ask({});
    await expect.poll(() => admission.admitted).toBe(2);
    expect((await ask({})).status).toBe(429);
    open();
    expect([(await held).status, (await one).status]).toEqual([200, 200]);
    expect(admission.admitted).toBe(0);
    expect((await ask({})).status).toBe(200);
  });

  it("are all there are at most, so that each request is taken some time", async () => {
    const { post } = await site({}, {}, { admission: new Admission({ limit: 1, now: () => 0 }) });
    expect((await post("/v1/completions", { model: "plain", prompt: Array(16).fill("1"), n: 16 })).status).toBe(200);
  });
});

describe("a large answer", () => {
  it.each([
    ["prompts times n", "n", { prompt: Array(17).fill("1"), n: 16 }],
    ["n", "n", { n: 129 }],
    ["prompts", "prompt", { prompt: Array(257).fill("1") }],
    [
      "log-probabilities of a prompt, told with each answer",
      "logprobs",
      { prompt: Array(20_000).fill(49), n: 1, echo: true, logprobs: 20 },
    ],
    [
      "a prompt, told with each answer",
      "n",
      { prompt: Array(24_000).fill(49), n: 16, echo: true, logprobs: 0, max_tokens: 0 },
    ],
    ["log-probabilities of answers", "logprobs", { n: 16, max_tokens: 2_000, logprobs: 20 }],
  ])("is not begun: %s", async (_, param, body) => {
    const { post, engine } = await site({});
    for (const stream of [false, true]) {
      const response = await post("/v1/completions", { model: "plain", prompt: "1", ...body, stream });
      expect(response.status).toBe(400);
      expect((await json(response)).error.param).toBe(param);
    }
    expect(engine.calls).toEqual([]);
  });

  it("is not begun in chat either", async () => {
    const { ask, engine } = await site({});
    const response = await ask({ n: 16, max_tokens: 2_000, logprobs: true, top_logprobs: 20 });
    expect(response.status).toBe(400);
    expect((await json(response)).error.param).toBe("top_logprobs");
    expect(engine.calls).toEqual([]);
  });

  it("is one of reasonable size", async () => {
    const { post } = await site({});
    const evaluated = { prompt: Array(4_000).fill(49), echo: true, logprobs: 5, max_tokens: 0 };
    expect((await post("/v1/completions", { model: "plain", ...evaluated })).status).toBe(200);
  });

  it.each([
    ["too long, all together", Array(300).fill("a".repeat(7_000)), 8],
    ["too many for their dimensions", Array(2_000).fill("a"), 1_024],
  ])("is none of texts that are %s", async (_, input, dimensions) => {
    let embedded = 0;
    const embed = async (texts: readonly string[]) => {
      embedded += texts.length;
      return texts.map(() => new Float32Array(dimensions));
    };
    const embedCounted = async (texts: readonly string[]) =>
      (await embed(texts)).map((embedding) => ({ embedding, tokens: 1 }));
    const embedder = { model: "e@1", name: "e", embed, embedKept: embed, embedCounted };
    const { post } = await site({}, {}, { embedder: async () => embedder, maxBodyBytes: 10_000_000 });
    const response = await post("/v1/embeddings", { model: "e", input });
    expect(response.status).toBe(400);
    expect((await json(response)).error.param).toBe("input");
    expect(embedded).toBeLessThanOrEqual(128);
  });
});

describe("an estimate of tokens", () => {
  it.each([
    ["", 0, 0],
    ["How do I keep basil alive indoors?", 8, 16],
    ["31415926535", 11, 11],
    ["{}[]();=>!", 10, 10],
    ["罗勒怎么养", 5, 15],
    ["👩‍🚀", 3, 12],
  ])("of %j is near what it is, and rather too large", (text, least, most) => {
    expect(estimateTokens(text)).toBeGreaterThanOrEqual(least);
    expect(estimateTokens(text)).toBeLessThanOrEqual(most);
  });

  it("of a long text looks at its beginning only", () => {
    expect(estimateTokens("1".repeat(10_000_000))).toBe(10_000_000);
  });
});
