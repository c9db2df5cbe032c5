/** What a request may take, told before it begins. */
import { describe, expect, it } from "vitest";
import { generationDemand, scoringDemand } from "../../../src/gateway/demand.ts";
import { demonstration, policy, sHat } from "../icdpo/scripted-policy.ts";

const { signal } = new AbortController();
const conversation = [{ role: "user", content: "Why?" }] as const;
const digits = (count: number): string => "1".repeat(count);

describe("tokens of C⁻", () => {
  const demonstrations = [{ ...demonstration("one"), rejected: digits(100), near: [digits(20), digits(700)] }];
  const sampling = { temperature: 1, topP: 1, topK: 0, maxTokens: 10, stop: [] };
  const near = { type: "contrast", negative: "near" };
  const generated = (score: unknown) =>
    generationDemand(policy({ score, demonstrations }), { conversation, sampling, answers: 1 }).tokens(signal);
  const measured = (score: unknown) =>
    scoringDemand(policy({ score, demonstrations }), { conversation, completions: ["1"] }).tokens(signal);

  it("are those of the responses that it shows: of near negatives the longest", async () => {
    const shots = 2;
    expect((await generated(near)) - (await generated(sHat))).toBe(shots * (700 - 100));
    expect((await measured(near)) - (await measured(sHat))).toBe(shots * (700 - 100));
  });
});
