import { describe, expect, it } from "vitest";
import type { CacheEntry } from "../../../lab/cache.ts";
import { generatorsOf } from "../../../lab/generators.ts";
import { betterHalf, promptsOfRung, rungsOf, shareOfLimit } from "../../../lab/halving.ts";
import { splitPrompts } from "../../../lab/split-prompts.ts";
import { chosenOf, type Standing } from "../../../lab/tuned-choice.ts";
import { ScriptedEngine } from "../scripted-engine.ts";
import { memory } from "./scripted-arm.ts";
import { measureOf, promptsOf, tuned, variantsOf } from "./scripted-tuning.ts";

/** Demonstrations that a context shows. */
const shotsIn = (context: string): number => context.match(/said \d/gu)?.length ?? 0;

/**
 * Of two samples the second is the better one, and the likelihood says so; Ŝ says the opposite. With four
 * demonstrations both are better. All are as long.
 */
function engineOf() {
  return new ScriptedEngine({
    sample: (index, context, { seeds, temperature }) => ({
      text: `${shotsIn(context)} shots, ${temperature === 0 ? "greedy" : `seed ${String(seeds[index]).padStart(10, "0")}`}, ${index}`,
    }),
    sum: (context, response) => {
      const place = Number(response.at(-1));
      return context.includes("offensively") ? -20 + 10 * place : -20 + place;
    },
  });
}

/** 0.2 for the second sample, 0.5 for four demonstrations, and something by the prompt. */
const worth = measureOf(worthOf);

function worthOf(prompt: string, text: string): number {
  const luck = (Number(prompt.split(" ")[1]) % 5) / 50;
  return (text.endsWith("1") ? 0.2 : 0) + (text.startsWith("4") ? 0.5 : 0) + luck;
}

const grid = `
- shots: [0, 2, 4]
  candidates: [1, 2]
  score: [{ type: contrast, negative: rejected }, { type: likelihood }]
- sampling.temperature: [0]
`;

const ask = { grid, measure: worth, tuning: promptsOf(10), heldOut: promptsOf(20, "other") };

describe("tuning", () => {
  it("finds a better setting that was hidden in the grid, of what is sampled and of what chooses", async () => {
    const { summary, compared, found } = await tuned({ ...ask, engine: engineOf() });
    expect(summary.chosen).toBe("shots 4; score likelihood");
    expect(found.rungs.map(({ generators }) => generators)).toEqual([4]);
    expect(compared.chosen.arm.policy.settings).toMatchObject({ shots: 4, candidates: 2 });
    const { hypotheses } = summary.heldOut;
    expect(hypotheses.map(({ than, holds }) => [than, holds])).toEqual([
      ["plain", true],
      ["as it is", true],
    ]);
    expect(hypotheses[1]?.estimate.value).toBeCloseTo(0.7, 9);
    expect(summary.verdict.join(" ")).toContain("It is better than plain: by 0.700");
    expect(summary.heldOut.rows).toHaveLength(20);
  });

  it("halves its generators where the limit forbids more, and keeps plain and the start to the end", async () => {
    const whole = await tuned({ ...ask, engine: engineOf() });
    const ms = whole.found.prompts.length * 2_000;
    const { found, summary, spent } = await tuned({ ...ask, engine: engineOf(), limit: { ms } });
    expect(found.rungs.length).toBeGreaterThan(1);
    expect(found.rungs[0]?.dropped.length).toBe(2);
    expect(found.rungs[1]?.generators).toBe(2);
    const labels = found.standings.map(({ variant }) => variant.label);
    expect(labels).toEqual(expect.arrayContaining(["plain", "as it is", "shots 4; score likelihood"]));
    expect(new Set(found.standings.map(({ rewards }) => rewards.length))).toEqual(new Set([found.prompts.length]));
    expect(summary.chosen).toBe("shots 4; score likelihood");
    expect(spent).toBeLessThan(1.1);
  });

  it.each(["ms", "tokens"] as const)("keeps to a limit of %s, and leaves enough for held-out prompts", async (unit) => {
    const engine = engineOf();
    const limit = { [unit]: 20_000 };
    const { found, heldOut, spent } = await tuned({ ...ask, tuning: promptsOf(200), engine, limit });
    expect(found.prompts.length).toBeLessThan(200);
    expect(heldOut.length).toBeGreaterThan(3);
    expect(spent).toBeLessThan(1.05);
    expect(engine.worked).toBeLessThan(21_000);
  });

  it("asks on in its last rung, where the first prompt took longer than others", async () => {
    // What the first prompt says takes ten times as long.
    const slow = new ScriptedEngine({
      sample: (index, context) => ({ text: context.includes("question 0<") ? "word ".repeat(200) : `word ${index}` }),
    });
    const ask = { grid: "- shots: [1]\n", engine: slow, tuning: promptsOf(60), heldOut: [], measure: worth };
    const { found } = await tuned({ ...ask, limit: { ms: 60_000 } });
    expect(found.rungs).toHaveLength(1);
    expect(found.prompts.length).toBeGreaterThan(30);
    expect(slow.worked).toBeGreaterThan(30_000);
    expect(slow.worked).toBeLessThan(41_000);
  });

  it("says what to do where the first prompt takes all of the limit", async () => {
    await expect(tuned({ ...ask, engine: engineOf(), limit: { ms: 100 } })).rejects.toThrow(
      /took \d+ % of the limit: nothing can be compared\. Raise --minutes/u,
    );
  });

  it("decides nothing by the held-out prompts", async () => {
    const { summary } = await tuned({ ...ask, engine: engineOf() });
    const adverse = measureOf((prompt, text) =>
      prompt.startsWith("other") ? (text.startsWith("4") ? 0 : 1) : worthOf(prompt, text),
    );
    const other = await tuned({ ...ask, engine: engineOf(), measure: adverse });
    expect(other.summary.chosen).toBe(summary.chosen);
    expect(other.summary.rungs).toEqual(summary.rungs);
    expect(other.summary.tuning).toEqual(summary.tuning);
    expect(other.summary.verdict.join(" ")).toMatch(/It is worse than plain.*Nothing is found to beat plain/u);
  });

  it("says that nothing beats plain where nothing does, and takes the cheapest", async () => {
    const same = measureOf((prompt) => Number(prompt.split(" ")[1]) / 100);
    const { summary } = await tuned({ ...ask, engine: engineOf(), measure: same });
    expect(summary.chosen).toBe("plain");
    expect(summary.verdict.join(" ")).toContain("Nothing is found to beat plain");
    const few = await tuned({ ...ask, engine: engineOf(), heldOut: promptsOf(3, "other") });
    expect(few.summary.verdict.join(" ")).toContain("Nothing is decided by 3 held-out prompts");
  });

  it("takes nothing of held-out prompts for a gain that was seen on the others alone", async () => {
    const lucky = measureOf((prompt, text) =>
      prompt.startsWith("other") ? Number(prompt.split(" ")[1]) / 100 : worthOf(prompt, text),
    );
    const { summary } = await tuned({ ...ask, engine: engineOf(), measure: lucky });
    expect(summary.chosen).toBe("shots 4; score likelihood");
    expect(summary.verdict.join(" ")).toMatch(
      /not found better than plain.*its gain over plain seemed 0\.\d+, 0\.7\d+ more/u,
    );
  });

  it.each([1, 4, 9, 12])("goes on from where it was killed, after %d prompts", async (prompts) => {
    const limit = { ms: 60_000 };
    const first = engineOf();
    const whole = await tuned({ ...ask, engine: first, limit });
    const killed = { engine: engineOf(), kept: memory(), controller: new AbortController() };
    let left = prompts;
    const onPrompt = (): void => {
      left -= 1;
      if (left === 0) killed.controller.abort();
    };
    const { signal } = killed.controller;
    await expect(tuned({ ...ask, ...killed, limit, signal, onPrompt })).rejects.toMatchObject({ code: "cancelled" });
    const engine = engineOf();
    const kept = memory(JSON.parse(JSON.stringify(killed.kept.added)) as CacheEntry[]);
    const again = await tuned({ ...ask, engine, limit, kept });
    expect(again.summary).toEqual(whole.summary);
    expect(killed.engine.worked).toBeGreaterThan(0);
    expect(killed.engine.worked + engine.worked).toBe(first.worked);
  });
});

describe("variants that choose among the same samples", () => {
  it("are sampled once for a prompt, and answer as they would alone", async () => {
    const engine = engineOf();
    const scores = "- candidates: [1, 3]\n  score: [{ type: contrast, negative: rejected }, { type: likelihood }]\n";
    const variants = await variantsOf(engine, scores).open();
    const [group] = generatorsOf(variants);
    expect(group?.variants.map(({ label }) => label)).toEqual([
      "candidates 3",
      "candidates 3; score likelihood",
      "as it is",
      "candidates 1",
    ]);
    const shared = await tuned({ ...ask, grid: scores, engine, tuning: promptsOf(2), heldOut: [] });
    const sampled = engine.calls.filter(({ type }) => type === "sample");
    // Plain, and the group's three samples.
    expect(sampled).toHaveLength(4);
    const alone = await tuned({ ...ask, grid: "- shots: [2]", engine: engineOf(), tuning: promptsOf(2), heldOut: [] });
    const id = variants[0]?.arm.policy.id ?? "";
    expect(shared.found.prompts.map(({ tried }) => tried.get(id)?.answer.text)).toEqual(
      alone.found.prompts.map(({ tried }) => tried.get(id)?.answer.text),
    );
    expect(shared.found.prompts[0]?.tried.get(id)?.work).toBe(alone.found.prompts[0]?.tried.get(id)?.work);
  });

  it("are others where the score takes part in sampling", async () => {
    const blocks =
      "- block: [{ tokens: 4 }]\n  score: [{ type: contrast, negative: rejected }, { type: likelihood }]\n";
    const variants = await variantsOf(engineOf(), blocks).open();
    expect(generatorsOf(variants).map((one) => one.variants.map(({ label }) => label))).toEqual([
      ["as it is"],
      ["plain"],
      ["block 4"],
      ["block 4; score likelihood"],
    ]);
  });

  it("are none of those drawn by contrast, which answer alone", async () => {
    const engine = engineOf();
    const decode = "- decode: [{ type: contrast, alpha: 1 }]\n  score.negative: [rejected, base]\n";
    const { found } = await tuned({ ...ask, grid: decode, engine, tuning: promptsOf(1), heldOut: [] });
    expect(found.standings.map(({ variant }) => variant.label).toSorted()).toEqual([
      "as it is",
      "decode contrast 1",
      "decode contrast 1; score.negative base",
      "plain",
    ]);
    const contrasted = engine.calls.filter((call) => call.type === "sample" && call.request.contrast !== undefined);
    expect(contrasted).toHaveLength(2);
  });
});

describe("halving", () => {
  it("plans rungs that cost the same, and asks no prompt that it cannot pay", () => {
    expect([0, 1, 2, 3, 8, 9].map(rungsOf)).toEqual([1, 1, 1, 2, 3, 4]);
    expect(promptsOfRung({ left: 0.6, cost: 0.01, rungs: 3, available: 100 })).toBe(20);
    expect(promptsOfRung({ left: 0.6, cost: 0.01, rungs: 3, available: 7 })).toBe(7);
    expect(promptsOfRung({ left: 0.6, cost: 0.5, rungs: 3, available: 100 })).toBe(1);
    expect(promptsOfRung({ left: 0.6, cost: 0.7, rungs: 3, available: 100 })).toBe(0);
    expect(promptsOfRung({ left: 0, cost: 0, rungs: 3, available: 100 })).toBe(0);
    expect(promptsOfRung({ left: 0.1, cost: 0, rungs: 3, available: 100 })).toBe(100);
    expect(shareOfLimit({ ms: 500, tokens: 10 }, { ms: 1_000, tokens: 100 }, 2)).toBe(0.25);
    expect(shareOfLimit({ ms: 500, tokens: 40 }, { ms: 1_000, tokens: 100 }, 2)).toBe(0.4);
    expect(betterHalf([3, 1, 2], (a, b) => a - b)).toEqual([1, 2]);
  });
});

function standing(label: string, rewards: readonly number[], work: number): Standing {
  const mean = rewards.reduce((sum, value) => sum + value, 0) / rewards.length;
  const variant = { label, arm: { policy: { id: label } } } as unknown as Standing["variant"];
  return { variant, rewards, mean, work };
}

describe("the choice", () => {
  const choice = (...standings: readonly [Standing, ...Standing[]]): string =>
    chosenOf(standings, "plain").variant.label;

  it("is the cheapest within one standard error of the best", () => {
    const best = standing("best", [1, 0.9, 0.8, 1], 300);
    // d = 0.1, 0, 0, 0.1: mean 0.05, standard error 0.029.
    const worse = standing("worse", [0.9, 0.9, 0.8, 0.9], 100);
    // d = 0.3, −0.1, −0.1, 0.1: mean 0.05, standard error 0.096.
    const near = standing("near", [0.7, 1, 0.9, 0.9], 200);
    expect(choice(worse, near, best)).toBe("near");
    expect(choice(worse, best)).toBe("best");
  });

  it("is plain where that is within noise, whatever it costs", () => {
    const best = standing("best", [1, 0.9, 0.8, 1], 100);
    expect(choice(best, standing("plain", [0.7, 1, 0.9, 0.9], 110))).toBe("plain");
    expect(choice(best, standing("plain", [0.9, 0.9, 0.8, 0.9], 50))).toBe("best");
  });

  it("is the cheaper of those that are as good, and the better of those that are as cheap", () => {
    expect(choice(standing("a", [1, 0], 20), standing("b", [1, 0], 10))).toBe("b");
    expect(choice(standing("a", [1, 0], 10), standing("b", [0, 1.2], 10))).toBe("b");
    // A single prompt says nothing of noise.
    expect(choice(standing("a", [1], 20), standing("b", [0], 10))).toBe("b");
  });
});

describe("prompts", () => {
  it("are parted by their own hashes, whatever others there are", () => {
    const all = splitPrompts(promptsOf(200), 0.4, 0);
    expect(all.tuning.length + all.heldOut.length).toBe(200);
    expect(Math.abs(all.heldOut.length - 80)).toBeLessThan(25);
    const half = splitPrompts(promptsOf(100), 0.4, 0);
    const ids = new Set(all.heldOut.map(({ id }) => id));
    expect(half.heldOut.filter(({ id }) => !ids.has(id))).toEqual([]);
    expect(half.tuning.filter(({ id }) => ids.has(id))).toEqual([]);
    expect(splitPrompts(promptsOf(200), 0.4, 1).heldOut).not.toEqual(all.heldOut);
    expect(() => splitPrompts(promptsOf(1), 0.4, 0)).toThrow(/both are needed/u);
  });
});
