import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { load, type Target } from "../../../bench/load.ts";

const servers: Server[] = [];

async function target(listener: RequestListener): Promise<Target> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/chat/completions`;
  return { name: "it", url, headers: { "x-from": "here" }, model: "stub" };
}

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

const { signal } = new AbortController();

describe("the load client", () => {
  it("sends so many requests, so many at once, on as many connections", async () => {
    const sockets = new Set<unknown>();
    const asked: unknown[] = [];
    let [under, most] = [0, 0];
    const it = await target(async (request, response) => {
      sockets.add(request.socket);
      under += 1;
      most = Math.max(most, under);
      let body = "";
      for await (const piece of request) body += piece;
      asked.push({ ...JSON.parse(body), from: request.headers["x-from"] });
      setImmediate(() => {
        under -= 1;
        response.end("{}");
      });
    });
    const { latencies, requestsPerSecond } = await load(it, { count: 40, concurrency: 4, stream: true }, signal);
    expect(latencies).toHaveLength(40);
    expect(latencies).toEqual(latencies.toSorted((a, b) => a - b));
    expect(requestsPerSecond).toBeGreaterThan(0);
    expect(asked).toHaveLength(40);
    expect(asked[0]).toMatchObject({ model: "stub", stream: true, from: "here" });
    expect(most).toBeLessThanOrEqual(4);
    expect(sockets.size).toBe(4);
  });

  it.each([
    ["is refused", (response: Parameters<RequestListener>[1]) => response.writeHead(500).end()],
    ["breaks off", (response: Parameters<RequestListener>[1]) => response.write("data", () => response.destroy())],
  ])("fails where an answer %s", async (_, answer) => {
    const it = await target((request, response) => {
      request.resume();
      answer(response);
    });
    await expect(load(it, { count: 2, concurrency: 1, stream: false }, signal)).rejects.toThrow();
  });
});
