/** Block-wise ICDPO on the real model. */
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Gateway, post, startGateway } from "./gateway.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
/** Quantised weights move a sum with the batch's shape. */
const noise = 2;

let folder: string;
let gateway: Gateway;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "icdpo-blocks-"));
  await mkdir(path.join(folder, "policies"));
  await cp(path.join(root, "demos"), path.join(folder, "demos"), { recursive: true });
  const policy = (format: string) =>
    `demonstrations: everyday\nretriever: { type: bm25 }\nscore: { type: contrast, negative: rejected }\nprompt: ${format}\nblock: { tokens: 8 }\n`;
  for (const format of ["chat", "hh-rlhf"]) await writeFile(path.join(folder, `policies/${format}.yaml`), policy(format));
  await writeFile(path.join(folder, "policies/routes.yaml"), "routes: { chat: { policy: chat }, hh: { policy: hh-rlhf } }\n");
  gateway = await startGateway({}, folder);
});
afterAll(async () => {
  await gateway?.stop();
  await rm(folder, { recursive: true, force: true });
});

describe("block-wise ICDPO", () => {
  it.each(["chat", "hh"])("sums to what /v1/score measures of the whole answer: %s", async (model) => {
    const messages = [{ role: "user", content: "How do I keep basil alive indoors?" }];
    const { status, body } = await post(`${gateway.url}/v1/chat/completions`, {
      model,
      messages,
      seed: 3,
      max_tokens: 30,
      icdpo: { explain: true },
    });
    expect(status).toBe(200);
    const { choices, icdpo } = body as never as {
      choices: { message: { content: string }; finish_reason: string }[];
      icdpo: { candidates: { positive: number; negative: number; score: number; tokens: number }[] };
    };
    const content = choices[0]?.message.content ?? "";
    expect(content).not.toBe("");
    expect(content).not.toMatch(/<\|im_|##|Human:|Assistant:/u);
    const measured = await post(`${gateway.url}/v1/score`, { model, messages, completions: [content] });
    const { data } = measured.body as never as { data: { positive: number; negative: number; s_hat: number; tokens: number }[] };
    const [answer] = icdpo.candidates;
    expect(answer?.tokens).toBe(data[0]?.tokens);
    // Whole answers are closed by the end token as well; blocks that were cut off at the limit are not.
    if (choices[0]?.finish_reason === "stop") expect(Math.abs((answer?.positive ?? 0) - (data[0]?.positive ?? 0))).toBeLessThan(noise);
    expect(Math.abs((answer?.score ?? 0) - (data[0]?.s_hat ?? 0))).toBeLessThan(noise);
    expect(answer?.score).toBeCloseTo((answer?.positive ?? 0) - (answer?.negative ?? 0), 9);
  });

  it("streams to an unmodified client, in several pieces", async () => {
    const client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: "none" });
    const messages = [{ role: "user" as const, content: "Tell me about the sea." }];
    const options = { stream: true, stream_options: { include_usage: true } } as const;
    const stream = await client.chat.completions.create({ model: "chat", seed: 3, max_tokens: 40, messages, ...options });
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
