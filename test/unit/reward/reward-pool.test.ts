/** Reward models by name: opened when they are needed, closed when nobody needs them, and how they say they are. */
import { describe, expect, it, vi } from "vitest";
import type { RunningReward } from "../../../src/reward/reward-model.ts";
import { RewardPool } from "../../../src/reward/reward-pool.ts";
import { openRemoteRewards } from "../../../src/worker/remote-engines.ts";

const conversation = [{ role: "user", content: "soup?" }] as const;

function pool(lingerMs: number | null = 0) {
  const log: string[] = [];
  const open = (name: string) => (): RunningReward => {
    log.push(`open ${name}`);
    return {
      id: name,
      reward: async (_, response) => response.length,
      state: async () => ({ status: "ready" }),
      close: async () => void log.push(`close ${name}`),
    };
  };
  const openers = new Map(["a", "b"].map((name) => [name, open(name)]));
  const close = async () => void log.push("close all");
  return { log, rewards: new RewardPool(openers, { report: () => {}, lingerMs, close }) };
}

describe("a pool of reward models", () => {
  it("opens each once, when it is asked for, and says of those that are needed how they are", async () => {
    const { log, rewards } = pool();
    expect([...rewards.rewards.keys()]).toEqual(["a", "b"]);
    const model = await rewards.rewards.get("a")?.();
    expect(await rewards.rewards.get("a")?.()).toBe(model);
    expect(await model?.reward(conversation, "hot")).toBe(3);
    expect([model?.id, log]).toEqual(["a", ["open a"]]);
    expect(await rewards.state()).toEqual({});
    rewards.retain(["a", "b"]);
    expect(await rewards.state()).toEqual({ a: { status: "ready" }, b: { status: "starting" } });
  });

  it("closes what no policy in force needs, and opens it again for a request that still holds it", async () => {
    const { log, rewards } = pool();
    const model = await rewards.rewards.get("a")?.();
    rewards.retain(["b"]);
    await vi.waitFor(() => expect(log).toEqual(["open a", "close a"]));
    expect(await model?.reward(conversation, "cold")).toBe(4);
    await vi.waitFor(() => expect(log).toEqual(["open a", "close a", "open a", "close a"]));
  });

  it("closes none where nothing runs here, and all at the end, which nobody opens again", async () => {
    const { log, rewards } = pool(null);
    const model = await rewards.rewards.get("a")?.();
    rewards.retain([]);
    await rewards.close();
    expect(log).toEqual(["open a", "close all", "close a"]);
    await expect(model?.reward(conversation, "hot")).rejects.toMatchObject({
      code: "engine_unavailable",
      message: "The reward model is shut down.",
    });
  });

  it("of a worker refuses a file by its name", async () => {
    const text = "engines: {}\nrewards: { own: { type: llama, model: reward.gguf } }\n";
    const { rewards } = openRemoteRewards(text, {}, { fetch, now: () => 0, log: () => {} });
    await expect(rewards.get("own")?.()).rejects.toMatchObject({
      code: "configuration",
      message: expect.stringContaining('the reward model "own" is a file: a worker needs one'),
    });
  });
});
