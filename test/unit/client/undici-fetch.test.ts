import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { fetchUnmoved } from "../../../src/client/redirect.ts";
import { openConnections } from "../../../src/client/undici-fetch.ts";

let server: Server | undefined;
const connections = openConnections();

async function serve(listener: RequestListener): Promise<string> {
  server = createServer(listener);
  await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

afterEach(() => {
  server?.close();
  server?.closeAllConnections();
});

const { signal } = new AbortController();

async function read(body: AsyncIterable<Uint8Array> | null): Promise<string> {
  const pieces: Uint8Array[] = [];
  for await (const piece of body ?? []) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

describe("calls to engines", () => {
  it("carry method, headers and body, and bring back status, headers and body", async () => {
    const asked: Pick<IncomingMessage, "method" | "headers">[] = [];
    const url = await serve((request, response) => {
      asked.push(request);
      response.writeHead(429, { "retry-after": "7" });
      request.pipe(response);
    });
    const init = {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '{"a":"ü"}',
      signal,
    } as const;
    const answer = await connections.fetch(`${url}/v1`, init);
    expect(answer).toMatchObject({ ok: false, status: 429 });
    expect(answer.headers.get("retry-after")).toBe("7");
    expect(answer.headers.get("x-none")).toBeNull();
    expect(await read(answer.body)).toBe('{"a":"ü"}');
    expect(asked[0]).toMatchObject({
      method: "POST",
      headers: { "content-type": "application/json", "user-agent": "icdpo-gateway" },
    });
  });

  it("use connections again when all has been read", async () => {
    const sockets = new Set<unknown>();
    const url = await serve((request, response) => {
      sockets.add(request.socket);
      response.end("ok");
    });
    for (let i = 0; i < 10; i++)
      expect(await read((await connections.fetch(url, { method: "GET", headers: {}, signal })).body)).toBe("ok");
    // The next call may come before the last connection is known to be free.
    expect(sockets.size).toBeLessThanOrEqual(2);
  });

  it("hang up when the signal fires in the middle of an answer", async () => {
    const controller = new AbortController();
    const gone = new Promise<void>((resolve) => {
      void serve((_, response) => {
        response.on("close", resolve);
        response.write("first");
      }).then(async (url) => {
        const { body } = await connections.fetch(url, { method: "GET", headers: {}, signal: controller.signal });
        const reading = read(body);
        controller.abort();
        await expect(reading).rejects.toThrow();
      });
    });
    await gone;
  });

  it("hang up when the reader leaves", async () => {
    let isGone = (): void => {};
    const gone = new Promise<void>((resolve) => {
      isGone = resolve;
    });
    const url = await serve((_, response) => {
      response.on("close", isGone);
      response.write("first");
    });
    const { body } = await connections.fetch(url, { method: "GET", headers: {}, signal });
    for await (const _ of body ?? []) break;
    await gone;
  });

  it("fail when all connections are closed, those that wait for an answer as well", async () => {
    const own = openConnections();
    let begin = (): void => {};
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const url = await serve(() => begin());
    const waiting = own.fetch(url, { method: "GET", headers: {}, signal });
    const failed = expect(waiting).rejects.toThrow();
    await begun;
    await own.close();
    await failed;
    await expect(own.fetch(url, { method: "GET", headers: {}, signal })).rejects.toThrow();
  });

  it("say why there is no connection", async () => {
    const url = await serve(() => {});
    await new Promise((resolve) => server?.close(resolve));
    await expect(connections.fetch(url, { method: "GET", headers: {}, signal })).rejects.toMatchObject({
      code: "ECONNREFUSED",
    });
  });

  it.each([301, 302, 303, 307, 308])("go no further than where they are sent: %i", async (status) => {
    let followed = 0;
    const elsewhere = createServer((_, response) => {
      followed += 1;
      response.end("gone along");
    });
    await new Promise<void>((resolve) => elsewhere.listen(0, "127.0.0.1", resolve));
    const location = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/v1`;
    const url = await serve((_, response) => response.writeHead(status, { location }).end("moved"));
    const init = { method: "POST", headers: { authorization: "Bearer secret" }, body: "a prompt" } as const;
    const isRefused = {
      code: "engine_failure",
      message: expect.stringContaining("not followed"),
      cause: { message: expect.stringContaining(location.slice(0, -3)) },
    };
    for (const going of [
      connections.fetch(`${url}/v1`, { ...init, signal }),
      fetchUnmoved(`${url}/v1`, init),
      fetchUnmoved(new Request(url, init)),
    ]) {
      const error = await going.catch((thrown: unknown) => thrown);
      expect(error).toMatchObject(isRefused);
      // Clients are not told of the inside.
      expect((error as Error).message).not.toContain("127.0.0.1");
    }
    expect(followed).toBe(0);
    elsewhere.close();
  });
});
