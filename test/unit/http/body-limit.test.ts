/** Bodies that are refused: nobody reads them. Over real connections. */
import { Agent, createServer, type IncomingMessage, type RequestOptions, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { getRequestListener } from "@hono/node-server";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hashKey } from "../../../src/access/access.ts";
import { gateway } from "../scripted-gateway.ts";

const megabyte = 2 ** 20;
const maxBodyBytes = 10 * megabyte;
const chunk = Buffer.alloc(megabyte, "x");
let server: Server;
let port: number;

beforeAll(async () => {
  const keys = [{ name: "one", hash: await hashKey("secret-one"), routes: null, limits: {} }];
  const { app } = await gateway({}, { keys, maxBodyBytes });
  server = createServer(getRequestListener(app.fetch));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  port = (server.address() as AddressInfo).port;
});
afterAll(() => {
  server.close();
  server.closeAllConnections();
});

async function textOf(response: IncomingMessage): Promise<string> {
  let text = "";
  for await (const piece of response) text += piece;
  return text;
}

/** Sends so many megabytes, as long as the other side takes them. */
async function send(options: RequestOptions, megabytes: number) {
  let sent = 0;
  const headers = { "content-type": "application/json", ...options.headers };
  const asked = request({ host: "127.0.0.1", port, method: "POST", path: "/v1/chat/completions", ...options, headers });
  const cut = { status: undefined, text: "", reused: false };
  const answer = new Promise<{ status: number | undefined; text: string; reused: boolean }>((resolve) => {
    asked.on("response", (response) => {
      const { statusCode: status } = response;
      textOf(response).then(
        (text) => resolve({ status, text, reused: asked.reusedSocket }),
        () => resolve({ ...cut, status }),
      );
    });
    // In the middle of what it sends, before it has read what was answered.
    asked.on("error", () => resolve(cut));
  });
  const closed = new Promise((resolve) => asked.once("close", resolve));
  for (; sent < megabytes && !asked.destroyed; sent++)
    if (!asked.write(chunk)) await Promise.race([new Promise((resolve) => asked.once("drain", resolve)), closed]);
  if (!asked.destroyed) asked.end();
  return { ...(await answer), sent };
}

const memory = (): number => {
  const { heapUsed, external, arrayBuffers } = process.memoryUsage();
  return heapUsed + external + arrayBuffers;
};

describe("a body that is refused", () => {
  it.each([
    ["without a key", "/v1/chat/completions", 401],
    ["for an unknown address", "/v2/whatever", 404],
    ["for the page, with a key that is too long", "/sign-in", 413],
  ])("is not kept, however long it is: %s", async (_, path, status) => {
    const before = memory();
    const { status: got, sent } = await send({ path }, 600);
    expect([status, undefined]).toContain(got);
    expect(sent).toBeLessThan(150);
    expect(memory() - before).toBeLessThan(100 * megabyte);
  });

  it("is not kept where it says itself that it is too long", async () => {
    const before = memory();
    const headers = { authorization: "Bearer secret-one", "content-length": 600 * megabyte };
    const { status, sent } = await send({ headers }, 600);
    expect([413, undefined]).toContain(status);
    expect(sent).toBeLessThan(150);
    expect(memory() - before).toBeLessThan(100 * megabyte);
  });

  it("is a little too long, and its client is told so", async () => {
    for (const length of [{ "content-length": 12 * megabyte }, {}]) {
      const { status, text } = await send({ headers: { authorization: "Bearer secret-one", ...length } }, 12);
      expect(status).toBe(413);
      expect(text).toContain("payload_too_large");
    }
  });

  it("is read no further than the limit where it does not say how long it is", async () => {
    const before = memory();
    const { status, sent } = await send({ headers: { authorization: "Bearer secret-one" } }, 600);
    expect([413, undefined]).toContain(status);
    expect(sent).toBeLessThan(150);
    expect(memory() - before).toBeLessThan(100 * megabyte);
  });

  it("leaves its connection to the next request where it is short", async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const first = await send({ agent, headers: { "content-length": megabyte } }, 1);
    const second = await send({ agent, headers: { "content-length": megabyte } }, 1);
    expect([first.status, second.status]).toEqual([401, 401]);
    expect(second.reused).toBe(true);
    agent.destroy();
  });
});
