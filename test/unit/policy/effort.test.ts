/** `candidates: { min, max, margin }` in policies and in what requests change: what is taken, and what is refused. */
import { describe, expect, it } from "vitest";
import { changedArm } from "../../../lab/arms.ts";
import { onlyEngine } from "../../../src/engine/engines.ts";
import { generationDemand } from "../../../src/gateway/demand.ts";
import { buildPolicySet } from "../../../src/policy/build.ts";
import { overridden } from "../../../src/policy/overrides.ts";
import { overridesSchema } from "../../../src/policy/schema.ts";
import { likelihood, policy, request, sHat } from "../icdpo/scripted-policy.ts";
import { ScriptedEngine } from "../scripted-engine.ts";

const scored = "score: { type: likelihood }\n";

async function built(file: string) {
  const { policies } = await buildPolicySet(
    { policies: new Map([["p", file]]), routes: "routes: { icdpo: { policy: p } }\n", demonstrations: new Map() },
    { engines: onlyEngine(new ScriptedEngine()), embedder: () => Promise.reject(new Error("not needed")) },
  );
  return policies.get("p");
}

const effort = { min: 2, max: 8, margin: 1.5 };

describe("effort in a policy", () => {
  it("is a number as before, or waves; each has a hash of its own, which other margins change", async () => {
    const files = ["3", "8", "{ min: 2, max: 8, margin: 1.5 }", "{ min: 2, max: 8, margin: 1 }"];
    const policies = await Promise.all(files.map((candidates) => built(`${scored}candidates: ${candidates}\n`)));
    expect(policies.map((one) => one?.settings.candidates)).toEqual([3, 8, effort, { ...effort, margin: 1 }]);
    expect(new Set(policies.map((one) => one?.id)).size).toBe(4);
    expect((await built(scored))?.id).toBe(policies[0]?.id);
  });

  it.each([
    ["candidates: lots\n", "p.yaml:2: candidates: must be a whole number from 1 to 64, or { min, max, margin }"],
    ["candidates: 0\n", "p.yaml:2: candidates: "],
    ["candidates: { min: 2, max: 8 }\n", "p.yaml:2: candidates: must be a whole number from 1 to 64, or { min"],
    ["candidates: { min: 1, max: 8, margin: 1 }\n", "p.yaml:2: candidates.min: "],
    ["candidates: { min: 2, max: 65, margin: 1 }\n", "p.yaml:2: candidates.max: "],
    ["candidates:\n  min: 2\n  max: 8\n  margin: 0\n", "p.yaml:5: candidates.margin: "],
    ["candidates:\n  min: 4\n  max: 4\n  margin: 1\n", "p.yaml:4: candidates.max: must be more than min"],
    ["candidates: { min: 2, max: 8, margin: 1 }\nblock: {}\n", "p.yaml:2: candidates: each block has the same number"],
  ])("is refused by its line: %s", async (text, message) => {
    await expect(built(`${scored}${text}`)).rejects.toThrow(message);
  });

  it("needs a score to lead by", async () => {
    const file = "candidates: { min: 2, max: 8, margin: 1 }\nscore: { type: none }\n";
    await expect(built(file)).rejects.toThrow("p.yaml:1: candidates: a margin is one of scores");
  });
});

describe("effort that a request changes", () => {
  it("is a number or waves, and is refused where they do not go together", async () => {
    const own = policy({ score: likelihood, candidates: 3 });
    const changed = await overridden(own, overridesSchema.parse({ candidates: effort }));
    expect(changed.settings.candidates).toEqual(effort);
    expect((await overridden(changed, overridesSchema.parse({ candidates: 2 }))).settings.candidates).toBe(2);
    await expect(overridden(changed, overridesSchema.parse({ score: { type: "none" } }))).rejects.toMatchObject({
      code: "invalid_request",
      param: "icdpo.overrides.candidates",
    });
  });
});

describe("what effort may take", () => {
  const { signal } = new AbortController();
  const tokens = (candidates: number | typeof effort, answers = 1) =>
    generationDemand(policy({ score: sHat, candidates }), request({ answers })).tokens(signal);

  it("is the most candidates, and the contexts of each wave", async () => {
    const context = (await tokens(2)) - ((await tokens(3)) - (await tokens(2))) * 2;
    expect(await tokens(effort)).toBe((await tokens(8)) + 2 * context);
    expect(generationDemand(policy({ score: sHat, candidates: effort }), request()).answers).toBe(8);
    expect(await tokens(effort, 8)).toBe(await tokens(8));
  });
});

describe("an evaluation's arm", () => {
  it("whose candidates are not scored has the most of them", async () => {
    const arm = { name: "p", policy: policy({ score: likelihood, candidates: effort }) };
    expect((await changedArm(arm, { unscored: true })).policy.settings.candidates).toBe(8);
    expect((await changedArm(arm, { unscored: true, candidates: 1 })).policy.settings.candidates).toBe(1);
    expect((await changedArm(arm, { temperature: 0.5 })).policy.settings.candidates).toEqual(effort);
  });
});
