/** One server by HTTP: what is sent, what is understood, and what each failure is called. Real local servers. */
import type { ServerResponse } from "node:http";
import { afterEach, describe, expect, it } from "vitest";
import { z } from "zod";
import type { RemoteSettings } from "../../../../src/engine/engines.ts";
import { RemoteServer } from "../../../../src/engine/server/remote.ts";
import { type Handler, type StubServer, sendEvents, sendJson, stubServer } from "../../stub-server.ts";

const servers: StubServer[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.kill();
});

async function serve(handler: Handler, settings: Partial<RemoteSettings> = {}) {
  const stub = await stubServer(handler);
  servers.push(stub);
  const words: string[] = [];
  return { stub, server: remote(stub.url, settings, words), words };
}

function remote(url: string, settings: Partial<RemoteSettings> = {}, words: string[] = []): RemoteServer {
  const world = { fetch, now: () => 0, log: () => {}, words: (line: string) => words.push(line) };
  return new RemoteServer(url, { urls: [url], timeoutMs: 60_000, retries: 0, ...settings }, world);
}

const answer = z.object({ value: z.number() });
const call = { path: "/things", body: { question: 1 }, answer };
const failing = (status: number, body: unknown, headers = {}): Handler => {
  return (_, response) => sendJson(response, body, status, headers);
};

async function collect<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const all: Item[] = [];
  for await (const item of items) all.push(item);
  return all;
}

describe("a call", () => {
  it("sends JSON with the key, and reads what it needs of the answer", async () => {
    const { stub, server } = await serve((_, response) => sendJson(response, { value: 3, more: true }), {
      apiKey: "secret",
    });
    expect(await server.json(call)).toEqual({ value: 3 });
    expect(stub.requests[0]).toMatchObject({ path: "/things", body: { question: 1 } });
    expect(stub.requests[0]?.headers.authorization).toBe("Bearer secret");
  });

  it("says what else its engine's calls say, and nothing in place of what it must say", async () => {
    const headers = { "CF-Access-Client-Id": "id", "content-type": "text/plain", authorization: "none" };
    const { stub, server } = await serve((_, response) => sendJson(response, { value: 3 }), {
      apiKey: "secret",
      headers,
    });
    await server.json(call);
    expect(stub.requests[0]?.headers).toMatchObject({
      "cf-access-client-id": "id",
      "content-type": "application/json",
      authorization: "Bearer secret",
    });
  });

  it("is a GET without a key where there is neither body nor key", async () => {
    const { stub, server } = await serve((_, response) => void response.end("fine"));
    expect(await server.text({ path: "/health" })).toBe("fine");
    expect(stub.requests[0]?.body).toBeUndefined();
    expect(stub.requests[0]?.headers.authorization).toBeUndefined();
  });

  it.each([
    [400, { error: { message: "This model's maximum context length is 5 tokens." } }, "context_length_exceeded"],
    [
      400,
      { error: { message: "the request exceeds the available context size", type: "exceed_context_size_error" } },
      "context_length_exceeded",
    ],
    [400, { error: { message: "logit_bias is odd" } }, "invalid_request"],
    [422, { detail: [{ msg: "Field required" }] }, "invalid_request"],
    [401, { error: "Unauthorized" }, "engine_failure"],
    [404, { error: { message: "The model `x` does not exist." } }, "engine_failure"],
    [429, { message: "slow down" }, "overloaded"],
    [500, { error: { message: "broken" } }, "engine_unavailable"],
    [503, "", "engine_unavailable"],
  ])("answered with %i %j is %s, with the server's address and none of its words", async (status, body, code) => {
    const { stub, server } = await serve(failing(status, body));
    const error = await server.json(call).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code,
      message: expect.stringContaining(`${stub.url} answered /things with ${status}`),
    });
    const words = /"(?:message|msg|error)":"([^"]*)"/u.exec(JSON.stringify(body))?.[1];
    if (words !== undefined) expect((error as Error).message).not.toContain(words);
  });

  it("passes on when to come back", async () => {
    const { server } = await serve(failing(429, {}, { "retry-after": "7" }));
    await expect(server.json(call)).rejects.toMatchObject({ code: "overloaded", retryAfter: 7 });
  });

  it("never shows the key, nor a password in the address", async () => {
    const { server, words } = await serve(failing(401, { error: { message: "Incorrect API key provided: secret" } }), {
      apiKey: "secret",
    });
    const error = await server.json(call).catch((thrown: unknown) => thrown);
    expect((error as Error).message).not.toContain("secret");
    expect(words.join()).toContain("Incorrect API key provided: …");
    expect(remote("http://me:pass@host:1").name).toBe("http://host:1");
  });

  it("of an answer that is not understood says what is missing", async () => {
    const { server } = await serve((_, response) => sendJson(response, { value: "three" }));
    await expect(server.json(call)).rejects.toMatchObject({
      code: "engine_failure",
      message: expect.stringContaining("value"),
    });
    const { server: other } = await serve((_, response) => void response.end("<html>"));
    await expect(other.json(call)).rejects.toMatchObject({ code: "engine_failure" });
  });

  it("to nobody is unavailable", async () => {
    const { stub, server } = await serve(() => {});
    stub.kill();
    await expect(server.json(call)).rejects.toMatchObject({
      code: "engine_unavailable",
      message: expect.stringContaining(`${stub.url} cannot be reached`),
    });
  });

  it("to a server that is silent for too long is unavailable, and hung up", async () => {
    const { stub, server } = await serve(() => {}, { timeoutMs: 30 });
    await expect(server.json(call)).rejects.toMatchObject({
      code: "engine_unavailable",
      message: expect.stringContaining("sent nothing for 30 ms"),
    });
    await expect.poll(() => stub.abandoned).toEqual(["/things"]);
  });

  it("hangs up when its signal fires, and says why", async () => {
    const leave = new AbortController();
    const { stub, server } = await serve(() => leave.abort());
    await expect(server.json({ ...call, signal: leave.signal })).rejects.toMatchObject({ code: "cancelled" });
    await expect.poll(() => stub.abandoned).toEqual(["/things"]);
    await expect(
      server.json({ ...call, signal: AbortSignal.abort(new DOMException("late", "TimeoutError")) }),
    ).rejects.toMatchObject({
      code: "timeout",
    });
  });
});

describe("what a server says itself", () => {
  const prompt = 'My secret: tulips\r\n{"level":"error"}\u001b[2J\u009b2J\u2028';

  it.each([
    [
      "an error",
      400,
      { error: { message: `Cannot take ${prompt}`, code: `bad ${prompt}`, type: "invalid_request_error" } },
    ],
    ["an error of FastAPI's", 422, { detail: [{ loc: ["body"], msg: prompt, input: prompt }] }],
    ["an error that is no JSON", 500, prompt],
    ["an error after 200", 200, { error: { message: prompt, code: 500 } }],
    ["an answer of another shape", 200, { value: prompt, [prompt]: { [prompt]: 1 } }],
  ])("in %s stands in no message, and is told escaped and cut where words are wanted", async (_, status, body) => {
    const { server, words, stub } = await serve((_, response) => sendJson(response, body, status), { name: "big" });
    const error = (await server
      .json({ ...call, answer: z.record(z.string(), z.number()) })
      .catch((thrown: unknown) => thrown)) as Error;
    expect(error.message).toContain('The engine "big"');
    expect(`${error.stack} ${JSON.stringify(error)}`).not.toContain("tulips");
    expect(error.message).not.toContain(stub.url);
    for (const line of words) {
      expect(line).toContain("tulips");
      // biome-ignore lint/suspicious/noControlCharactersInRegex: there must be none
      expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028]/u);
    }
    expect(words).toHaveLength(status === 200 && !("error" in (body as object)) ? 0 : 1);
    const { server: chatty, words: long } = await serve(failing(500, { error: { message: "x".repeat(10_000) } }));
    await chatty.json(call).catch(() => {});
    expect((long[0] as string).length).toBeLessThan(500);
  });

  it("is a code only where it looks like one", async () => {
    const { server } = await serve(failing(400, { error: { message: "no", code: "model_overloaded" } }));
    await expect(server.json(call)).rejects.toThrow("answered /things with 400 (model_overloaded).");
    const { server: other } = await serve(failing(400, { error: { message: "no", code: "two words", type: "odd" } }));
    await expect(other.json(call)).rejects.toThrow("answered /things with 400 (odd).");
  });
});

describe("a stream", () => {
  it("gives each event's data until [DONE], comments apart", async () => {
    const { server } = await serve((_, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(': hello\n\ndata: {"value": 1}\n\nda');
      response.end('ta: {"value": 2}\n\ndata: [DONE]\n\ndata: {"value": 3}\n\n');
    });
    expect(await collect(server.events(call))).toEqual([{ value: 1 }, { value: 2 }]);
  });

  it("keeps a character that comes in two pieces whole", async () => {
    const bytes = Buffer.from('data: {"text": "é"}\n\ndata: [DONE]\n\n');
    const middle = bytes.indexOf(0xc3) + 1;
    const { server } = await serve(async (_, response) => {
      response.write(bytes.subarray(0, middle));
      await new Promise((resolve) => setTimeout(resolve, 5));
      response.end(bytes.subarray(middle));
    });
    expect(await collect(server.events({ ...call, answer: z.object({ text: z.string() }) }))).toEqual([{ text: "é" }]);
  });

  it("that breaks off, in whatever way, is unavailable", async () => {
    const begin = (response: ServerResponse): void => void response.write('data: {"value": 1}\n\n');
    // What has not been read when a connection is reset may be lost.
    let breakOff = (): void => {};
    const cut = await serve((_, response) => {
      begin(response);
      breakOff = () => response.destroy();
    });
    const ended = await serve((_, response) => {
      begin(response);
      response.end();
    });
    for (const { server } of [cut, ended]) {
      const values: number[] = [];
      const reading = (async () => {
        for await (const { value } of server.events(call)) {
          values.push(value);
          breakOff();
        }
      })();
      await expect(reading).rejects.toMatchObject({ code: "engine_unavailable" });
      expect(values).toEqual([1]);
    }
  });

  it("throws the error that stands in it", async () => {
    const { server } = await serve((_, response) =>
      sendEvents(response, [{ value: 1 }, { error: { message: "maximum context length", code: 400 } }]),
    );
    await expect(collect(server.events(call))).rejects.toMatchObject({ code: "context_length_exceeded" });
    const { server: other } = await serve((_, response) =>
      sendEvents(response, [{ error: { message: "dead", code: 500 } }]),
    );
    await expect(collect(other.events(call))).rejects.toMatchObject({ code: "engine_unavailable" });
  });

  it("is hung up when it is left", async () => {
    const { stub, server } = await serve((_, response) => void response.write('data: {"value": 1}\n\n'));
    for await (const { value } of server.events(call)) {
      expect(value).toBe(1);
      break;
    }
    await expect.poll(() => stub.abandoned).toEqual(["/things"]);
  });
});
