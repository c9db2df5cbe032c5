/**
 * Equal servers behind one engine: which one a call goes to, and what happens to calls when one dies. Real local
 * servers.
 */
import { afterEach, describe, expect, it } from "vitest";
import { z } from "zod";
import type { RemoteSettings } from "../../../../src/engine/engines.ts";
import type { Probe } from "../../../../src/engine/server/remote.ts";
import { Replicas } from "../../../../src/engine/server/replicas.ts";
import { onceMore } from "../../../../src/gateway/work.ts";
import { GatewayError } from "../../../../src/types/error.ts";
import { type Handler, type StubServer, sendEvents, sendJson, stubServer } from "../../stub-server.ts";

const servers: StubServer[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.kill();
});

async function stub(handler: Handler): Promise<StubServer> {
  const server = await stubServer(handler);
  servers.push(server);
  return server;
}

const health: Probe = async (server) => void (await server.text({ path: "/health", timeoutMs: 60_000 }));

function over(
  stubs: readonly Pick<StubServer, "url">[],
  settings: Partial<RemoteSettings> = {},
  probe = health,
  now = () => 0,
) {
  const lines: string[] = [];
  const all = { urls: stubs.map(({ url }) => url), timeoutMs: 60_000, retries: 0, ...settings };
  return { replicas: new Replicas(all, { fetch, now, log: (line) => lines.push(line) }, probe), lines };
}

const answer = z.object({ value: z.number() });
const ask = { path: "/ask", body: {}, answer };
const fine: Handler = (_, response) => sendJson(response, { value: 1 });
const calls = ({ requests }: StubServer): number => requests.filter(({ path }) => path !== "/health").length;
const prompt = (topic: number): number[] => Array.from({ length: 200 }, (_, i) => topic * 1000 + i);

describe("routing", () => {
  it("sends prompts that begin alike to one replica, and spreads those that do not", async () => {
    const three = [await stub(fine), await stub(fine), await stub(fine)];
    const { replicas } = over(three);
    for (let topic = 0; topic < 30; topic++) {
      const before = three.map(calls);
      for (const end of [1, 2, 3]) await replicas.json(ask, [...prompt(topic), end]);
      expect(three.map((one, i) => calls(one) - (before[i] as number)).toSorted()).toEqual([0, 0, 3]);
    }
    for (const one of three) expect(calls(one)).toBeGreaterThan(3 * 3);
  });

  it("moves only the prompts of a replica that is gone", async () => {
    const three = [await stub(fine), await stub(fine), await stub(fine)];
    const homes = async (stubs: readonly StubServer[]): Promise<(string | undefined)[]> => {
      const { replicas } = over(stubs);
      const found: (string | undefined)[] = [];
      for (let topic = 0; topic < 20; topic++) {
        const before = stubs.map(calls);
        await replicas.json(ask, prompt(topic));
        found.push(stubs.find((one, i) => calls(one) > (before[i] as number))?.url);
      }
      return found;
    };
    const [all, two] = [await homes(three), await homes(three.slice(0, 2))];
    const gone = three[2]?.url;
    expect(two.filter((home, i) => home !== all[i])).toHaveLength(all.filter((home) => home === gone).length);
  });

  it("lets one hot prefix spill over", async () => {
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const slow: Handler = async (_, response) => {
      await held;
      sendJson(response, { value: 1 });
    };
    const two = [await stub(slow), await stub(slow)];
    const { replicas } = over(two);
    const all = Array.from({ length: 20 }, () => replicas.json(ask, prompt(1)));
    await expect.poll(() => two.map(calls).reduce((a, b) => a + b)).toBe(20);
    for (const one of two) expect(calls(one)).toBeLessThanOrEqual(13);
    release();
    await Promise.all(all);
  });
});

describe("retries", () => {
  it("make a call again until it goes well", async () => {
    let tries = 0;
    const flaky = await stub((_, response) => sendJson(response, { value: 1 }, ++tries < 3 ? 503 : 200));
    await expect(over([flaky], { retries: 2 }).replicas.json(ask)).resolves.toEqual({ value: 1 });
    expect(tries).toBe(3);
  });

  it("end, with the last error", async () => {
    const broken = await stub((_, response) => sendJson(response, {}, 502));
    await expect(over([broken], { retries: 1 }).replicas.json(ask)).rejects.toMatchObject({
      code: "engine_unavailable",
    });
    expect(calls(broken)).toBe(2);
  });

  it("are not made for a fault of the request, nor set a replica aside", async () => {
    const refusing: Handler = ({ path }, response) =>
      sendJson(response, { error: { message: "no" } }, path === "/health" ? 200 : 400);
    const two = [await stub(refusing), await stub(fine)];
    const { replicas } = over(two, { retries: 3 });
    await expect(replicas.json(ask)).rejects.toMatchObject({ code: "invalid_request" });
    expect(two.map(calls)).toEqual([1, 0]);
    expect((await replicas.state()).replicas.every(({ status }) => status === "ready")).toBe(true);
  });

  it("end when the signal fires", async () => {
    const leave = new AbortController();
    const broken = await stub((_, response) => {
      sendJson(response, {}, 503, { "retry-after": "20" });
      setTimeout(() => leave.abort(), 10);
    });
    await expect(over([broken], { retries: 5 }).replicas.json({ ...ask, signal: leave.signal })).rejects.toMatchObject({
      code: "cancelled",
    });
    expect(calls(broken)).toBe(1);
  });

  it("are left to the client where a server wants to be left alone for long", async () => {
    const busy = await stub((_, response) => sendJson(response, {}, 429, { "retry-after": "600" }));
    await expect(over([busy], { retries: 5 }).replicas.json(ask)).rejects.toMatchObject({
      code: "overloaded",
      retryAfter: 600,
    });
    expect(calls(busy)).toBe(1);
  });

  it("of a stream are made only before something of it was passed on", async () => {
    let breakOff = (): void => {};
    const cut = await stub(({ path }, response) => {
      if (path === "/health") return void response.end();
      response.write('data: {"value": 1}\n\n');
      breakOff = () => response.destroy();
    });
    const events: number[] = [];
    const reading = (async () => {
      for await (const { value } of over([cut], { retries: 5 }).replicas.events(ask)) {
        events.push(value);
        breakOff();
      }
    })();
    await expect(reading).rejects.toMatchObject({ code: "engine_unavailable" });
    expect(events).toEqual([1]);
    expect(calls(cut)).toBe(1);
  });

  it("are all there are: who asked does not multiply them by trying again", async () => {
    const broken = await stub((_, response) => sendJson(response, { error: { message: "Loading." } }, 503));
    const { replicas } = over([broken], { retries: 2 });
    const asked = onceMore(
      () => replicas.json(ask),
      () => false,
    );
    await expect(asked).rejects.toMatchObject({ code: "engine_unavailable", isFinal: true });
    expect(calls(broken)).toBe(3);
  });

  it("are not made for a stream that ended in the middle, which who asked may try again", async () => {
    const cut = await stub(({ path }, response) => {
      if (path === "/health") return void response.end();
      response.write('data: {"value": 1}\n\n');
      setTimeout(() => response.destroy(), 5);
    });
    const { replicas } = over([cut], { retries: 5 });
    const read = async (): Promise<void> => {
      for await (const _ of replicas.events(ask));
    };
    await expect(onceMore(read, () => false)).rejects.toMatchObject({ code: "engine_unavailable", isFinal: false });
    expect(calls(cut)).toBe(2);
  });
});

describe("a replica that dies", () => {
  it("under load takes no request with it that had not begun to stream", async () => {
    const events = [{ value: 1 }, { value: 2 }];
    const atWork: Handler = () => {};
    const two = [await stub(atWork), await stub((_, response) => sendEvents(response, events))] as const;
    const { replicas, lines } = over(two);
    const all = Array.from({ length: 40 }, async (_, topic) => {
      const values: number[] = [];
      for await (const { value } of replicas.events(ask, prompt(topic))) values.push(value);
      return values;
    });
    await expect.poll(() => calls(two[0])).toBeGreaterThan(5);
    two[0].kill();
    expect(await Promise.all(all)).toEqual(Array.from({ length: 40 }, () => [1, 2]));
    expect(lines.filter((line) => line.includes("set aside"))).toHaveLength(1);
    const before = calls(two[0]);
    for (let topic = 0; topic < 10; topic++) for await (const _ of replicas.events(ask, prompt(topic)));
    expect(calls(two[0])).toBe(before);
  });

  it("is asked for its health when its pause is over, and taken back", async () => {
    let isWell = false;
    let now = 0;
    const ill = await stub((_, response) => sendJson(response, { value: 1 }, isWell ? 200 : 503));
    const well = await stub(fine);
    const { replicas, lines } = over([ill, well], {}, health, () => now);
    await replicas.json(ask);
    expect((await replicas.state()).replicas.map(({ status }) => status)).toEqual(["unreachable", "ready"]);
    isWell = true;
    const healthCalls = (): number => ill.requests.filter(({ path }) => path === "/health").length;
    const before = healthCalls();
    await replicas.json(ask);
    expect(healthCalls()).toBe(before);
    now = 1_000_000;
    await replicas.json(ask);
    await expect.poll(() => lines.some((line) => line.includes("well again"))).toBe(true);
    expect(await replicas.state()).toMatchObject({
      status: "ready",
      replicas: [{ status: "ready" }, { status: "ready" }],
    });
  });

  it("is told from one that is silent because it is busy", async () => {
    let healthCalls = 0;
    const busy = await stub(({ path }, response) => {
      if (path === "/health") return void (++healthCalls > 0 && response.end());
      const answering = setInterval(() => {
        if (healthCalls < 2) return;
        clearInterval(answering);
        sendJson(response, { value: 1 });
      }, 1);
    });
    await expect(over([busy], { timeoutMs: 20 }).replicas.json(ask)).resolves.toEqual({ value: 1 });
    expect(calls(busy)).toBe(1);
  });

  it("is tried all the same where no other is left", async () => {
    let tries = 0;
    const only = await stub((_, response) => sendJson(response, { value: 1 }, ++tries === 1 ? 503 : 200));
    const { replicas } = over([only]);
    await expect(replicas.json(ask)).rejects.toMatchObject({ code: "engine_unavailable" });
    await expect(replicas.json(ask)).resolves.toEqual({ value: 1 });
  });

  it("is reported, and state never throws", async () => {
    const gone = await stub(fine);
    gone.kill();
    const { replicas } = over([gone]);
    expect(await replicas.state()).toMatchObject({
      status: "unreachable",
      replicas: [{ url: gone.url, status: "unreachable", reason: expect.stringContaining("cannot be reached") }],
    });
  });
});

it("a replica that must not be used gets no calls", async () => {
  const two = [await stub(fine), await stub(fine)] as const;
  const probe: Probe = async ({ name }) => {
    if (name === two[0].url) throw new GatewayError("configuration", "Another model.");
  };
  const { replicas } = over(two, {}, probe);
  await replicas.state();
  for (let topic = 0; topic < 10; topic++) await replicas.json(ask, prompt(topic));
  expect(two.map(calls)).toEqual([0, 10]);
  two[1].kill();
  await expect(replicas.json(ask)).rejects.toMatchObject({ code: "engine_unavailable" });
  const alone = over([two[0]], {}, probe).replicas;
  await alone.state();
  await expect(alone.json(ask)).rejects.toMatchObject({ code: "configuration" });
});
