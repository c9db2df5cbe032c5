/**
 * The built worker in workerd, without Node's modules: with D1, KV and a Durable Object on this machine, and engines
 * over HTTP.
 */
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import type OpenAI from "openai";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { needing } from "../needs.ts";
import { startLibsqlServer } from "./libsql-server.ts";
import { slowly, startVllmStub, type VllmStub, worse } from "./vllm-stub.ts";
import { built, putFiles, type RunningWorker, startWorker } from "./worker.ts";

const demonstrations = [
  {
    id: "tea",
    messages: [{ role: "user", content: "How do I brew tea?" }],
    chosen: "Warm the pot first.",
    rejected: worse,
  },
  {
    id: "rain",
    messages: [{ role: "user", content: "Will it rain?" }],
    chosen: "Look at the clouds.",
    rejected: `${worse} Go out.`,
  },
];
const files = {
  version: "1.2.3",
  policies: {
    scored: "demonstrations: set\nretriever: { type: two-stage }\nscore: { type: contrast, negative: rejected }\n",
    plain: "candidates: 1\nscore: { type: none }\n",
  },
  routes: `routes:
  icdpo: { policy: scored }
  plain: { policy: plain }
  ab: { experiment: { arms: { treatment: { policy: scored }, control: { policy: plain } } } }
`,
  demonstrations: { set: demonstrations.map((one) => JSON.stringify(one)).join("\n") },
};

let vllm: VllmStub;
let embeddings: { readonly url: string; readonly inputs: string[]; close(): void };
let worker: RunningWorker | undefined;

/** A text's embedding is its length and its first letter. Seven tokens a text. */
async function startEmbeddings(): Promise<typeof embeddings> {
  const inputs: string[] = [];
  const server = createServer(async (request, response) => {
    let text = "";
    for await (const piece of request) text += piece;
    const { input } = JSON.parse(text) as { input: string[] };
    inputs.push(...input);
    const data = input.map((one, index) => ({ index, embedding: [one.length, one.charCodeAt(0)] }));
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ data: data.toReversed(), usage: { prompt_tokens: 7 * input.length } }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, inputs, close: () => server.close() };
}

async function start(variables: Record<string, string> = {}, bundle: unknown = files): Promise<RunningWorker> {
  worker = await startWorker(
    {
      ENGINE_URL: vllm.url,
      ICDPO_EMBEDDING_URL: embeddings.url,
      ICDPO_EMBEDDING_MODEL: "short",
      ICDPO_RELOAD_MS: "1",
      ...variables,
    },
    bundle,
  );
  return worker;
}

const question = [{ role: "user", content: "How do I brew coffee?" }] as const;

async function streamed(client: OpenAI, model: string): Promise<string> {
  let text = "";
  for await (const { choices } of await client.chat.completions.create({
    model,
    messages: [...question],
    max_tokens: 24,
    stream: true,
  }))
    text += choices[0]?.delta.content ?? "";
  return text;
}

const weather = {
  type: "function",
  function: {
    name: "weather",
    parameters: { type: "object", properties: { city: { enum: ["Paris", "Rome"] } }, required: ["city"] },
  },
} as const;

beforeAll(async () => {
  vllm = await startVllmStub();
  embeddings = await startEmbeddings();
});

afterAll(() => {
  vllm.close();
  embeddings.close();
});

afterEach(async () => {
  await worker?.close();
  worker = undefined;
});

describe("the worker", () => {
  it("holds nothing of Node", () => {
    expect(readFileSync(built, "utf8").match(/(?:from|import|require)\s*\(?\s*["']node:[^"']*/gu)).toBeNull();
  });

  it("answers OpenAI's client: plain, scored, streamed, with tools", async () => {
    const { client } = await start();
    const ask = (model: string) => client.chat.completions.create({ model, messages: [...question] });
    // All at once, before the gateway is ready: requests share what the first one opens.
    const answers = await Promise.all(["plain", "icdpo", "plain", "icdpo"].map(ask));
    const texts = answers.map(({ choices }) => choices[0]?.message.content);
    expect(texts).toEqual(["Candidate number 0.", "Candidate number 1.", "Candidate number 0.", "Candidate number 1."]);
    expect(await streamed(client, "plain")).toBe("Candidate number 0.");
    expect(await streamed(client, "icdpo")).toBe("Candidate number 1.");
    const called = await client.chat.completions.create({
      model: "plain",
      messages: [...question],
      tools: [weather],
      tool_choice: "required",
    });
    expect(called.choices[0]?.message.tool_calls).toMatchObject([
      { function: { name: "weather", arguments: '{"city": "Paris"}' } },
    ]);
    const { data } = await client.embeddings.create({ model: "short", input: ["abc", "de"], encoding_format: "float" });
    expect(data.map(({ embedding }) => Math.hypot(...embedding))).toEqual([expect.closeTo(1), expect.closeTo(1)]);
    expect((await client.models.list()).data.map(({ id }) => id)).toEqual(["icdpo", "plain", "ab"]);
  });

  it("records answers and feedback in D1, and reports experiments", async () => {
    const { client, json, miniflare } = await start({ ICDPO_KEEP_TEXT: "1" });
    const ids: string[] = [];
    for (const user of ["ann", "bob", "cid", "dan"])
      ids.push((await client.chat.completions.create({ model: "ab", messages: [...question], user })).id);
    for (const id of ids)
      expect((await json("/v1/feedback", { method: "POST", body: { id, rating: "up" } })).status).toBe(200);
    expect((await json("/v1/feedback", { method: "POST", body: { id: "chatcmpl-other", rating: "up" } })).status).toBe(
      404,
    );
    const { body } = await json("/v1/experiments/ab");
    expect(body).toMatchObject({ object: "experiment", records: { status: "ok", lost: 0 } });
    const { arms, metrics } = body as {
      arms: { answers: number }[];
      metrics: { name: string; means: { mean: number }[] }[];
    };
    expect(arms.reduce((sum, { answers }) => sum + answers, 0)).toBe(4);
    expect(metrics.find(({ name }) => name === "rating")?.means.map(({ mean }) => mean)).toContain(1);
    const d1 = await miniflare.getD1Database("RECORDS");
    expect(await d1.prepare("SELECT count(*) AS n FROM texts").first("n")).toBe(4);
    // The cron trigger deletes what is too old.
    await d1.prepare("UPDATE answers SET at = 0 WHERE id = ?").bind(ids[0]).run();
    await d1.prepare("UPDATE texts SET at = 0").run();
    await (await miniflare.getWorker()).scheduled({ cron: "17 * * * *" });
    expect(
      await d1
        .prepare("SELECT (SELECT count(*) FROM answers) AS answers, (SELECT count(*) FROM texts) AS texts")
        .first(),
    ).toEqual({
      answers: 3,
      texts: 0,
    });
  });

  it("records them in a libSQL server over HTTP, where one is named", async () => {
    const folder = await mkdtemp(path.join(tmpdir(), "icdpo-"));
    const server = await startLibsqlServer(`file:${path.join(folder, "records.db")}`, "a-token");
    try {
      const { client, json, miniflare } = await start({ ICDPO_DATABASE: server.url, ICDPO_DATABASE_TOKEN: "a-token" });
      const { id } = await client.chat.completions.create({ model: "ab", messages: [...question], user: "ann" });
      expect(await json("/v1/feedback", { method: "POST", body: { id, rating: "down" } })).toEqual({
        status: 200,
        body: expect.anything(),
      });
      const { rows } = await server.database.execute("SELECT answer, value FROM feedback");
      expect(rows).toMatchObject([{ answer: id, value: 0 }]);
      expect((await json("/v1/experiments/ab")).body).toMatchObject({
        records: { status: "ok", error: null, written: 1, lost: 0 },
      });
      const d1 = await miniflare.getD1Database("RECORDS");
      expect(await d1.prepare("SELECT count(*) AS n FROM sqlite_master WHERE name = 'answers'").first("n")).toBe(0);
    } finally {
      server.close();
      await rm(folder, { recursive: true });
    }
  });

  it("takes newer policies from KV into use, and bad ones not", async () => {
    const { client, json, miniflare, log } = await start();
    const ask = (model: string) => client.chat.completions.create({ model, messages: [...question] });
    await ask("plain");
    await putFiles(miniflare, { ...files, routes: files.routes.replace("  ab:", "  newer: { policy: plain }\n  ab:") });
    await expect.poll(async () => (await json("/v1/models")).body).toMatchObject({ data: { length: 4 } });
    await putFiles(miniflare, { ...files, policies: { ...files.policies, plain: "candidates: none\n" } });
    const complaint = expect.stringContaining("policies/plain.yaml:1: candidates");
    await expect
      .poll(async () => (await json("/health")).body)
      .toMatchObject({ policies: { error: complaint, reloads: 1 } });
    expect((await ask("newer")).choices[0]?.message.content).toBe("Candidate number 0.");
    expect(log.map(({ msg }) => msg)).toContain("policies reloaded");
  });

  it("keeps indexes and embeddings in KV", async () => {
    const { client, miniflare, restart } = await start();
    await client.chat.completions.create({ model: "icdpo", messages: [...question] });
    const kept = (await (await miniflare.getKVNamespace("KEPT")).list()).keys.map(({ name }) => name.split("/")[0]);
    expect(kept.toSorted()).toEqual(["artifact", "bundle.json", "embedding", "embedding"]);
    const before = embeddings.inputs.length;
    const again = await restart();
    await again.chat.completions.create({ model: "icdpo", messages: [...question] });
    expect(embeddings.inputs.slice(before)).toEqual([question[0].content]);
  });

  it("lets in who brings a key, and counts what each key uses in one place", async () => {
    const { client, url, json } = await start({
      ICDPO_REQUESTS_PER_MINUTE: "3",
      ICDPO_API_KEYS: "other=another-key-of-length",
    });
    expect((await fetch(`${url}/v1/models`)).status).toBe(401);
    const { response } = await client.models.list().withResponse();
    expect(response.headers.get("x-ratelimit-remaining-requests")).toBe("2");
    await client.models.list();
    await client.models.list();
    await expect(client.models.list()).rejects.toMatchObject({
      status: 429,
      message: expect.stringContaining("3 requests a minute"),
    });
    const other = { headers: { authorization: "Bearer another-key-of-length" } };
    expect((await json("/v1/models", other)).status).toBe(200);
    expect((await json("/health", other)).body).toEqual({ status: "ok" });
    expect((await json("/metrics", other)).status).toBe(403);
    expect((await json("/metrics")).status).toBe(404);
  });

  it("counts a key's tokens before they are worked through, and its requests under way, in one place", async () => {
    const { client, json } = await start({ ICDPO_TOKENS_PER_MINUTE: "2000", ICDPO_PARALLEL: "1" });
    const ask = (more: object) =>
      json("/v1/chat/completions", {
        method: "POST",
        body: { model: "plain", messages: question, max_tokens: 10, ...more },
      });
    const never = await ask({ max_tokens: 2_000, n: 2 });
    expect(never.status).toBe(400);
    expect(never.body).toMatchObject({ error: { message: expect.stringContaining("it never fits") } });
    for (let i = 0; i < 4; i++) expect((await ask({ max_tokens: 1_000 })).status).toBe(200);
    const slow = {
      model: "plain",
      messages: [{ role: "user" as const, content: `Count ${slowly}.` }],
      max_tokens: 10,
      stream: true as const,
    };
    const stream = await client.chat.completions.create(slow, { headers: { "accept-encoding": "identity" } });
    for await (const { choices } of stream)
      if (choices[0]?.delta.content) {
        expect((await ask({})).status).toBe(429);
        break;
      }
    await expect.poll(async () => (await ask({})).status).toBe(200);
  });

  it("stops the engine's work when a client leaves", async () => {
    const { client, json, log } = await start();
    const before = vllm.calls.length;
    const stream = await client.chat.completions.create(
      { model: "plain", messages: [{ role: "user", content: `Count ${slowly}.` }], stream: true },
      // Miniflare notices nothing of clients that leave a packed answer.
      { headers: { "accept-encoding": "identity" } },
    );
    for await (const { choices } of stream) if (choices[0]?.delta.content) break;
    await expect.poll(() => vllm.calls.at(before)?.state).toBe("left");
    await expect.poll(() => log.find(({ status }) => status === 499)).toMatchObject({ error: "request_cancelled" });
    const idle = { requests: 0, engine: { engines: { default: { replicas: [{ calls: 0 }] } } } };
    await expect.poll(async () => (await json("/health")).body).toMatchObject(idle);
  });

  it("says in its log, and only there, what is wrong with its settings", async () => {
    const { client, log } = await start({ ICDPO_ADMIN_KEYS: "" });
    await expect(client.models.list()).rejects.toMatchObject({
      status: 500,
      message: expect.not.stringContaining("ICDPO_API_KEYS"),
    });
    await expect.poll(() => log.map(({ error }) => error)).toContainEqual(expect.stringContaining("ICDPO_API_KEYS"));
  });

  it("answers 503 while its engine is away, and is there when the engine is", async () => {
    const later = await startVllmStub();
    const { port } = new URL(later.url);
    later.close();
    const { client } = await start({ ENGINE_URL: `http://127.0.0.1:${port}` });
    await expect(client.models.list()).rejects.toMatchObject({ status: 503, code: "engine_unavailable" });
    const back = await startVllmStub(Number(port));
    expect((await client.models.list()).data).toHaveLength(3);
    back.close();
  });
});

describe("the worker with a real vLLM", needing("vllm"), () => {
  const url = process.env["ICDPO_TEST_VLLM"] ?? "";

  it("answers OpenAI's client: plain, scored, streamed, with tools", async () => {
    const { client } = await start({ ENGINE_URL: url });
    for (const model of ["plain", "icdpo"]) {
      const { choices } = await client.chat.completions.create({ model, messages: [...question], max_tokens: 24 });
      expect(choices[0]?.message.content).toMatch(/\w+ \w+/u);
      expect(await streamed(client, model)).toMatch(/\w+ \w+/u);
      const called = await client.chat.completions.create({
        model,
        messages: [...question],
        tools: [weather],
        tool_choice: "required",
        max_tokens: 64,
      });
      expect(Object.keys(JSON.parse(callOf(called).arguments))).toEqual(["city"]);
    }
  }, 300_000);

  it("answers by it as a service that only chats, and refuses to score by that", async () => {
    const { data } = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string }[] };
    const engines = `engines: { default: { type: openai, urls: ["${url}"], model: ${data[0]?.id} } }`;
    const { plain } = files.policies;
    const { client, miniflare, json } = await start(
      { ICDPO_ENGINES: engines },
      { ...files, policies: { plain }, routes: "routes: { plain: { policy: plain } }" },
    );
    const { choices } = await client.chat.completions.create({
      model: "plain",
      messages: [...question],
      max_tokens: 24,
    });
    expect(choices[0]?.message.content).toMatch(/\w+ \w+/u);
    expect(await streamed(client, "plain")).toMatch(/\w+ \w+/u);
    await putFiles(miniflare, files);
    const complaint = expect.stringMatching(/policies\/scored\.yaml:3: score: .*log-probabilities/u);
    await expect.poll(async () => (await json("/health")).body).toMatchObject({ policies: { error: complaint } });
  }, 300_000);
});

function callOf({ choices }: OpenAI.ChatCompletion): { readonly arguments: string } {
  const [call] = choices[0]?.message.tool_calls ?? [];
  if (call?.type !== "function") throw new Error("no function was called");
  return call.function;
}
