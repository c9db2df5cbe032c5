import { afterEach, describe, expect, it } from "vitest";
import { remoteEmbedder } from "../../../src/retrieval/remote-embedder.ts";
import { type Handler, type StubServer, stubServer } from "../stub-server.ts";

const world = { fetch, now: () => performance.now(), log: () => {} };
let server: StubServer;

afterEach(() => server.kill());

/** [length, 1] of each text, last text first; three tokens a text, and one more a call. */
const lengths: Handler = ({ body }, response) => {
  const data = body.input.map((text: string, index: number) => ({ index, embedding: [text.length, 1] })).toReversed();
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify({ data, usage: { prompt_tokens: 3 * body.input.length + 1 } }));
};

async function embedder(handler: Handler = lengths, kept?: Parameters<typeof remoteEmbedder>[2]) {
  server = await stubServer(handler);
  return remoteEmbedder(
    { urls: [server.url], model: "short", apiKey: "secret", timeoutMs: 60_000, retries: 0 },
    world,
    kept,
  );
}

describe("embeddings of a server", () => {
  it("are in the texts' order, of length 1, and asked for in portions", async () => {
    const { embed, model, name } = await embedder();
    const texts = Array.from({ length: 300 }, (_, i) => "x".repeat(i + 1));
    const embeddings = await embed(texts);
    for (const [i, [a = 0, b = 0]] of embeddings.entries()) {
      expect(Math.hypot(a, b)).toBeCloseTo(1, 6);
      expect(a / b).toBeCloseTo(i + 1, 2);
    }
    expect(server.requests.map(({ body }) => body.input.length)).toEqual([128, 128, 44]);
    expect(server.requests[0]).toMatchObject({
      path: "/v1/embeddings",
      body: { model: "short", encoding_format: "float" },
    });
    expect(server.requests[0]?.headers.authorization).toBe("Bearer secret");
    expect([name, model]).toEqual(["short", `short@${server.url}`]);
  });

  it("are asked for of a space where a text is empty, which servers refuse", async () => {
    const { embed } = await embedder();
    await embed(["", "a"]);
    expect(server.requests[0]?.body.input).toEqual([" ", "a"]);
  });

  it("count tokens as the server does, in sum", async () => {
    const { embedCounted } = await embedder();
    const counted = await embedCounted(["one", "twenty-one characters", "two"]);
    expect(counted.map(({ tokens }) => tokens)).toEqual([1, 8, 1]);
  });

  it("count four characters a token where the server does not count", async () => {
    const { embedCounted } = await embedder(({ body }, response) => {
      response.end(JSON.stringify({ data: body.input.map((_: string, index: number) => ({ index, embedding: [1] })) }));
    });
    expect((await embedCounted(["a text that nobody knows"])).map(({ tokens }) => tokens)).toEqual([6]);
  });

  it("are asked for once where they can be kept, each text once", async () => {
    const known = new Map<string, Float32Array>([["old", Float32Array.of(0, 1)]]);
    const { embedKept, model } = await embedder(lengths, {
      get: async (of, texts) => texts.map((text) => (of === model ? known.get(text) : undefined)),
      put: async (_, embeddings) => {
        for (const [text, embedding] of embeddings) known.set(text, embedding);
      },
    });
    const embeddings = await embedKept(["new", "old", "new"]);
    expect(embeddings[0]).toEqual(embeddings[2]);
    expect(embeddings[1]).toEqual(Float32Array.of(0, 1));
    await embedKept(["old", "new"]);
    expect(server.requests.map(({ body }) => body.input)).toEqual([["new"]]);
  });

  it("fail where the server refuses, and where one is missing", async () => {
    const refusing = await embedder(
      (_, response) => void response.writeHead(404).end('{"error": {"message": "no model short"}}'),
    );
    await expect(refusing.embed(["x"])).rejects.toMatchObject({
      code: "engine_failure",
      message: expect.stringContaining("answered /v1/embeddings with 404"),
    });
    server.kill();
    const lacking = await embedder((_, response) => void response.end('{"data": [{"index": 1, "embedding": [1]}]}'));
    await expect(lacking.embed(["x"])).rejects.toMatchObject({ code: "engine_failure" });
    server.kill();
    await expect(lacking.embed(["x"])).rejects.toMatchObject({ code: "engine_unavailable" });
  });

  it("are waited for no longer than the signal allows", async () => {
    const { embed } = await embedder(() => {});
    const controller = new AbortController();
    const asked = embed(["x"], controller.signal);
    await expect.poll(() => server.requests.length).toBe(1);
    controller.abort();
    await expect(asked).rejects.toMatchObject({ code: "cancelled" });
    await expect.poll(() => server.abandoned).toEqual(["/v1/embeddings"]);
  });
});
