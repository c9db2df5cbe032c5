/** A reward model's process: loaded, asked, started again when it ends. The processes are real, their model is not. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { LlamaReward, type LlamaRewardOptions } from "../../../src/reward/llama-reward.ts";
import { childModule } from "../engine/llama-cpp/scripted-child.ts";

const conversation = [{ role: "user", content: "soup?" }] as const;
let folder: string;
let modelPath: string;
const opened: LlamaReward[] = [];

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "icdpo-reward-"));
  modelPath = path.join(folder, "model.json");
  await writeFile(modelPath, "{}");
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((reward) => reward.close()));
  await rm(folder, { recursive: true });
});

async function start(more: Partial<LlamaRewardOptions> = {}): Promise<LlamaReward> {
  const settings = { model: "m", modelPath, contextSize: 0, threads: 0, gpu: false, hangMs: 30_000 } as const;
  const reward = await LlamaReward.start({ ...settings, childModule, log: () => {}, ...more });
  opened.push(reward);
  return reward;
}

it("gives what its process says, and is known by its weights and its template", async () => {
  const reward = await start();
  expect(await reward.reward(conversation, "hot")).toBe(3);
  expect(await reward.state()).toMatchObject({ status: "ready", restarts: 0, active: 0 });
  expect(reward.id).toBe('["llama","m",null]');
  expect((await start({ template: "{{query}} {{document}}" })).id).toBe('["llama","m","{{query}} {{document}}"]');
});

it("outlives its process, whose end is an error of the calls under way", async () => {
  const reward = await start();
  await expect(reward.reward(conversation, "die")).rejects.toMatchObject({ code: "engine_unavailable" });
  await vi.waitFor(async () => expect(await reward.state()).toMatchObject({ status: "ready", restarts: 1 }), 10_000);
  expect(await reward.reward(conversation, "hot")).toBe(3);
});

it("stops waiting when the signal fires", async () => {
  const reward = await start();
  const leaving = new AbortController();
  const asked = reward.reward(conversation, "waits", leaving.signal);
  leaving.abort();
  await expect(asked).rejects.toMatchObject({ code: "cancelled" });
});

it("says why it cannot be loaded", async () => {
  await writeFile(modelPath, JSON.stringify({ error: "it has no ranking head" }));
  await expect(start()).rejects.toMatchObject({
    code: "model_unavailable",
    message: expect.stringContaining("it has no ranking head"),
  });
});
