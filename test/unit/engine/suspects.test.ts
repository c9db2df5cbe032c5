/**
 * Requests that end servers: how often they are sent, and what becomes of those beside them. Real local servers that
 * die of a prompt.
 */
import { afterEach, describe, expect, it } from "vitest";
import { z } from "zod";
import type { RemoteSettings } from "../../../src/engine/engines.ts";
import type { Probe } from "../../../src/engine/server/remote.ts";
import { Replicas } from "../../../src/engine/server/replicas.ts";
import { RetryBudget } from "../../../src/engine/server/retry-budget.ts";
import { contentOf } from "../../../src/engine/suspects.ts";
import { renderError } from "../../../src/gateway/errors.ts";
import { onceMore } from "../../../src/gateway/work.ts";
import { type Handler, type StubServer, sendEvents, sendJson, stubServer } from "../stub-server.ts";

const servers: StubServer[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.kill();
});

const probe: Probe = async (server) => void (await server.text({ path: "/health", timeoutMs: 5_000 }));
const answer = z.object({ value: z.number() });
const call = (question: string, seed = 1) => ({ path: "/ask", body: { question, seed }, answer });

/** Answers every question but "evil", of which it dies; `answering` says how it answers the others. */
async function mortal(
  answering: Handler = (_, response) => sendJson(response, { value: 1 }),
  dying: (server: StubServer, response: Parameters<Handler>[1]) => void = (server) => server.kill(),
): Promise<StubServer> {
  const server: StubServer = await stubServer((request, response) => {
    if (request.path === "/health") return void response.end();
    if (request.body.question === "evil") return dying(server, response);
    return answering(request, response);
  });
  servers.push(server);
  return server;
}

function over(
  stubs: readonly Pick<StubServer, "url">[],
  settings: Partial<RemoteSettings> = {},
  now = () => performance.now(),
): Replicas {
  const all = { name: "big", urls: stubs.map(({ url }) => url), timeoutMs: 60_000, retries: 2, ...settings };
  return new Replicas(all, { fetch, now, log: () => {} }, probe);
}

const asked = (stubs: readonly StubServer[], question: string): number =>
  stubs.flatMap(({ requests }) => requests).filter(({ path, body }) => path === "/ask" && body.question === question)
    .length;
const twice = <Value>(work: () => Promise<Value>): Promise<Value> => onceMore(work, () => false);
const settle = (stubs: readonly StubServer[], count: number) =>
  expect
    .poll(() => stubs.flatMap(({ requests }) => requests).filter(({ path }) => path === "/ask").length)
    .toBeGreaterThanOrEqual(count);

describe("a request of which a server dies", () => {
  it("is sent once where it was alone, and not again for a while, whatever its seed", async () => {
    let now = 0;
    const stubs = [await mortal(), await mortal(), await mortal()];
    const replicas = over(stubs, {}, () => now);
    await expect(twice(() => replicas.json(call("evil")))).rejects.toMatchObject({
      code: "engine_unavailable",
      isFinal: true,
    });
    expect(asked(stubs, "evil")).toBe(1);
    for (const seed of [1, 2, 3])
      await expect(twice(() => replicas.json(call("evil", seed)))).rejects.toMatchObject({
        code: "engine_unavailable",
        message: expect.stringContaining("not tried again"),
        retryAfter: 300,
      });
    expect(asked(stubs, "evil")).toBe(1);
    await expect(replicas.json(call("good"))).resolves.toEqual({ value: 1 });
    now += 300_001;
    await expect(replicas.json(call("evil"))).rejects.toMatchObject({ code: "engine_unavailable" });
    expect(asked(stubs, "evil")).toBe(2);
  });

  it("is sent at most once more where others were under way, which are answered all the same", async () => {
    const slow: Handler = (_, response) => void setTimeout(() => sendJson(response, { value: 1 }), 300);
    const stubs = [await mortal(slow), await mortal(), await mortal()];
    const replicas = over(stubs);
    const homes = Array.from({ length: 9 }, (_, i) => twice(() => replicas.json(call(`good ${i}`))));
    await settle(stubs, 9);
    const evil = twice(() => replicas.json(call("evil")));
    const outcomes = await Promise.allSettled([...homes, evil]);
    expect(outcomes.slice(0, -1).map(({ status }) => status)).toEqual(homes.map(() => "fulfilled"));
    expect(outcomes.at(-1)).toMatchObject({
      status: "rejected",
      reason: { code: "engine_unavailable", isFinal: true },
    });
    expect(asked(stubs, "evil")).toBeLessThanOrEqual(2);
    for (let i = 0; i < 9; i++) expect(asked(stubs, `good ${i}`)).toBeLessThanOrEqual(2);
    const before = asked(stubs, "evil");
    if (before === 2) await expect(replicas.json(call("evil"))).rejects.toMatchObject({ isFinal: true });
    expect(asked(stubs, "evil")).toBe(before);
  });

  it("ends two replicas at most, wherever its fellows are", async () => {
    const held: Handler = (_, response) => void setTimeout(() => sendEvents(response, [{ value: 1 }]), 200);
    const stubs = await Promise.all(Array.from({ length: 5 }, () => mortal(held)));
    const replicas = over(stubs);
    const read = async (question: string): Promise<number[]> => {
      const values: number[] = [];
      for await (const { value } of replicas.events(call(question))) values.push(value);
      return values;
    };
    const innocents = Array.from({ length: 20 }, (_, i) => twice(() => read(`good ${i}`)));
    await settle(stubs, 20);
    await expect(twice(() => read("evil"))).rejects.toMatchObject({ code: "engine_unavailable", isFinal: true });
    expect(await Promise.all(innocents)).toEqual(innocents.map(() => [1]));
    expect(asked(stubs, "evil")).toBe(2);
    await expect(twice(() => read("evil"))).rejects.toThrow("not tried again");
    expect(asked(stubs, "evil")).toBe(2);
    expect(await read("good")).toEqual([1]);
  });

  it("is sent twice at most where its server is up again at once", async () => {
    const stubs = [
      await mortal(undefined, (_, response) => response.destroy()),
      await mortal(undefined, (_, response) => response.destroy()),
    ];
    const replicas = over(stubs);
    for (let i = 0; i < 3; i++)
      await expect(twice(() => replicas.json(call("evil", i)))).rejects.toMatchObject({ code: "engine_unavailable" });
    expect(asked(stubs, "evil")).toBe(2);
    await expect(replicas.json(call("good"))).resolves.toEqual({ value: 1 });
  });

  it("is told apart where its server answers 500 as it dies", async () => {
    const dying = (server: StubServer, response: Parameters<Handler>[1]): void => {
      sendJson(response, { error: { message: "EngineCore encountered an issue." } }, 500);
      response.once("finish", () => server.kill());
    };
    const stubs = await Promise.all(Array.from({ length: 4 }, () => mortal(undefined, dying)));
    const replicas = over(stubs);
    for (let i = 0; i < 3; i++) await twice(() => replicas.json(call("evil", i))).catch(() => {});
    expect(asked(stubs, "evil")).toBeLessThanOrEqual(2);
    await expect(replicas.json(call("good"))).resolves.toEqual({ value: 1 });
  });
});

describe("a request that nothing is wrong with", () => {
  it("is sent once more after its server has ended with others, and is no suspect once it is answered", async () => {
    const never: Handler = () => {};
    const stubs = [await mortal(never), await mortal()] as const;
    const replicas = over(stubs);
    const prompt = (topic: number): number[] => [topic];
    const all = Array.from({ length: 30 }, (_, i) => replicas.json(call(`good ${i}`), prompt(i)));
    await settle(stubs, 30);
    stubs[0].kill();
    expect(await Promise.all(all)).toEqual(all.map(() => ({ value: 1 })));
    for (let i = 0; i < 30; i++) expect(asked(stubs, `good ${i}`)).toBeLessThanOrEqual(2);
  });

  it("is no suspect where its server was not there at all", async () => {
    const gone = await mortal();
    gone.kill();
    let now = 0;
    const replicas = over([gone], { retries: 0 }, () => now);
    for (let i = 0; i < 5; i++) {
      await expect(replicas.json(call("good"))).rejects.toMatchObject({
        message: expect.stringContaining("cannot be reached"),
      });
      now += 1;
    }
  });
});

describe("the budget of retries", () => {
  it("holds over all calls of an engine: a server that always fails gets a tenth more and a few", async () => {
    const requests = 60;
    const broken: Handler = ({ path }, response) =>
      path === "/health" ? void response.end() : sendJson(response, {}, 503);
    const stub = await stubServer(broken);
    servers.push(stub);
    const replicas = over([stub], { retries: 2 }, () => 0);
    const all = Array.from({ length: requests }, (_, i) => twice(() => replicas.json(call(`good ${i}`))));
    expect((await Promise.allSettled(all)).every(({ status }) => status === "rejected")).toBe(true);
    const sent = asked([stub], "good 0") && stub.requests.filter(({ path }) => path === "/ask").length;
    expect(sent).toBeGreaterThan(requests);
    expect(sent).toBeLessThanOrEqual(requests + requests / 10 + 10);
  });

  it("is earned by calls, and by time", () => {
    let now = 0;
    const budget = new RetryBudget(() => now);
    const spent = (): number => {
      let count = 0;
      while (budget.spend()) count += 1;
      return count;
    };
    expect(spent()).toBe(10);
    for (let i = 0; i < 25; i++) budget.earn();
    expect(spent()).toBe(2);
    now += 30_000;
    expect(spent()).toBe(3);
    now += 1e9;
    expect(spent()).toBe(10);
  });
});

it("who asks again is told so, and not to retry at once", async () => {
  const replicas = over([await mortal()]);
  await replicas.json(call("evil")).catch(() => {});
  const error = await replicas.json(call("evil", 2)).catch((thrown: unknown) => thrown);
  const { status, headers, body } = renderError(error);
  expect(status).toBe(503);
  expect(Number(headers["retry-after"])).toBeGreaterThan(290);
  expect(body.error).toMatchObject({
    code: "engine_unavailable",
    message: expect.stringContaining("is not tried again"),
  });
});

it("what is sent is the same content, whatever its seeds", () => {
  const request = { prompt: [1, 2], seed: 3, seeds: [4], logitBias: new Map([[1, 2]]) };
  expect(contentOf("/a", request)).toBe(contentOf("/a", { ...request, seed: 9, seeds: [8] }));
  expect(contentOf("/a", request)).not.toBe(contentOf("/a", { ...request, logitBias: new Map([[1, 3]]) }));
  expect(contentOf("/a", request)).not.toBe(contentOf("/b", request));
});
