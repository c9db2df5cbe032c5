/** How the choice goes, in policies: what of blocks, streams and pruning is taken, and what is refused. */
import { describe, expect, it } from "vitest";
import { changedArm } from "../../../lab/arms.ts";
import { onlyEngine } from "../../../src/engine/engines.ts";
import { buildPolicySet } from "../../../src/policy/build.ts";
import { blocksFor, misfitOfChoice } from "../../../src/policy/choice-misfits.ts";
import { overridden } from "../../../src/policy/overrides.ts";
import { overridesSchema, policySchema } from "../../../src/policy/schema.ts";
import type { Rewards } from "../../../src/reward/reward-model.ts";
import { ScriptedEngine } from "../scripted-engine.ts";

const contrast = "score: { type: contrast, negative: rejected }\ninstructions: {}\n";

const rewards: Rewards = new Map([["helpful", () => ({ id: "helpful", reward: async () => 0 })]]);

async function built(file: string) {
  const { policies } = await buildPolicySet(
    { policies: new Map([["p", file]]), routes: "routes: { icdpo: { policy: p } }\n", demonstrations: new Map() },
    {
      engines: onlyEngine(new ScriptedEngine()),
      embedder: () => Promise.reject(new Error("not needed")),
      rewards,
    },
  );
  const policy = policies.get("p");
  if (policy === undefined) throw new Error("The policy was not built");
  return policy;
}

describe("blocks, streams and pruning in a policy", () => {
  it("have a hash of their own each; without them a policy keeps its own", async () => {
    const more = [
      "",
      "stream: blocks\n",
      "stream: whole\n",
      "block: {}\n",
      "block: { tokens: [8, 16] }\n",
      "prune: {}\n",
    ];
    const ids = await Promise.all(more.map(async (text) => (await built(contrast + text)).id));
    expect(new Set(ids).size).toBe(ids.length);
    expect((await built(`${contrast}block: { tokens: 16 }\n`)).id).toBe(ids[3]);
  });

  it("pruning compares every 32 tokens and keeps half, unless the policy says otherwise", async () => {
    expect((await built(`${contrast}prune: {}\n`)).settings.prune).toEqual({ every: 32, keep: 0.5 });
    const { settings } = await built(`${contrast}candidates: 8\nprune: { every: 16, keep: 0.25 }\n`);
    expect(settings.prune).toEqual({ every: 16, keep: 0.25 });
  });

  it.each([
    ["prune: { every: 0 }\n", "p.yaml:3: prune.every: "],
    ["prune: { keep: 1 }\n", "p.yaml:3: prune.keep: "],
    ["prune: { keep: 0.9 }\n", "p.yaml:3: prune: of 3 candidates 0.9 keeps all"],
    ["candidates: 1\nprune: {}\n", "p.yaml:4: prune: of 1 candidates 0.5 keeps all"],
    ["prune: {}\nblock: {}\n", "p.yaml:3: prune: all requests are answered by blocks: say stream: blocks"],
    ["prune: {}\ncandidates: { min: 2, max: 8, margin: 1 }\n", "p.yaml:4: candidates: a wave has no place for"],
    ["stream: blocks\ncandidates: { min: 2, max: 8, margin: 1 }\n", "p.yaml:4: candidates: each block has the same"],
    ["block: {}\nstream: whole\n", "p.yaml:3: block: no request would be answered in blocks"],
  ])("are refused by their line: %s", async (text, message) => {
    await expect(built(contrast + text)).rejects.toThrow(message);
  });

  it.each([
    ["score: { type: none }\nprune: {}\n", "p.yaml:2: prune: candidates are dropped by their scores"],
    ["score: { type: none }\nstream: blocks\n", "p.yaml:2: stream: blocks are chosen by a score"],
    ["score: { type: reward, model: helpful }\nprune: {}\n", "p.yaml:1: score.model: reward models judge whole"],
    [
      "score: { type: likelihood, reward: { model: helpful, weight: 1 } }\nstream: blocks\n",
      "p.yaml:1: score.reward.model: reward models judge whole",
    ],
    ["score: { type: likelihood, consensus: 1 }\nprune: {}\n", "p.yaml:1: score.consensus: answers agree when"],
  ])("are refused with what they do not go together with: %s", async (file, message) => {
    await expect(built(file)).rejects.toThrow(message);
  });

  it.each(["prune", "stream", "block"])("need an engine that goes on from tokens: %s", async (field) => {
    const value = { prune: {}, stream: "blocks", block: {} }[field];
    const settings = policySchema.parse({ score: { type: "likelihood" }, [field]: value });
    expect(misfitOfChoice(settings, { score: true })).toBeNull();
    expect(misfitOfChoice(settings, { score: false })).toEqual({
      path: [field],
      reason: "this engine cannot go on from tokens",
    });
  });

  it.each([
    ["a score", {}, [8, 16, 32, 64]],
    ["pruning", { prune: {} }, [8, 16, 32, 64]],
    ["blocks of its own", { block: { tokens: 9 } }, [9]],
    ["stream: whole", { stream: "whole" }, null],
    ["waves", { candidates: { min: 2, max: 4, margin: 1 } }, null],
    ["consensus", { score: { type: "likelihood", consensus: 1 } }, null],
    ["a reward", { score: { type: "reward", model: "helpful" } }, null],
    ["a reward beside the sums", { score: { type: "likelihood", reward: { model: "helpful", weight: 1 } } }, null],
  ])("streams are by blocks unless the policy says otherwise or cannot: %s", (_, more, tokens) => {
    const settings = policySchema.parse({ score: { type: "likelihood" }, ...more });
    expect(blocksFor({ settings, goesOn: true }, true)?.tokens ?? null).toEqual(tokens);
    expect(blocksFor({ settings, goesOn: true }, false)?.tokens ?? null).toEqual("block" in more ? tokens : null);
  });

  it("streams are chosen whole where the engine does not go on from tokens", () => {
    const settings = policySchema.parse({ score: { type: "likelihood" }, scorer: "teacher" });
    expect(blocksFor({ settings, goesOn: false }, true)).toBeNull();
  });

  it("a request may not change the score to one by which nothing can be dropped", async () => {
    const policy = await built(`${contrast}prune: {}\n`);
    await expect(overridden(policy, overridesSchema.parse({ score: { type: "none" } }))).rejects.toMatchObject({
      code: "invalid_request",
      param: "icdpo.overrides.prune",
    });
  });

  it("an evaluation's pool is sampled whole", async () => {
    const arm = { name: "p", policy: await built(`${contrast}prune: {}\nstream: blocks\n`) };
    const { settings } = (await changedArm(arm, { unscored: true, candidates: 1 })).policy;
    expect([settings.prune, settings.stream, settings.block]).toEqual([undefined, undefined, undefined]);
    expect((await changedArm(arm, { maxTokens: 9 })).policy.settings.prune).toEqual({ every: 32, keep: 0.5 });
  });
});
