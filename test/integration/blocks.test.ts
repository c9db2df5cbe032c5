/** Block-wise ICDPO on the real model. */
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Gateway, post, startGateway } from "./gateway.ts";
import { exactWeights, noiseOf } from "./noise.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

let folder: string;
let gateway: Gateway;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "icdpo-blocks-"));
  await mkdir(path.join(folder, "policies"));
  await cp(path.join(root, "demos"), path.join(folder, "demos"), { recursive: true });
  const policy = (format: string) =>
    `demonstrations: everyday\nretriever: { type: bm25 }\nscore: { type: contrast, negative: rejected }\nprompt: ${format}\nblock: { tokens: 8 }\n`;
  for (const format of ["chat", "hh-rlhf"])
    await writeFile(path.join(folder, `policies/${format}.yaml`), policy(format));
  await writeFile(
    path.join(folder, "policies/routes.yaml"),
    "routes: { chat: { policy: chat }, hh: { policy: hh-rlhf } }\n",
  );
  gateway = await startGateway(exactWeights, folder);
});
afterAll(async () => {
  await gateway?.stop();
  await rm(folder, { recursive: true, force: true });
});

interface Answered {
  readonly choices: { readonly message: { readonly content: string }; readonly finish_reason: string }[];
  readonly icdpo: { readonly candidates: { positive: number; negative: number; score: number; tokens: number }[] };
}

const messages = [{ role: "user", content: "Name a fruit." }];

async function ask(model: string, seed: number, maxTokens: number) {
  const body = { model, messages, seed, max_tokens: maxTokens, icdpo: { explain: true } };
  const answer = await post(`${gateway.url}/v1/chat/completions`, body);
  expect(answer.status).toBe(200);
  const { choices, icdpo } = answer.body as never as Answered;
  return {
    content: choices[0]?.message.content ?? "",
    finish: choices[0]?.finish_reason,
    explained: icdpo.candidates[0] as Answered["icdpo"]["candidates"][number],
  };
}

describe("block-wise ICDPO", () => {
  it.each(["chat", "hh"])("answers with clean text and the score of all its blocks: %s", async (model) => {
    const { content, explained } = await ask(model, 3, 24);
    expect(content).not.toBe("");
    expect(content).not.toMatch(/<\|im_|##|Human:|Assistant:/u);
    expect(explained.score).toBeCloseTo(explained.positive - explained.negative, 9);
  });

  it("sums to what /v1/score measures of the whole answer", async () => {
    // What is measured is closed by the end token, and so is an answer that ended by itself: one of a few does.
    let answer = await ask("chat", 1, 64);
    for (let seed = 2; answer.finish !== "stop" && seed <= 12; seed++) answer = await ask("chat", seed, 64);
    const { content, finish, explained } = answer;
    expect(finish).toBe("stop");
    const measured = await post(`${gateway.url}/v1/score`, { model: "chat", messages, completions: [content] });
    const { data } = measured.body as never as { data: { positive: number; s_hat: number; tokens: number }[] };
    expect(explained.tokens).toBe(data[0]?.tokens);
    const noise = noiseOf(explained.tokens);
    expect(Math.abs(explained.positive - (data[0]?.positive ?? Number.NaN))).toBeLessThan(noise);
    expect(Math.abs(explained.score - (data[0]?.s_hat ?? Number.NaN))).toBeLessThan(2 * noise);
  });

  it("streams to an unmodified client, in several pieces", async () => {
    const client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: "none" });
    const sea = [{ role: "user" as const, content: "Tell me about the sea." }];
    const options = { stream: true, stream_options: { include_usage: true } } as const;
    const stream = await client.chat.completions.create({
      model: "chat",
      seed: 3,
      max_tokens: 24,
      messages: sea,
      ...options,
    });
    const pieces: string[] = [];
    let tokens = 0;
    for await (const { choices, usage } of stream) {
      if (choices[0]?.delta.content) pieces.push(choices[0].delta.content);
      tokens = usage?.completion_tokens ?? tokens;
    }
    expect(pieces.length).toBeGreaterThan(1);
    expect(tokens).toBeGreaterThan(8);
  });
});
