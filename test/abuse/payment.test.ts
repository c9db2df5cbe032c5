/**
 * Whatever four keys ask for at once, and however it ends: each pays what was worked through for it, and never begins
 * much more than it may have.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as pause } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { type ApiKey, hashKey } from "../../src/access/access.ts";
import { type Count, KeyLimiter, type LimitKind, type UsageCounts } from "../../src/access/key-limits.ts";
import { Admission } from "../../src/gateway/admission.ts";
import type { RequestRecord } from "../../src/gateway/observation.ts";
import { randomFrom } from "../../src/icdpo/seed.ts";
import { computedTokens } from "../../src/icdpo/token-usage.ts";
import { createTelemetry } from "../../src/telemetry/telemetry.ts";
import { GatewayError } from "../../src/types/error.ts";
import type { Script } from "../unit/scripted-engine.ts";
import { gateway } from "../unit/scripted-gateway.ts";

const limit = 20_000;
const names = ["one", "two", "three", "four"];
const keys: ApiKey[] = await Promise.all(
  names.map(async (name) => ({
    name,
    hash: await hashKey(`secret of ${name}`.replaceAll(" ", "-")),
    routes: null,
    limits: { tokensPerMinute: limit, parallel: 8 },
  })),
);
const bearer = (name: string) => ({ authorization: `Bearer ${`secret of ${name}`.replaceAll(" ", "-")}` });

/** One minute that has no end: nothing is forgotten while a busy machine takes its time. */
class EndlessMinute implements UsageCounts {
  readonly used = new Map<string, number>();
  readonly underWay = new Map<string, Set<string>>();
  most = 0;

  async add(name: string, { tokens = 0 }: { readonly [Kind in LimitKind]?: number }): Promise<{ tokens: Count }> {
    const used = (this.used.get(name) ?? 0) + tokens;
    this.used.set(name, used);
    this.most = Math.max(this.most, used);
    return { tokens: { used, minute: 1, msLeft: 60_000 } };
  }

  async giveBack(name: string, tokens: number): Promise<void> {
    this.used.set(name, (this.used.get(name) ?? 0) - tokens);
  }

  async enter(name: string, request: string, most: number): Promise<boolean> {
    const underWay = this.underWay.get(name) ?? new Set();
    if (underWay.size >= most) return false;
    this.underWay.set(name, underWay.add(request));
    return true;
  }

  async leave(name: string, request: string): Promise<void> {
    this.underWay.get(name)?.delete(request);
  }
}

function site(script: Script, maxBodyBytes = 100_000, known: readonly ApiKey[] = keys) {
  const records: RequestRecord[] = [];
  const telemetry = createTelemetry({
    recorders: [{ record: (record) => records.push(record) }],
    metrics: async () => ({ contentType: "text/plain", body: "" }),
    now: () => 0,
    onFailure: (error) => {
      throw error;
    },
  });
  const counts = new EndlessMinute();
  let ids = 0;
  const limiter = new KeyLimiter(counts, {}, () => `r${ids++}`);
  const admission = new Admission({ limit: 64, now: () => 0 });
  const routes = "routes: { icdpo: { policy: scored, counterfactual: 1 }, plain: { policy: plain } }\n";
  const made = gateway(script, { keys: known, limiter, telemetry, admission, maxBodyBytes }, {}, routes);
  return { made, records, counts, admission };
}

describe("four keys", () => {
  it("pay for everything, and the books agree to a token", async () => {
    const random = randomFrom(16);
    const below = (most: number): number => Math.floor(random() * most);
    // As in an engine: a block goes on from what the one before has left in the cache of prefixes.
    const recent: string[] = [];
    const script: Script = {
      sample: (_, __, { maxTokens }) => ({ text: "1".repeat(Math.min(maxTokens, 200)), finish: "length" }),
      cached: (context) => {
        const found = Math.max(0, ...recent.filter((one) => context.startsWith(one)).map(({ length }) => length));
        recent.push(context);
        if (recent.length > 200) recent.shift();
        return Math.min(found, context.length - 1);
      },
      pause: async () => {
        await pause(below(3));
        const chance = random();
        if (chance < 0.01) throw new GatewayError("engine_unavailable", "It died.");
        if (chance < 0.02) throw new GatewayError("engine_failure", "Out of memory.");
        if (chance < 0.025) throw new TypeError("oops");
      },
    };
    const { made, records, counts, admission } = site(script);
    const { post } = await made;
    const digits = (most: number): string => "1".repeat(1 + below(most));
    const messages = () => [{ role: "user", content: digits(300) }];
    const kinds: (() => [string, object])[] = [
      () => [
        "/v1/chat/completions",
        { model: "plain", messages: messages(), n: 1 + below(4), max_tokens: 1 + below(300), stream: below(2) === 0 },
      ],
      () => [
        "/v1/chat/completions",
        { model: "icdpo", messages: messages(), max_tokens: 1 + below(300), stream: below(2) === 0 },
      ],
      () => [
        "/v1/responses",
        { model: "icdpo", input: digits(300), max_output_tokens: 1 + below(300), stream: below(2) === 0 },
      ],
      () => [
        "/v1/completions",
        {
          model: "plain",
          prompt: Array.from({ length: 1 + below(6) }, () => digits(50)),
          n: 1 + below(4),
          max_tokens: 1 + below(100),
        },
      ],
      () => [
        "/v1/completions",
        {
          model: "plain",
          prompt: digits(300),
          echo: true,
          logprobs: 2,
          max_tokens: below(100),
          stream: below(2) === 0,
        },
      ],
      () => [
        "/v1/score",
        { model: "icdpo", messages: messages(), completions: Array.from({ length: 1 + below(5) }, () => digits(100)) },
      ],
      () => ["/v1/embeddings", { model: "scripted-embeddings", input: digits(100) }],
      () => ["/v1/chat/completions", { model: "plain", messages: messages(), max_tokens: 10 * limit }],
    ];
    const statuses = new Map<number, number>();
    const one = async (): Promise<void> => {
      const [path, body] = (kinds[below(kinds.length)] as (typeof kinds)[number])();
      const leaving = new AbortController();
      const isLeaving = below(5) === 0;
      const asked = Promise.resolve(
        post(path, body, bearer(names[below(names.length)] as string), leaving.signal),
      ).then(async (response) => {
        statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
        await response.text();
      });
      if (isLeaving) void pause(below(10)).then(() => leaving.abort());
      await asked.catch(() => {});
    };
    const before = process.memoryUsage().heapUsed;
    const lane = async (): Promise<void> => {
      for (let i = 0; i < 25; i++) await one();
    };
    await Promise.all(Array.from({ length: 24 }, lane));
    await expect.poll(() => admission.admitted).toBe(0);
    const worked = (name: string): number =>
      records
        .filter(({ key }) => key === name)
        .reduce((sum, { work }) => sum + (work === undefined ? 0 : computedTokens(work)), 0);
    await expect.poll(() => names.map((name) => counts.used.get(name))).toEqual(names.map(worked));
    for (const name of names) expect(counts.underWay.get(name)?.size).toBe(0);
    // Some were taken, some refused for each reason, and some failed.
    for (const status of [200, 400, 429]) expect(statuses.get(status)).toBeGreaterThan(0);
    // What was counted at any moment: of an estimate that knows words, where each letter of a prompt's frame is a token
    // here, a few hundred each.
    expect(counts.most).toBeLessThan(1.5 * limit);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(300 * 2 ** 20);
  });
});

describe("an estimate", () => {
  it("of a body as large as may be holds nobody up for longer than the body itself does", async () => {
    const free: ApiKey = { name: "free", hash: await hashKey("secret-of-free"), routes: null, limits: {} };
    const messages = Array.from({ length: 2_000 }, () => ({ role: "user", content: "aé1".repeat(1_000) }));
    const body = JSON.stringify({ model: "plain", messages });
    const ask = async (name: string): Promise<number> => {
      const { made } = site({ contextSize: 100 }, 20_000_000, [...keys, free]);
      const { post } = await made;
      const delay = monitorEventLoopDelay({ resolution: 1 });
      delay.enable();
      await pause(20);
      expect((await post("/v1/chat/completions", body, bearer(name))).status).toBe(400);
      await pause(20);
      delay.disable();
      return delay.max / 1e6;
    };
    await ask("free");
    const baseline = await ask("free");
    expect(await ask("one")).toBeLessThan(2 * baseline + 500);
  });
});
