import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { getRequestListener } from "@hono/node-server";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, it } from "vitest";
import { gateway } from "../scripted-gateway.ts";

const streams = 2_000;
const atOnce = 32;
let server: Server;
let client: OpenAI;

/** What the engine answers to a question: some words, each of them numbered. */
const answerTo = (question: string): string =>
  Array.from({ length: 3 + (question.length % 9) }, (_, i) => `${i}-${question}`).join(" ");

beforeAll(async () => {
  const { app } = await gateway({
    sample: (_, prompt) => ({ text: answerTo(/<user>(.*?)<\/user>/u.exec(prompt)?.[1] ?? "") }),
  });
  server = createServer(getRequestListener(app.fetch));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  client = new OpenAI({
    baseURL: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    apiKey: "none",
    maxRetries: 0,
  });
});
afterAll(() => {
  server.close();
  server.closeAllConnections();
});

/** Streams one answer, and checks its chunks' order and its usage. */
async function stream(number: number): Promise<void> {
  const question = `q${number}${"x".repeat(number % 7)}`;
  const chunks = [];
  const stream = await client.chat.completions.create({
    model: "plain",
    messages: [{ role: "user", content: question }],
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const chunk of stream) chunks.push(chunk);
  const choices = chunks.flatMap((chunk) => chunk.choices);
  expect(choices[0]?.delta.role).toBe("assistant");
  expect(choices.map(({ delta }) => delta.content ?? "").join("")).toBe(answerTo(question));
  expect(choices.map(({ finish_reason }) => finish_reason)).toEqual([...choices.slice(1).map(() => null), "stop"]);
  // A token is a code unit, so both counts can be had directly.
  const prompt_tokens = `<user>${question}</user><assistant>`.length;
  const completion_tokens = answerTo(question).length;
  expect(chunks.at(-1)?.usage).toEqual({
    prompt_tokens,
    completion_tokens,
    total_tokens: prompt_tokens + completion_tokens,
  });
  expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
}

it(`streams ${streams} plain answers over HTTP, ${atOnce} at once, each complete and in order, with its usage`, {
  timeout: 300_000,
}, async () => {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let number = next++; number < streams; number = next++) await stream(number);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  expect(next).toBe(streams + atOnce);
});
