/** What is read of a server that sends more than it was asked for. Real local servers, which send without end. */
import { gzipSync } from "node:zlib";
import { afterEach, describe, expect, it } from "vitest";
import { z } from "zod";
import {
  answerTo,
  describedAnswer,
  embeddedAnswer,
  errorBytes,
  sampledAnswer,
  vocabularyAnswer,
} from "../../../src/client/answer-size.ts";
import type { Fetch } from "../../../src/client/fetch.ts";
import { openConnections } from "../../../src/client/undici-fetch.ts";
import { RemoteServer } from "../../../src/engine/server/remote.ts";
import { type Handler, type StubServer, stubServer } from "../stub-server.ts";

const servers: StubServer[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.kill();
});

const megabyte = 2 ** 20;
const piece = Buffer.alloc(megabyte / 16, "a");

/** Sends for as long as anybody reads; resolves with the bytes that went out. */
function endless(beginning: string, status = 200, most = 64 * megabyte): { handler: Handler; sent: () => number } {
  let sent = 0;
  const handler: Handler = (_, response) => {
    response.writeHead(status, { "content-type": "text/event-stream" }).write(beginning);
    const go = (): void => {
      while (!response.destroyed && sent < most) {
        sent += piece.length;
        if (!response.write(piece)) return void response.once("drain", go);
      }
      response.end();
    };
    go();
  };
  return { handler, sent: () => sent };
}

async function serve(
  handler: Handler,
  own: Fetch = openConnections().fetch,
): Promise<{ server: RemoteServer; stub: StubServer }> {
  const stub = await stubServer(handler);
  servers.push(stub);
  const settings = { name: "big", urls: [stub.url], timeoutMs: 60_000, retries: 0 };
  return { server: new RemoteServer(stub.url, settings, { fetch: own, now: () => 0, log: () => {} }), stub };
}

const answer = z.object({ value: z.string() });
const call = { path: "/ask", body: { question: 1 }, answer };

async function readAll(events: AsyncIterable<unknown>): Promise<unknown[]> {
  const all: unknown[] = [];
  for await (const event of events) all.push(event);
  return all;
}

/** What systems and libraries hold between a writer and a reader who has stopped. */
const underway = 8 * megabyte;

describe("more than was asked for", () => {
  it.each([
    ["a body", '{"value": "', answerTo("").whole, (server: RemoteServer) => server.json(call)],
    ["a line without end", "data: ", answerTo("").event, (server: RemoteServer) => readAll(server.events(call))],
    [
      "an event of endless lines",
      `data: ${"x\ndata: ".repeat(1000)}`,
      answerTo("").event,
      (s: RemoteServer) => readAll(s.events(call)),
    ],
    ["a comment without end", ": ", answerTo("").event, (server: RemoteServer) => readAll(server.events(call))],
  ])("as %s is not read: the connection is closed, and the engine named", async (_, beginning, most, ask) => {
    const { handler, sent } = endless(beginning);
    const { server, stub } = await serve(handler);
    const error = await ask(server).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: "engine_failure",
      message: expect.stringMatching(/^The engine "big" sent .* more than \d+ bytes/u),
    });
    await expect.poll(() => stub.abandoned).toEqual(["/ask"]);
    expect(sent()).toBeLessThan(most + underway);
  });

  it("is not read of an error either, which stays what it is", async () => {
    const { handler, sent } = endless('{"error": {"message": "', 400);
    const { server, stub } = await serve(handler);
    await expect(server.json(call)).rejects.toMatchObject({ code: "invalid_request" });
    await expect.poll(() => stub.abandoned).toEqual(["/ask"]);
    expect(sent()).toBeLessThan(errorBytes + underway);
  });

  it("counts unpacked: little that becomes much is too much", async () => {
    const bomb = gzipSync(`{"value": "${"a".repeat(64 * megabyte)}"}`);
    expect(bomb.length).toBeLessThan(megabyte);
    // This one unpacks, as a worker's does.
    const { server } = await serve(
      (_, response) => void response.writeHead(200, { "content-encoding": "gzip" }).end(bomb),
      fetch as Fetch,
    );
    await expect(server.json(call)).rejects.toMatchObject({
      code: "engine_failure",
      message: expect.stringContaining("bytes"),
    });
  });

  it("as many small events is too much as well, for what was asked", async () => {
    const { server } = await serve((_, response) => {
      const events = 'data: {"value": "a"}\n\n'.repeat(10_000);
      const go = (): void => {
        while (!response.destroyed) if (!response.write(events)) return void response.once("drain", go);
      };
      go();
    });
    const size = { whole: megabyte, event: 1000 };
    let events = 0;
    const reading = (async () => {
      for await (const _ of server.events({ ...call, size })) events += 1;
    })();
    await expect(reading).rejects.toMatchObject({ code: "engine_failure" });
    expect(events).toBeLessThan(megabyte / 20);
  });
});

it("a server that trickles is given up, where nobody else would", async () => {
  let trickle: NodeJS.Timeout | undefined;
  const { server, stub } = await serve((_, response) => {
    response.writeHead(200);
    trickle = setInterval(() => response.write(" "), 5);
  });
  await expect(server.text({ path: "/health", timeoutMs: 200 })).rejects.toMatchObject({
    code: "engine_unavailable",
    message: expect.stringContaining("has not sent all of its answer within 200 ms"),
  });
  await expect.poll(() => stub.abandoned).toEqual(["/health"]);
  clearInterval(trickle);
});

it("sizes hold what servers send", () => {
  const text = "😀".repeat(1000);
  const bytes = Buffer.from(text).length;
  const tokenised = JSON.stringify({ tokens: Array(bytes).fill(151_000), token_strs: Array(bytes).fill("ðŁ") });
  expect(tokenised.length).toBeLessThan(answerTo(JSON.stringify({ prompt: text })).whole);
  const alternative = { token: "<0xF0>", logprob: -12.345678901234567, bytes: [240, 159, 152, 128] };
  const chunk = {
    id: `chatcmpl-${"x".repeat(36)}`,
    object: "chat.completion.chunk",
    created: 1e9,
    model: "m".repeat(100),
    choices: [],
  };
  const events = 500 * JSON.stringify({ ...chunk, choices: Array(20).fill(alternative) }).length;
  expect(events).toBeLessThan(sampledAnswer(500, 20).whole);
  expect(JSON.stringify(Array(8192).fill(-0.012345678901)).length * 128).toBeLessThan(embeddedAnswer(128).whole);
  expect(JSON.stringify(Array(4000).fill({ ...alternative, top: Array(20).fill(alternative) })).length).toBeLessThan(
    describedAnswer([4000], 20).event,
  );
  expect(
    JSON.stringify(Array(150_000).fill({ id: 150_000, piece: [240, 159, 152, 128, 240, 159] })).length,
  ).toBeLessThan(vocabularyAnswer(150_000).whole);
});
