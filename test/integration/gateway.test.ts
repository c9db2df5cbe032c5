import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventually, type Gateway, post, startGateway } from "./gateway.ts";
import { quantisedNoise } from "./noise.ts";

interface Explained {
  readonly demonstrations: readonly { readonly id: string }[];
  readonly candidates: readonly {
    readonly content: string;
    readonly tokens: number;
    readonly positive: number;
    readonly negative: number;
    readonly score: number;
    readonly chosen: boolean;
  }[];
  readonly fallback: string | null;
}

const question = [{ role: "user" as const, content: "How do I keep basil alive indoors?" }];

let gateway: Gateway;
let client: OpenAI;
beforeAll(async () => {
  gateway = await startGateway();
  client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: "none" });
});
afterAll(async () => {
  await gateway.stop();
});

async function ask(model: string, body: Record<string, unknown> = {}) {
  const response = await post(`${gateway.url}/v1/chat/completions`, {
    model,
    messages: question,
    max_tokens: 16,
    icdpo: { explain: true },
    ...body,
  });
  expect(response.status, JSON.stringify(response.body)).toBe(200);
  const { choices, icdpo, usage } = response.body as {
    choices: { message: { content: string } }[];
    icdpo: Explained;
    usage: OpenAI.CompletionUsage;
  };
  return { text: choices[0]?.message.content, icdpo, usage };
}

describe("the official client, only its base URL changed", () => {
  it("gets an answer from icdpo", async () => {
    const completion = await client.chat.completions.create({ model: "icdpo", messages: question, max_tokens: 16 });
    expect(completion.choices[0]?.message.content).toMatch(/\w+ \w+/u);
    expect(completion.usage?.completion_tokens).toBeGreaterThan(0);
  });

  it("gets the same plain answer streamed", async () => {
    const parameters = { model: "plain", messages: question, max_tokens: 16, seed: 5 } as const;
    const completion = await client.chat.completions.create(parameters);
    let text = "";
    for await (const chunk of await client.chat.completions.create({ ...parameters, stream: true }))
      text += chunk.choices[0]?.delta.content ?? "";
    expect(text).toBe(completion.choices[0]?.message.content);
  });

  it("is shown a scored answer from its first block on", async () => {
    const parameters = { model: "icdpo", messages: question, max_tokens: 32, seed: 5 } as const;
    const texts: string[] = [];
    for await (const { choices } of await client.chat.completions.create({ ...parameters, stream: true }))
      if (choices[0]?.delta.content) texts.push(choices[0].delta.content);
    expect(texts.length).toBeGreaterThan(1);
    expect(texts[0]?.split(" ").length).toBeLessThan(10);
  });

  it("gets plain answers token by token", async () => {
    const stream = await client.chat.completions.create({
      model: "plain",
      messages: question,
      max_tokens: 12,
      // By chance an answer may be a word.
      temperature: 0,
      stream: true,
      stream_options: { include_usage: true },
    });
    let pieces = 0;
    let usage: OpenAI.CompletionUsage | null | undefined;
    for await (const chunk of stream) {
      if (chunk.choices[0]?.delta.content) pieces += 1;
      usage = chunk.usage ?? usage;
    }
    expect(pieces).toBeGreaterThan(6);
    expect(usage?.completion_tokens).toBeGreaterThan(0);
  });

  it("lists the routes, and hears about an unknown one", async () => {
    const models = await client.models.list();
    expect(models.data.map(({ id }) => id)).toEqual(["plain", "icdpo"]);
    await expect(client.chat.completions.create({ model: "nope", messages: question })).rejects.toMatchObject({
      status: 404,
      code: "model_not_found",
    });
  });
});

describe("the method on the real model", () => {
  it("returns the arg max of the scores that it explains", async () => {
    const { text, icdpo } = await ask("icdpo");
    expect(icdpo.candidates).toHaveLength(3);
    expect(icdpo.demonstrations).toHaveLength(2);
    const best = icdpo.candidates.reduce((a, b) => (b.score > a.score ? b : a));
    expect(best.chosen).toBe(true);
    expect(text).toBe(best.content);
    for (const { positive, negative, score } of icdpo.candidates) expect(score).toBeCloseTo(positive - negative, 9);
  });

  it("explains sums that /v1/score gives for the same texts", async () => {
    const { icdpo } = await ask("icdpo", { seed: 11 });
    const { body } = await post(`${gateway.url}/v1/score`, {
      model: "icdpo",
      messages: question,
      completions: icdpo.candidates.map(({ content }) => content),
    });
    const { data } = body as { data: { tokens: number; positive: number; negative: number }[] };
    for (const [index, candidate] of icdpo.candidates.entries()) {
      expect(data[index]?.tokens).toBe(candidate.tokens);
      expect(Math.abs((data[index]?.positive ?? Number.NaN) - candidate.positive)).toBeLessThan(
        quantisedNoise(candidate.tokens),
      );
      expect(Math.abs((data[index]?.negative ?? Number.NaN) - candidate.negative)).toBeLessThan(
        quantisedNoise(candidate.tokens),
      );
    }
  });

  it("gives the same candidates for the same seed, others without one", async () => {
    const texts = async (body: Record<string, unknown>) =>
      (await ask("icdpo", body)).icdpo.candidates.map(({ content }) => content);
    const first = await texts({ seed: 3 });
    expect(await texts({ seed: 3 })).toEqual(first);
    expect(new Set(first).size).toBe(3);
    const unseeded = await texts({});
    expect(new Set(unseeded).size).toBe(3);
    expect(unseeded).not.toEqual(first);
  });

  it("samples once and scores nothing at temperature 0", async () => {
    const { icdpo } = await ask("icdpo", { temperature: 0 });
    expect(icdpo.candidates).toHaveLength(1);
    expect(icdpo.candidates[0]?.score).toBeNull();
  });

  it("ends at a client's stop and scores the text that it returns", async () => {
    const { text, icdpo } = await ask("icdpo", { stop: [" a"], seed: 2, max_tokens: 40 });
    expect(icdpo.candidates.every(({ content }) => !content.includes(" a"))).toBe(true);
    const { body } = await post(`${gateway.url}/v1/score`, { model: "icdpo", messages: question, completions: [text] });
    const [scored] = (body as { data: { positive: number }[] }).data;
    const { positive = Number.NaN, tokens = 0 } = icdpo.candidates.find(({ chosen }) => chosen) ?? {};
    expect(Math.abs((scored?.positive ?? Number.NaN) - positive)).toBeLessThan(quantisedNoise(tokens));
  });
});

describe("a small context", () => {
  const contextSize = 512;
  let small: Gateway;
  beforeAll(async () => {
    small = await startGateway({ ICDPO_CONTEXT_SIZE: String(contextSize) });
  });
  afterAll(async () => {
    await small.stop();
  });
  const askSmall = (body: Record<string, unknown>) =>
    post(`${small.url}/v1/chat/completions`, { max_tokens: 16, icdpo: { explain: true }, ...body });
  const words = (count: number) => [{ role: "user", content: "word ".repeat(count) }];

  it("refuses what does not fit, as such, streamed or not", async () => {
    for (const stream of [false, true]) {
      const { status, body } = await askSmall({ model: "plain", messages: words(contextSize), stream });
      expect(status).toBe(400);
      expect(body).toMatchObject({ error: { code: "context_length_exceeded", param: "messages" } });
    }
  });

  it("drops demonstrations rather than the conversation, and says so", async () => {
    const { status, body } = await askSmall({
      model: "icdpo",
      messages: [...words(270), { role: "assistant", content: "I see." }, ...question],
    });
    expect(status).toBe(200);
    const { fallback, demonstrations } = (body as { icdpo: Explained }).icdpo;
    expect(fallback).toBe(`context:${demonstrations.length}-of-2-demonstrations`);
    expect(demonstrations.length).toBeLessThan(2);
  });
});

describe("a client that leaves", () => {
  it("stops the work of its request", async () => {
    const leave = new AbortController();
    const request = fetch(`${gateway.url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "icdpo", messages: question, max_tokens: 2000, n: 3 }),
      signal: leave.signal,
    });
    const active = async () =>
      ((await (await fetch(`${gateway.url}/ready`)).json()) as { engine: { active: number } }).engine.active;
    await eventually(async () => (await active()) > 0);
    leave.abort();
    await expect(request).rejects.toThrow();
    await eventually(async () => (await active()) === 0);
  });
});
