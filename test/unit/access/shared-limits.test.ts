/** Several gateways count the limits of keys together. */
import { mkdtemp, rm, stat } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { hashKey, type KeyLimits } from "../../../src/access/access.ts";
import { KeyLimiter } from "../../../src/access/key-limits.ts";
import { SharedCounts } from "../../../src/access/shared-counts.ts";
import { startLibsqlServer } from "../../worker/libsql-server.ts";
import { gate, type Script } from "../scripted-engine.ts";
import { gateway } from "../scripted-gateway.ts";

const hash = await hashKey("secret-of-alice");
const bearer = { authorization: "Bearer secret-of-alice" };
const messages = [{ role: "user", content: "1".repeat(50) }];

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function folder(): Promise<string> {
  const made = await mkdtemp(path.join(tmpdir(), "limits-"));
  ends.push(() => rm(made, { recursive: true }));
  return made;
}

let ids = 0;

async function open(url: string, longestMs = 60_000, authToken?: string) {
  const said: string[] = [];
  const counts = await SharedCounts.open({ url, longestMs, authToken, report: (line) => said.push(line) });
  ends.push(() => counts.close());
  return { counts, said };
}

/** A gateway that counts in a file. */
async function site(url: string, limits: KeyLimits, script: Script = {}) {
  const { counts, said } = await open(url);
  const limiter = new KeyLimiter(counts, {}, () => `r${ids++}`);
  const made = await gateway(script, { keys: [{ name: "alice", hash, routes: null, limits }], limiter });
  const ask = (more: object) => made.post("/v1/chat/completions", { model: "plain", messages, ...more }, bearer);
  const used = async (): Promise<number> => (await counts.add("alice", { tokens: 0 })).tokens?.used ?? Number.NaN;
  return { ...made, ask, used, counts, said };
}

describe("two gateways", () => {
  it("cannot be made to give a key more tokens together than it may have", async () => {
    const url = `file:${path.join(await folder(), "deep", "limits.db")}`;
    const { opened, open: go } = gate();
    const script: Script = {
      sample: (_, __, { maxTokens }) => ({ text: "1".repeat(maxTokens), finish: "length" }),
      pause: () => opened,
    };
    const sites = [
      await site(url, { tokensPerMinute: 1_000 }, script),
      await site(url, { tokensPerMinute: 1_000 }, script),
    ] as const;
    let refused = 0;
    const asked = Array.from({ length: 20 }, async (_, i) => {
      const answer = await sites[i % 2]?.ask({ max_tokens: 200 });
      if (answer?.status === 429) refused += 1;
      return answer?.status;
    });
    await expect.poll(() => refused).toBeGreaterThanOrEqual(17);
    for (const { used } of sites) expect(await used()).toBeLessThanOrEqual(1_000);
    go();
    const statuses = await Promise.all(asked);
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThan(0);
    for (const { used } of sites) expect(await used()).toBeLessThanOrEqual(1_000);
    expect(await sites[0].used()).toBe(await sites[1].used());
    for (const { said } of sites) expect(said).toEqual([]);
    expect((await stat(url.slice("file:".length))).mode & 0o777).toBe(0o600);
  });

  it("count a key's requests, and those under way, together", async () => {
    const url = `file:${path.join(await folder(), "limits.db")}`;
    const { opened, open: go } = gate();
    const limits = { requestsPerMinute: 4, parallel: 1 };
    const [one, two] = [await site(url, limits, { pause: () => opened }), await site(url, limits)];
    const held = one.ask({});
    await expect.poll(() => one.engine.calls.length).toBe(1);
    expect((await two.ask({})).status).toBe(429);
    go();
    expect((await held).status).toBe(200);
    expect((await two.ask({})).status).toBe(200);
    expect((await one.ask({})).headers.get("x-ratelimit-remaining-requests")).toBe("0");
    expect((await two.ask({})).status).toBe(429);
  });

  it("give back what was reserved, to the minute it was taken from only", async () => {
    const url = `file:${path.join(await folder(), "limits.db")}`;
    const [{ counts: one }, { counts: two }] = [await open(url), await open(url)];
    const { tokens } = await one.add("alice", { tokens: 500 });
    await two.giveBack("alice", 200, tokens?.minute ?? 0);
    await two.giveBack("alice", 200, (tokens?.minute ?? 0) - 1);
    await two.giveBack("bob", 200, tokens?.minute ?? 0);
    expect((await one.add("alice", { tokens: 0 })).tokens?.used).toBe(300);
  });

  it("forget what a gateway that crashed had under way, after its time", async () => {
    const url = `file:${path.join(await folder(), "limits.db")}`;
    const { counts: crashed } = await open(url, 50);
    const { counts } = await open(url);
    expect(await crashed.enter("alice", "a", 1)).toBe(true);
    await expect.poll(() => counts.enter("alice", "b", 1)).toBe(true);
    expect(await counts.enter("alice", "c", 1)).toBe(false);
  });
});

describe("a database that is away", () => {
  it("leaves each gateway to count by itself, and gives nothing back that was not taken there", async () => {
    const url = `file:${path.join(await folder(), "limits.db")}`;
    const { ask, counts, used, said } = await site(url, { tokensPerMinute: 1_000, parallel: 1 });
    const reserved = await counts.add("alice", { tokens: 800 });
    expect((await ask({ max_tokens: 500 })).status).toBe(429);
    expect(await counts.enter("bob", "before", 1)).toBe(true);
    counts.close();
    expect((await ask({ max_tokens: 500 })).status).toBe(200);
    expect(said).toEqual([expect.stringContaining("each gateway counts by itself")]);
    const before = await used();
    expect(before).toBeGreaterThan(0);
    await counts.giveBack("alice", 800, reserved.tokens?.minute ?? 0);
    await counts.leave("bob", "before");
    expect(await used()).toBe(before);
    expect((await ask({ max_tokens: 5_000 })).status).toBe(400);
    const own = await Promise.all([ask({ max_tokens: 900 }), ask({ max_tokens: 900 })]);
    for (const { status } of own) expect(status).toBe(429);
    expect(said).toHaveLength(1);
  });

  it("or that never answers, holds no request up for long, and is asked again later", async () => {
    const database = await startLibsqlServer(`file:${path.join(await folder(), "server.db")}`, "a-token");
    ends.push(() => database.close());
    let isSilent = false;
    const front: Server = createServer(async (request, response) => {
      if (isSilent) return;
      const pieces: Buffer[] = [];
      for await (const piece of request) pieces.push(piece as Buffer);
      const headers = { authorization: request.headers.authorization ?? "" };
      const init = request.method === "POST" ? { method: "POST", headers, body: Buffer.concat(pieces) } : { headers };
      const answer = await fetch(`${database.url}${request.url}`, init);
      response.writeHead(answer.status, { "content-type": "application/json" }).end(await answer.text());
    });
    await new Promise<void>((resolve) => front.listen(0, "127.0.0.1", resolve));
    ends.push(() => {
      front.close();
      front.closeAllConnections();
    });
    const url = `http://127.0.0.1:${(front.address() as AddressInfo).port}`;
    isSilent = true;
    const { counts: early, said: saidEarly } = await open(url, 60_000, "a-token");
    expect((await early.add("alice", { tokens: 7 })).tokens?.used).toBe(7);
    expect(saidEarly).toEqual([expect.stringContaining("each gateway counts by itself")]);
    isSilent = false;
    const [{ counts: one, said }, { counts: two }] = [
      await open(url, 60_000, "a-token"),
      await open(url, 60_000, "a-token"),
    ];
    await one.add("alice", { tokens: 300, requests: 1 });
    expect(await two.add("alice", { tokens: 100, requests: 1 })).toMatchObject({
      tokens: { used: 400 },
      requests: { used: 2 },
    });
    expect(await one.enter("alice", "a", 1)).toBe(true);
    expect(await two.enter("alice", "b", 1)).toBe(false);
    await one.leave("alice", "a");
    expect(await two.enter("alice", "b", 1)).toBe(true);
    isSilent = true;
    expect((await one.add("alice", { tokens: 50 })).tokens?.used).toBe(50);
    expect(said).toEqual([expect.stringContaining("no answer within")]);
    // It is not asked for each request.
    expect((await one.add("alice", { tokens: 50 })).tokens?.used).toBe(100);
    isSilent = false;
    for (const counts of [one, early])
      await expect.poll(async () => (await counts.add("alice", { tokens: 0 })).tokens?.used).toBe(400);
    expect(said).toEqual([expect.anything(), expect.stringContaining("count together")]);
  });
});
