/** Which worse response of a demonstration C⁻ shows. */
import { describe, expect, it } from "vitest";
import { withShownNegative } from "../../../src/icdpo/shown-negative.ts";
import type { Score } from "../../../src/policy/score-schema.ts";
import { ScriptedEngine } from "../scripted-engine.ts";
import {
  conversation,
  demonstration,
  icdpo,
  likelihood,
  measure,
  policy,
  request,
  s,
  says,
  sHat,
  signOf,
} from "./scripted-policy.ts";

const near = { type: "contrast", negative: "near", normalize: "sum" } as const;
const answers = ["first answer", "second answer", "third answer"];
const paired = [
  { ...demonstration("one"), near: answers },
  { ...demonstration("two"), near: ["only answer"] },
];

describe("d⁻ of a demonstration", () => {
  it.each<[string, Score]>([
    ["Ŝ", { ...sHat, normalize: "sum" }],
    ["S", { ...s, normalize: "sum" }],
    ["the likelihood", { ...likelihood, normalize: "sum" }],
    ["nothing", { type: "none", pick: "first" }],
  ])("is the written one where the score is %s", (_, score) => {
    expect(withShownNegative(paired[0] as (typeof paired)[0], score, () => 0.5)).toBe(paired[0]);
  });

  it("is each near negative for an equal share of what is random", () => {
    const shown = Array.from(
      { length: 30 },
      (_, i) => withShownNegative(paired[0] as (typeof paired)[0], near, () => i / 30).rejected,
    );
    for (const answer of answers) expect(shown.filter((text) => text === answer)).toHaveLength(10);
  });

  it("is missing where near negatives are asked for and there are none, whatever is written", () => {
    expect(withShownNegative(demonstration("one"), near, () => 0.5).rejected).toBeUndefined();
  });
});

describe("a policy with near negatives", () => {
  const script = {
    ...says("fox", "hen", "owl"),
    sum: (context: string, response: string) => (signOf(context) === "negative" ? -20 : -10) - response.length,
  };
  const contextsOf = async (seed: number) => {
    const engine = new ScriptedEngine(script);
    const outcome = await icdpo(engine, policy({ score: near, demonstrations: paired }), request({ seed }));
    const scored = engine.calls.flatMap((call) => (call.type === "score" ? [call.context] : []));
    return { outcome, negative: scored.find((context) => signOf(context) === "negative") ?? "", engine };
  };

  it("shows one for each demonstration in C⁻, and the chosen responses in C⁺ as ever", async () => {
    const { negative, engine, outcome } = await contextsOf(1);
    expect(negative).toMatch(/ask-two<\/user><assistant>only answer<.*ask-one<\/user><assistant>\w+ answer</u);
    expect(negative).not.toContain("-rrrr");
    expect(engine.calls.find(({ type }) => type === "sample")?.context).toContain("one+cccc");
    expect(outcome.demonstrations.map(({ demonstration: { rejected } }) => rejected)).toEqual([
      answers.find((answer) => negative.includes(answer)),
      "only answer",
    ]);
    expect(outcome.ranked[0]).toMatchObject({ score: expect.closeTo(10) });
  });

  it("shows the same for the same seed, and each for some seed", async () => {
    const shown = async (seed: number) => (await contextsOf(seed)).negative;
    expect(await shown(3)).toBe(await shown(3));
    const seen = await Promise.all(Array.from({ length: 40 }, (_, seed) => shown(seed)));
    for (const answer of answers) expect(seen.some((context) => context.includes(answer))).toBe(true);
  });

  it("measures given completions in the same C⁻ as the request with the same seed", async () => {
    for (const seed of [1, 2, 3, 4]) {
      const engine = new ScriptedEngine(script);
      const asked = { conversation, completions: ["fox"], seed };
      const { measured } = await measure(engine, policy({ score: near, demonstrations: paired }), asked);
      expect(engine.calls.map(({ context }) => context)).toContain((await contextsOf(seed)).negative);
      expect(measured[0]?.sHat).toBeCloseTo(10);
    }
  });

  it("shows for given demonstrations what they showed where they were retrieved, whatever chance the retriever took", async () => {
    const own = policy({ score: near, demonstrations: paired });
    const byChance = {
      ...own,
      retriever: {
        retrieve: async (_: unknown, { random }: { random: () => number }) => {
          random();
          return paired.map((found) => ({ demonstration: found, similarity: null }));
        },
      },
    };
    const measuredIn = async (seed: number, demonstrations?: typeof paired) => {
      const engine = new ScriptedEngine(script);
      await measure(engine, byChance, { conversation, completions: ["fox"], seed, demonstrations });
      return engine.calls.map(({ context }) => context).find((context) => signOf(context) === "negative");
    };
    for (const seed of [1, 2, 3, 4, 5, 6]) {
      expect(await measuredIn(seed, paired)).toBe(await measuredIn(seed));
      expect((await contextsOf(seed)).negative).toBe(await measuredIn(seed));
    }
  });

  it("has no Ŝ of given demonstrations without them, and chooses by S", async () => {
    const engine = new ScriptedEngine({ sum: (context) => (signOf(context) === "base" ? -9 : -5) });
    const asked = { conversation, completions: ["fox"], seed: 1, demonstrations: [demonstration("mine")] };
    const { measured } = await measure(engine, policy({ score: near, demonstrations: paired }), asked);
    expect(measured[0]).toMatchObject({ negative: null, sHat: null, score: expect.closeTo(4) });
  });
});
