/** What only shows among all candidates: scores less what their length adds. */
import { describe, expect, it } from "vitest";
import { chatCompletionSchema } from "../../../src/http/answer-schemas.ts";
import { finalScores } from "../../../src/icdpo/final-scores.ts";
import { overridden } from "../../../src/policy/overrides.ts";
import { RunningRate } from "../../../src/policy/running-rate.ts";
import { ScriptedEngine } from "../scripted-engine.ts";
import { gateway } from "../scripted-gateway.ts";
import { icdpo, measure, policy, request, type Sums, says, sHat, signOf, table } from "./scripted-policy.ts";

/** Ŝ of 10, 6 and 5 nats over 20, 8 and 4 tokens, EOS among them. */
const sums: Sums = { "nineteen characters": [-10, -20, -30], "a tulip": [-10, -16, -30], oak: [-10, -15, -30] };
const script = { ...says("nineteen characters", "a tulip", "oak"), ...table(sums) };
const byLength = { ...sHat, normalize: "length" } as const;

const policyFile =
  "demonstrations: set\nretriever: { type: bm25 }\nscore: { type: contrast, negative: rejected, normalize: length }\n";

const rateOf = async (nats: number, tokens: number): Promise<RunningRate> => {
  const rate = await RunningRate.open("p@1", {});
  rate.add({ nats, tokens });
  return rate;
};

describe("scores normalised by length", () => {
  it("are less β = Σ score / Σ tokens for each token, of the request itself where nothing is known", async () => {
    const outcome = await icdpo(new ScriptedEngine(script), policy({ score: byLength }), request());
    expect(outcome.natsPerToken).toBeCloseTo(21 / 32);
    expect(outcome.ranked.map(({ text, score }) => [text, score])).toEqual([
      ["oak", expect.closeTo(5 - (4 * 21) / 32)],
      ["a tulip", expect.closeTo(6 - (8 * 21) / 32)],
      ["nineteen characters", expect.closeTo(10 - (20 * 21) / 32)],
    ]);
  });

  it("pool what is known with the request's own, which is known to the next one", async () => {
    const rate = await rateOf(0, 968);
    const remembering = { ...policy({ score: byLength }), rate };
    const first = await icdpo(new ScriptedEngine(script), remembering, request());
    expect(first.natsPerToken).toBeCloseTo(21 / 1_000);
    expect(first.ranked[0]?.text).toBe("nineteen characters");
    expect(rate.totals).toEqual({ nats: expect.closeTo(21), tokens: 1_000 });
    const second = await icdpo(new ScriptedEngine(script), remembering, request());
    expect(second.natsPerToken).toBeCloseTo(42 / 1_032);
  });

  it("have the β that a policy says, whatever its candidates are", async () => {
    const rate = await rateOf(0, 1_000);
    const outcome = await icdpo(
      new ScriptedEngine(script),
      { ...policy({ score: { ...byLength, nats_per_token: 0.3 } }), rate },
      request(),
    );
    expect(outcome.natsPerToken).toBe(0.3);
    expect(outcome.ranked[0]?.score).toBeCloseTo(10 - 20 * 0.3);
  });

  it("do not favour the longest of samples whose every token adds the same on average", () => {
    const lengths = [5, 10, 20, 40, 80];
    const { scores } = finalScores(
      policy({ score: byLength }),
      lengths.map((tokens) => ({ score: 0.05 * tokens, tokens })),
    );
    for (const score of scores) expect(score).toBeCloseTo(0);
  });

  it("are of likelihoods as well", async () => {
    const likelihood = { type: "likelihood", normalize: "length" } as const;
    const { natsPerToken, ranked } = await icdpo(new ScriptedEngine(script), policy({ score: likelihood }), request());
    expect(natsPerToken).toBeCloseTo(-30 / 32);
    expect(ranked[0]).toMatchObject({ text: "nineteen characters", score: expect.closeTo(-10 + (20 * 30) / 32) });
  });

  it("have one β for all blocks, of the first ones, and remember those that were not taken", async () => {
    const rate = await rateOf(0, 0);
    const whole = { ...policy({ score: byLength }), rate };
    const inBlocks = { ...whole, settings: { ...whole.settings, block: { tokens: 4 } } };
    // Ŝ is 4 over four tokens that go on, 3 over one and its end.
    const engine = new ScriptedEngine({
      sample: (index) => (index === 1 ? { text: "b" } : { text: "aaaa", finish: "length" }),
      sum: (context) => (signOf(context) === "positive" ? -5 : -8),
    });
    const { ranked, natsPerToken } = await icdpo(engine, inBlocks, request());
    expect(natsPerToken).toBeCloseTo(7 / 6);
    expect(ranked).toMatchObject([{ text: "b", score: expect.closeTo(3 - 2 * (7 / 6)) }]);
    expect(rate.totals).toEqual({ nats: expect.closeTo(7), tokens: 6 });
    const bySum = { ...inBlocks, settings: { ...inBlocks.settings, score: policy({ score: sHat }).settings.score } };
    expect((await icdpo(engine, bySum, request())).ranked[0]?.text).toMatch(/^aaaa/u);
  });

  it("are explained, and shown with the policy", async () => {
    const { chat, app } = await gateway({}, {}, { fair: policyFile });
    const page = async () => (await app.request("/policies")).text();
    expect(await page()).toContain("β: no candidate yet");
    const answer = await (await chat({ model: "fair", icdpo: { explain: true } })).json();
    const { icdpo: explained } = chatCompletionSchema.parse(answer);
    // Ŝ of 2, 10 and 2 nats over 20 tokens each.
    expect(explained?.nats_per_token).toBeCloseTo(14 / 60);
    expect(explained?.candidates[1]?.score).toBeCloseTo(10 - 14 / 3);
    expect(await page()).toContain("β: 0.2333 nats per token, over 60 tokens");
  });

  it("leave out what has no score, or none that is finite", () => {
    const rated = finalScores(policy({ score: byLength }), [
      { score: 4, tokens: 10 },
      { score: null, tokens: 1 },
      { score: Number.NEGATIVE_INFINITY, tokens: 10 },
    ]);
    expect(rated).toEqual({ scores: [0, null, Number.NEGATIVE_INFINITY], natsPerToken: 0.4 });
  });

  it.each(["sum", "token"] as const)("are no other where a policy says %s", async (normalize) => {
    const rate = await rateOf(50, 100);
    const plain = await icdpo(new ScriptedEngine(script), policy({ score: { ...sHat, normalize } }), request());
    const rated = { ...policy({ score: { ...sHat, normalize } }), rate };
    const { ranked, natsPerToken } = await icdpo(new ScriptedEngine(script), rated, request());
    expect(ranked.map(({ score }) => score)).toEqual(plain.ranked.map(({ score }) => score));
    expect(natsPerToken).toBeNull();
  });

  it("prefer among given completions by what is known, and learn nothing of these", async () => {
    const rate = await rateOf(0, 1_000_000);
    const asked = { conversation: request().conversation, completions: Object.keys(sums), seed: 1 };
    const ofSamples = { ...policy({ score: byLength }), rate };
    expect((await measure(new ScriptedEngine(script), ofSamples, asked)).chosen).toBe(0);
    expect(rate.totals).toEqual({ nats: 0, tokens: 100_000 });
    expect((await measure(new ScriptedEngine(script), policy({ score: byLength }), asked)).chosen).toBe(2);
  });

  it("go on from the policy's mean where a request changes another setting, and from nothing where it changes the score", async () => {
    const rate = await rateOf(5, 100);
    const rated = { ...policy({ score: byLength }), rate };
    expect((await overridden(rated, { shots: 1 })).rate).toBe(rate);
    expect((await overridden(rated, { score: { ...byLength, negative: "base" } })).rate).toBeUndefined();
  });
});
