/** A reward model that chooses, alone or beside log-probabilities. */
import { describe, expect, it } from "vitest";
import { onlyEngine } from "../../../src/engine/engines.ts";
import { chatCompletionSchema, scoreSchema } from "../../../src/http/answer-schemas.ts";
import { buildPolicySet } from "../../../src/policy/build.ts";
import { overridden } from "../../../src/policy/overrides.ts";
import type { RewardModel, Rewards } from "../../../src/reward/reward-model.ts";
import { cancelled, GatewayError } from "../../../src/types/error.ts";
import { ScriptedEngine } from "../scripted-engine.ts";
import { gateway } from "../scripted-gateway.ts";
import {
  conversation,
  icdpo,
  likelihood,
  measure,
  policy,
  request,
  type Sums,
  sampleCall,
  says,
  scoreCalls,
  sHat,
  table,
} from "./scripted-policy.ts";

/** What each text is worth; any other: its length. */
function rewardOf(worth: Readonly<Record<string, number>>): RewardModel & { readonly asked: string[] } {
  const asked: string[] = [];
  return {
    id: "worth",
    asked,
    async reward(messages, text) {
      expect(messages).toEqual(conversation);
      asked.push(text);
      return worth[text] ?? text.length;
    },
  };
}

const sums: Sums = { fox: [-10, -11, -30], hen: [-12, -20, -15], owl: [-9, -9.5, -10] };
const script = (...texts: string[]) => ({ ...says(...texts), ...table(sums) });
const worth = { fox: 2, hen: -3, owl: 4 };
const alone = { type: "reward", model: "judge" } as const;
const mixed = { ...sHat, reward: { model: "judge", weight: 2 } } as const;
const rewarded = (score: unknown, reward: RewardModel) => ({ ...policy({ score }), reward });

describe("a reward model alone", () => {
  it("chooses the largest reward; nothing is fed to any model for it", async () => {
    const engine = new ScriptedEngine(script("fox", "hen", "owl"));
    const { ranked, fallback } = await icdpo(engine, rewarded(alone, rewardOf(worth)), request());
    expect(ranked.map(({ text, reward, score, positive }) => [text, reward, score, positive])).toEqual([
      ["owl", 4, 4, null],
      ["fox", 2, 2, null],
      ["hen", -3, -3, null],
    ]);
    expect(fallback).toBeNull();
    expect(scoreCalls(engine)).toEqual([]);
    expect(sampleCall(engine).request.logprobs).toBe(false);
  });

  it("is asked once about a text, and never about an empty one, which wins only if all are", async () => {
    const reward = rewardOf({ fox: -5 });
    const { ranked } = await icdpo(new ScriptedEngine(says("", "fox", "fox")), rewarded(alone, reward), request());
    expect(reward.asked).toEqual(["fox"]);
    expect(ranked.map(({ text, score }) => [text, score])).toEqual([
      ["fox", -5],
      ["fox", -5],
      ["", null],
    ]);
  });

  it("can choose among the answers of a service that tells no log-probabilities", async () => {
    const capabilities = { chat: true, text: false, score: false, grammar: false, tools: null };
    const set = await build("score: { type: reward, model: judge }\n", rewardOf(worth), { capabilities });
    expect(set.policies.get("p")?.settings.score).toEqual(alone);
  });
});

describe("a reward that is mixed in", () => {
  it("adds λ nats for a unit of reward", async () => {
    const engine = new ScriptedEngine(script("fox", "hen", "owl"));
    const { ranked } = await icdpo(engine, rewarded(mixed, rewardOf(worth)), request());
    expect(ranked.map(({ text, reward, score }) => [text, reward, score])).toEqual([
      ["owl", 4, expect.closeTo(0.5 + 8)],
      ["fox", 2, expect.closeTo(1 + 4)],
      ["hen", -3, expect.closeTo(8 - 6)],
    ]);
  });

  it("is no part of what a token adds on average", async () => {
    const by = { ...likelihood, normalize: "length", reward: { model: "judge", weight: 100 } };
    const engine = () => new ScriptedEngine(script("fox", "hen", "owl"));
    const { natsPerToken } = await icdpo(engine(), rewarded(by, rewardOf(worth)), request());
    const without = await icdpo(engine(), policy({ score: { ...likelihood, normalize: "length" } }), request());
    expect(natsPerToken).toBe(without.natsPerToken);
  });
});

describe.each([
  ["alone", alone],
  ["mixed in", mixed],
  ["beside the likelihood, which sampling tells", { ...likelihood, reward: mixed.reward }],
])("a reward %s", (_, score) => {
  const run = (reward: RewardModel, of = request()) =>
    icdpo(new ScriptedEngine(script("fox", "hen", "owl")), rewarded(score, reward), of);

  it("that cannot be had is an error, never a pick of something", async () => {
    const away = new GatewayError("engine_unavailable", "away");
    const reward = { ...rewardOf(worth), reward: () => Promise.reject(away) };
    await expect(run(reward)).rejects.toBe(away);
    await expect(
      icdpo(new ScriptedEngine(script("fox", "hen", "owl")), policy({ score }), request()),
    ).rejects.toMatchObject({ code: "configuration" });
  });

  it("that does not come within the budget leaves its candidate after those that have one", async () => {
    const budget = new AbortController();
    const reward: RewardModel = {
      id: "slow",
      async reward(_conversation, text, signal) {
        if (text === "hen") return 1;
        await new Promise((resolve) => setTimeout(resolve, 5));
        budget.abort();
        throw cancelled(signal as AbortSignal);
      },
    };
    const { ranked, fallback } = await run(reward, request({ budget: budget.signal }));
    expect(fallback).toBe("budget");
    expect(ranked[0]).toMatchObject({ text: "hen", reward: 1, score: expect.any(Number) });
    expect(ranked.slice(1).map((one) => [one.reward, one.score])).toEqual([
      [null, null],
      [null, null],
    ]);
  });
});

describe("given completions", () => {
  const asked = { conversation, completions: ["hen", "fox", "owl"], seed: 1 };

  it("have all sums as ever, and the policy's choice by their rewards", async () => {
    const engine = new ScriptedEngine(script());
    const { chosen, measured } = await measure(engine, rewarded(alone, rewardOf({ ...worth, fox: 9 })), asked);
    expect(chosen).toBe(1);
    expect(measured.map(({ reward, score, sHat }) => [reward, score, sHat])).toEqual([
      [-3, -3, expect.closeTo(8)],
      [9, 9, expect.closeTo(1)],
      [4, 4, expect.closeTo(0.5)],
    ]);
  });

  it("have a mixed score where the policy mixes, and none where the text is empty", async () => {
    const reward = rewardOf(worth);
    const engine = new ScriptedEngine({ sum: (_context, response) => (response === "" ? -1 : -10) });
    const { chosen, measured } = await measure(engine, rewarded(mixed, reward), { ...asked, completions: ["", "owl"] });
    expect([chosen, measured[0]?.reward, measured[0]?.score, measured[1]?.score]).toEqual([1, null, null, 8]);
    expect(reward.asked).toEqual(["owl"]);
  });
});

const rewards = (reward: RewardModel): Rewards => new Map([["judge", () => reward]]);

function build(text: string, reward: RewardModel | null, engine: ConstructorParameters<typeof ScriptedEngine>[0] = {}) {
  return buildPolicySet(
    { policies: new Map([["p", text]]), routes: "routes: { r: { policy: p } }", demonstrations: new Map() },
    {
      engines: onlyEngine(new ScriptedEngine(engine)),
      embedder: () => Promise.reject(new Error("not needed")),
      ...(reward && { rewards: rewards(reward) }),
    },
  );
}

describe("a policy with a reward model", () => {
  const file = "instructions: {}\nscore:\n  type: contrast\n  negative: base\n  reward: { model: judge, weight: 1 }\n";
  const only = "score:\n  type: reward\n  model: judge\n";

  it("has it in its hash", async () => {
    const idOf = async (reward: RewardModel) => (await build(file, reward)).policies.get("p")?.id;
    expect(await idOf(rewardOf({}))).toBe(await idOf(rewardOf(worth)));
    expect(await idOf({ ...rewardOf({}), id: "other" })).not.toBe(await idOf(rewardOf({})));
  });

  it.each([
    [only.replace("judge", "juge"), 'policies/p.yaml:3: score.model: there is no reward model "juge", but: judge;'],
    [file.replace("judge", "juge"), 'policies/p.yaml:5: score.reward.model: there is no reward model "juge"'],
    [`${only}block: { tokens: 4 }\n`, "policies/p.yaml:3: score.model: reward models judge whole answers"],
    [`${file}block: { tokens: 4 }\n`, "policies/p.yaml:5: score.reward.model: reward models judge whole answers"],
    [`${only}scorer: default\n`, "policies/p.yaml:4: scorer: a reward model chooses"],
    [`${only}  normalize: token\n`, "policies/p.yaml:4: score.normalize: Unrecognized key"],
    [file.replace("weight: 1", "weight: 0"), "policies/p.yaml:5: score.reward.weight"],
  ])("is refused by the line that is wrong: %j", async (text, complaint) => {
    await expect(build(text, rewardOf({}))).rejects.toThrow(complaint);
  });

  it("is refused where none is defined, or it cannot be opened", async () => {
    await expect(build(only, null)).rejects.toThrow("name it under rewards in the engines file");
    const keyless = () => {
      throw new GatewayError("configuration", "set the environment variable KEY.");
    };
    const set = buildPolicySet(
      { policies: new Map([["p", only]]), routes: "routes: { r: { policy: p } }", demonstrations: new Map() },
      {
        engines: onlyEngine(new ScriptedEngine()),
        embedder: () => Promise.reject(new Error("not needed")),
        rewards: new Map([["judge", keyless]]),
      },
    );
    await expect(set).rejects.toThrow("policies/p.yaml:3: score.model: set the environment variable KEY.");
  });

  it("may be what a request changes, where the policy was loaded with that model", async () => {
    const own = rewarded(alone, rewardOf(worth));
    const { score } = rewarded(mixed, rewardOf(worth)).settings;
    expect((await overridden(own, { score })).settings.score).toEqual(score);
    await expect(overridden(policy({ score: sHat }), { score })).rejects.toMatchObject({
      code: "invalid_request",
      param: "icdpo.overrides.score.reward.model",
    });
    const other = { type: "reward", model: "other" } as const;
    await expect(overridden(own, { score: other })).rejects.toMatchObject({ param: "icdpo.overrides.score.model" });
  });

  it("explains each candidate's reward, and gives those of given completions", async () => {
    const reward: RewardModel = { id: "number", reward: async (_, text) => Number(/\d/u.exec(text)?.[0] ?? -1) };
    const { chat, post } = await gateway({}, {}, { judged: only }, undefined, undefined, rewards(reward));
    const answer = chatCompletionSchema.parse(await (await chat({ model: "judged", icdpo: { explain: true } })).json());
    expect(answer.icdpo?.candidates.map(({ reward, score, chosen }) => [reward, score, chosen])).toEqual([
      [0, 0, false],
      [1, 1, false],
      [2, 2, true],
    ]);
    const body = { model: "judged", messages: conversation, completions: ["no. 4", "none"] };
    const scored = scoreSchema.parse(await (await post("/v1/score", body)).json());
    expect([scored.chosen, ...scored.data.map(({ reward }) => reward)]).toEqual([0, 4, -1]);
  });
});
