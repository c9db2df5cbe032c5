/**
 * Reward models in GGUF: read as their files say, held against the library's own ranking, and chosen by in the built
 * gateway. The models are written here.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { getLlama, LlamaLogLevel, type LlamaRankingContextOptions } from "node-llama-cpp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LlamaReward } from "../../src/reward/llama-reward.ts";
import type { Conversation } from "../../src/types/conversation.ts";
import { childModule, eventually, type Gateway, post, startGateway } from "./gateway.ts";
import { writeTinyRewardModel } from "./tiny-reward-model.ts";

const minutes = 300_000;
const chatTemplate = "[CLS]{% for message in messages %}{{ message.content }}[SEP]{% endfor %}";
const one: Conversation = [{ role: "user", content: "how are you?" }];

let folder: string;
let pairs: string;
let chat: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "icdpo-rewards-"));
  pairs = path.join(folder, "pairs.gguf");
  chat = path.join(folder, "chat.gguf");
  writeTinyRewardModel(pairs, { bias: 0.5, weights: "random" });
  writeTinyRewardModel(chat, { bias: 0.5, weights: "random", chatTemplate });
});
afterAll(() => rmSync(folder, { recursive: true }));

const said: string[] = [];

async function withReward<Result>(
  file: string,
  work: (reward: LlamaReward) => Promise<Result>,
  template?: string,
): Promise<Result> {
  const settings = { model: "tiny", modelPath: file, contextSize: 0, threads: 1, gpu: false, hangMs: 30_000 } as const;
  const log = (line: string) => void said.push(line);
  const reward = await LlamaReward.start({ ...settings, template, childModule, log });
  try {
    return await work(reward);
  } finally {
    await reward.close();
  }
}

/** log(p / (1 − p)) of what the library ranks a document with. */
async function libraryReward(
  query: string,
  document: string,
  template?: NonNullable<LlamaRankingContextOptions["template"]>,
): Promise<number> {
  const llama = await getLlama({ build: "never", gpu: false, logLevel: LlamaLogLevel.error });
  try {
    const model = await llama.loadModel({ modelPath: pairs });
    const context = await model.createRankingContext(template === undefined ? {} : { template });
    const p = await context.rank(query, document);
    return Math.log(p / (1 - p));
  } finally {
    await llama.dispose();
  }
}

describe("a reward model in GGUF", { timeout: minutes }, () => {
  it("gives what the library ranks with, of query and document, by a template of its own or the file's chat template", async () => {
    const plain = await withReward(pairs, (reward) => reward.reward(one, "well"));
    expect(plain).toBeCloseTo(await libraryReward("how are you?", "well"), 4);
    const asked = "{{query}}[SEP]{{document}}[SEP]" as const;
    const expected = await libraryReward("how are you?", "well", asked);
    expect(await withReward(pairs, (reward) => reward.reward(one, "well"), asked)).toBeCloseTo(expected, 4);
    expect(await withReward(chat, (reward) => reward.reward(one, "well"))).toBeCloseTo(expected, 4);
    expect(expected).not.toBeCloseTo(plain, 4);
  });

  it("takes what acts as a delimiter in a text for plain text, and tells texts apart that are asked about at once", async () => {
    await withReward(chat, async (reward) => {
      const texts = ["well", "[SEP]", "bad", "well"];
      const [well, delimiter, bad, again] = await Promise.all(texts.map((text) => reward.reward(one, text)));
      expect(new Set([well, delimiter, bad]).size).toBe(3);
      expect(again).toBe(well);
      expect(await reward.state()).toMatchObject({ status: "ready", active: 0, waiting: 0, freeSequences: 1 });
    });
  });

  it("leaves a long conversation's oldest messages out, and refuses a last one that does not fit", async () => {
    await withReward(chat, async (reward) => {
      const long = { role: "user", content: "abc ".repeat(200) } as const;
      const talk: Conversation = [long, { role: "assistant", content: "so" }, ...one];
      const short = talk.slice(1);
      expect(await reward.reward(talk, "well")).toBe(await reward.reward(short, "well"));
      expect(await reward.reward(short, "well")).not.toBe(await reward.reward(one, "well"));
      await expect(reward.reward([long], "well")).rejects.toMatchObject({
        code: "context_length_exceeded",
        message: expect.stringContaining("reads 512 tokens"),
      });
    });
  });

  it("is refused where the file has no ranking head, with the reason", async () => {
    const headless = path.join(folder, "headless.gguf");
    writeTinyRewardModel(headless, { bias: 0, weights: "none" });
    await expect(withReward(headless, async () => null)).rejects.toMatchObject({
      code: "model_unavailable",
      message: expect.stringContaining("it has no ranking head"),
    });
  });
});

describe("a policy that scores by a reward model in GGUF", () => {
  let gateway: Gateway;
  beforeAll(async () => {
    const policies = path.join(folder, "policies");
    mkdirSync(policies);
    const sampling = "sampling: { max_tokens: 12 }";
    writeFileSync(
      path.join(policies, "judged.yaml"),
      `candidates: 3\nscore: { type: reward, model: own }\n${sampling}\n`,
    );
    writeFileSync(path.join(policies, "routes.yaml"), "routes: { judged: { policy: judged } }\n");
    const engines = path.join(folder, "engines.yaml");
    writeFileSync(
      engines,
      `engines: {}\nrewards:\n  own: { type: llama, model: ${chat} }\n  idle: { type: llama, model: ${pairs} }\n`,
    );
    gateway = await startGateway({ ICDPO_POLICIES: policies, ICDPO_ENGINES: engines, ICDPO_GPU: "off" });
  }, minutes);
  afterAll(() => gateway.stop());

  const ask = () => {
    const body = { model: "judged", seed: 7, messages: one, icdpo: { explain: true } };
    return post(`${gateway.url}/v1/chat/completions`, body);
  };
  const health = async () => {
    const { rewards } = (await (await fetch(`${gateway.url}/health`)).json()) as {
      rewards: Record<string, { status: string; pid: number; restarts: number }>;
    };
    return rewards;
  };
  interface Explained {
    readonly candidates: readonly { content: string; reward: number; score: number; chosen: boolean }[];
  }

  it("chooses by what the model says of each candidate, asked directly", { timeout: minutes }, async () => {
    const { status, body } = await ask();
    expect(status).toBe(200);
    const { candidates } = body["icdpo"] as Explained;
    expect(candidates).toHaveLength(3);
    const direct = await withReward(chat, (reward) =>
      Promise.all(candidates.map(({ content }) => reward.reward(one, content))),
    );
    for (const [i, { reward, score }] of candidates.entries()) expect([reward, score]).toEqual([direct[i], direct[i]]);
    expect(candidates.find(({ chosen }) => chosen)?.reward).toBe(Math.max(...direct));
  });

  it("loads no model but those that policies in force name, and shows how they are", { timeout: minutes }, async () => {
    const rewards = await health();
    expect(Object.keys(rewards)).toEqual(["own"]);
    expect(rewards["own"]).toMatchObject({ status: "ready", restarts: 0, pid: expect.any(Number) });
    expect(gateway.log()).toContain(`reward own: loading ${chat}`);
    expect(gateway.log()).not.toContain(pairs);
  });

  it("outlives the end of the model's process", { timeout: minutes }, async () => {
    const before = (await health())["own"]?.pid as number;
    process.kill(before, "SIGKILL");
    await eventually(async () => (await health())["own"]?.restarts === 1);
    await eventually(async () => (await health())["own"]?.status === "ready");
    expect((await ask()).status).toBe(200);
    expect((await health())["own"]?.pid).not.toBe(before);
  });
});
