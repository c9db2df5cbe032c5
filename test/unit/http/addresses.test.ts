import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { getRequestListener } from "@hono/node-server";
import { describe, expect, it } from "vitest";
import { hashKey } from "../../../src/access/access.ts";
import type { RequestEnd } from "../../../src/gateway/observation.ts";
import { canonical } from "../../../src/http/addresses.ts";
import { gateway, json, SilentObserver } from "../scripted-gateway.ts";

const headers = { "content-type": "application/json" };
const body = JSON.stringify({ model: "plain", messages: [{ role: "user", content: "Hi" }] });

/** As clients put them together; each with the pattern that metrics know. */
const spelled = [
  "//v1/chat/completions",
  "/v1//chat/completions",
  "/v1/chat/completions/",
  "/v1/v1/chat/completions",
  "/v1/v1/v1/chat/completions/",
  "/chat/completions",
  "//chat/completions/",
].flatMap((path) => [
  [path, "/v1/chat/completions"],
  [`/routes/plain${path}`, "/routes/:route/v1/chat/completions"],
]) as [string, string][];

/** A gateway that notes how requests end. */
async function watched(options: Parameters<typeof gateway>[1] = {}) {
  const ends: RequestEnd[] = [];
  class EndObserver extends SilentObserver {
    override end = (end: RequestEnd) => void ends.push(end);
  }
  const telemetry = {
    observe: () => new EndObserver(),
    metrics: async () => ({ contentType: "text/plain", body: "" }),
  };
  const { app } = await gateway({}, { telemetry, ...options });
  const post = (path: string, more: Record<string, string> = {}) =>
    app.fetch(new Request(`http://localhost${path}`, { method: "POST", headers: { ...headers, ...more }, body }));
  return { app, post, ends };
}

describe("an address", () => {
  it.each(spelled)("%s is served, and metrics call it %s", async (path, pattern) => {
    const { post, ends } = await watched();
    const response = await post(path);
    expect((await json(response)).choices[0].message.content).toBe("Candidate number 0.");
    expect(ends).toEqual([{ path: pattern, status: 200 }]);
  });

  it.each(spelled)("%s passes the same doors", async (path) => {
    const keys = [{ name: "alice", hash: await hashKey("secret"), routes: null, limits: {} }];
    const { post } = await watched({ keys });
    expect((await post(path)).status).toBe(401);
    expect((await post(path, { authorization: "Bearer secret" })).status).toBe(200);
  });

  it.each([
    ["/models/", "/v1/models"],
    ["/models/plain", "/v1/models/plain"],
    ["/routes/plain/models", "/routes/plain/v1/models"],
    ["/embeddings", "/v1/embeddings"],
    ["/completions", "/v1/completions"],
    ["/responses", "/v1/responses"],
    ["/messages/count_tokens", "/v1/messages/count_tokens"],
    ["/score/", "/v1/score"],
    ["/v1/experiments/", "/v1/experiments"],
    ["/health/", "/health"],
    ["/", "/"],
    ["//", "/"],
    ["/experiments/", "/experiments"],
    ["/experiments/ab", "/experiments/ab"],
    ["/routes/plain", "/routes/plain"],
    ["/v1", "/v1"],
  ])("%s is %s", (path, expected) => expect(canonical(path)).toBe(expected));

  it("is found over HTTP with two slashes, too", async () => {
    const { app } = await gateway();
    const server = createServer(getRequestListener(app.fetch));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      const { port } = server.address() as AddressInfo;
      expect((await fetch(`http://127.0.0.1:${port}//v1//models/`)).status).toBe(200);
    } finally {
      server.close();
      server.closeAllConnections();
    }
  });

  it.each([
    ["POST", "/api/v1/chat/completions", "Did you mean POST /v1/chat/completions?"],
    ["POST", "/openai/chat/completions", "Did you mean POST /v1/chat/completions?"],
    ["GET", "/v1/chat/completions", "Did you mean POST /v1/chat/completions?"],
    ["GET", "/v1/", "The API's base URL ends in /v1."],
    ["POST", "/api/chat", "The API's base URL ends in /v1."],
  ])("that there is not is told what may have been meant: %s %s", async (method, path, expected) => {
    const { app } = await gateway();
    const response = await app.fetch(new Request(`http://localhost${path}`, { method }));
    expect(response.status).toBe(404);
    expect((await json(response)).error.message).toContain(expected);
  });
});
