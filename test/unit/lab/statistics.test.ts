import { describe, expect, it } from "vitest";
import { chanceReciprocalRank, judgedPoints, reciprocalRank } from "../../../lab/ranking.ts";
import {
  bootstrapMean,
  bootstrapRatio,
  detectable,
  deviation,
  holm,
  median,
  pairsNeeded,
  quantile,
  shareOf,
  shuffled,
  signFlip,
} from "../../../lab/statistics.ts";
import type { Teacher } from "../../../src/demonstrations/teacher.ts";
import { randomFrom } from "../../../src/icdpo/seed.ts";

/** Normal, mean 0, deviation 1. */
function normalFrom(random: () => number): () => number {
  return () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

describe("bootstrapMean", () => {
  it("covers the true mean about as often as it says: one set, and the mean of two unequal ones", () => {
    const random = randomFrom(7);
    const normal = normalFrom(random);
    const simulations = 400;
    const covered = { one: 0, two: 0, difference: 0 };
    for (let seed = 0; seed < simulations; seed++) {
      const skewed = Array.from({ length: 60 }, () => -Math.log(1 - random())); // exponential, mean 1
      const one = bootstrapMean([skewed], { seed, resamples: 400 });
      if (one !== null && one.low <= 1 && 1 <= one.high) covered.one += 1;
      const two = bootstrapMean(
        [Array.from({ length: 40 }, () => 3 + normal()), Array.from({ length: 80 }, () => -5 + 4 * normal())],
        {
          seed,
          resamples: 400,
        },
      );
      if (two !== null && two.low <= -1 && -1 <= two.high) covered.two += 1;
      // Arms that share their prompts: what the prompts vary by cancels out of the difference.
      const pairs = Array.from({ length: 60 }, () => {
        const prompt = 10 * normal();
        return prompt + 0.5 + normal() - (prompt + normal());
      });
      const difference = bootstrapMean([pairs], { seed, resamples: 400 });
      if (difference !== null && difference.low <= 0.5 && 0.5 <= difference.high) covered.difference += 1;
    }
    for (const count of Object.values(covered)) {
      expect(count / simulations).toBeGreaterThan(0.9);
      expect(count / simulations).toBeLessThan(0.985);
    }
  });

  it("weighs data sets equally, not their prompts", () => {
    expect(bootstrapMean([[1, 1, 1], [4]])).toEqual({ value: 2.5, low: 2.5, high: 2.5 });
  });

  it("is decided by its seed, and says nothing of nothing", () => {
    const values = [[1, 2, 5, 9, 11]];
    expect(bootstrapMean(values, { seed: 3 })).toEqual(bootstrapMean(values, { seed: 3 }));
    expect(bootstrapMean(values, { seed: 3 })).not.toEqual(bootstrapMean(values, { seed: 4 }));
    expect(bootstrapMean([])).toBeNull();
    expect(bootstrapMean([[1], []])).toBeNull();
  });
});

describe("bootstrapRatio", () => {
  it("is the ratio of the means, not the mean of the ratios", () => {
    const pairs = [
      { over: 1, under: 4 },
      { over: 2, under: 1 },
    ];
    expect(bootstrapRatio(pairs)?.value).toBeCloseTo(3 / 5, 12);
    expect(bootstrapRatio([{ over: 1, under: 2 }])).toEqual({ value: 0.5, low: 0.5, high: 0.5 });
  });

  it("says nothing where there is nothing to gain, and bears prompts where there is nothing", () => {
    expect(bootstrapRatio([])).toBeNull();
    expect(bootstrapRatio([{ over: 0, under: 0 }])).toBeNull();
    const some = bootstrapRatio([
      { over: 0, under: 0 },
      { over: 1, under: 2 },
    ]);
    expect(some).toEqual({ value: 0.5, low: 0.5, high: 0.5 });
  });

  it("covers the true ratio about as often as it says", () => {
    const random = randomFrom(17);
    const normal = normalFrom(random);
    let covered = 0;
    const simulations = 300;
    for (let seed = 0; seed < simulations; seed++) {
      const pairs = Array.from({ length: 80 }, () => {
        const under = -Math.log(1 - random());
        return { over: 0.3 * under + 0.3 * normal(), under };
      });
      const ratio = bootstrapRatio(pairs, { seed, resamples: 400 });
      if (ratio !== null && ratio.low <= 0.3 && 0.3 <= ratio.high) covered += 1;
    }
    expect(covered / simulations).toBeGreaterThan(0.9);
    expect(covered / simulations).toBeLessThan(0.985);
  });
});

describe("signFlip", () => {
  it("is Fisher's test of Darwin's maize: 863 of 32,768 on either side (The Design of Experiments, § 21)", () => {
    const maize = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48];
    expect(signFlip(maize)).toBe((2 * 863) / 32_768);
  });

  it("is exact for a few, passes over what does not differ, and knows no direction", () => {
    expect(signFlip([1, 2, 3])).toBe(2 / 8);
    expect(signFlip([0, 1, 2, 0, 3])).toBe(2 / 8);
    expect(signFlip([-1, -2, -3])).toBe(2 / 8);
    expect(signFlip([1, -1])).toBe(1);
    expect(signFlip([])).toBe(1);
  });

  it("rejects as often as it says where there is no difference, and is decided by its seed", () => {
    const random = randomFrom(23);
    const normal = normalFrom(random);
    let rejected = 0;
    for (let i = 0; i < 300; i++) if (signFlip(Array.from({ length: 20 }, normal), i) < 0.05) rejected += 1;
    expect(rejected / 300).toBeGreaterThan(0.02);
    expect(rejected / 300).toBeLessThan(0.09);
    const some = Array.from({ length: 40 }, normal);
    expect(signFlip(some, 3)).toBe(signFlip(some, 3));
    expect(signFlip(some.map((value) => value + 5))).toBe(1 / 10_001);
  });
});

describe("holm", () => {
  it("is R's p.adjust, in the order that was given", () => {
    const close = (adjusted: readonly number[], expected: readonly number[]): void =>
      expected.forEach((value, i) => {
        expect(adjusted[i]).toBeCloseTo(value, 12);
      });
    close(holm([0.01, 0.02, 0.03, 0.04, 0.05]), [0.05, 0.08, 0.09, 0.09, 0.09]);
    close(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02]);
    close(holm([0.9, 0.8]), [1, 1]);
    expect(holm([])).toEqual([]);
  });
});

describe("power", () => {
  it("finds 0.057 with 150 prompts of deviation 0.25, and half a deviation with 32", () => {
    expect(detectable(0.25, 150)).toBeCloseTo(0.0572, 4);
    expect(pairsNeeded(1, 0.5)).toBe(32);
    expect(pairsNeeded(1, -0.5)).toBe(32);
    expect(pairsNeeded(1, 1e-17)).toBe(Number.POSITIVE_INFINITY);
    expect(deviation([2, 4, 4, 4, 5, 5, 7, 9])).toBeCloseTo(2.138, 3);
  });
});

describe("shareOf", () => {
  it("is Wilson's interval", () => {
    // Computed by hand: 8 of 10.
    const eight = shareOf([...Array<number>(8).fill(1), 0, 0]);
    expect(eight?.value).toBe(0.8);
    expect(eight?.low).toBeCloseTo(0.4902, 4);
    expect(eight?.high).toBeCloseTo(0.9433, 4);
  });

  it("is not certain where all agree, and counts ties half", () => {
    const all = shareOf(Array<number>(20).fill(1));
    expect(all?.value).toBe(1);
    expect(all?.low).toBeCloseTo(0.8389, 4);
    expect(all?.high).toBeCloseTo(1, 12);
    expect(shareOf([1, 0.5, 0.5, 0])?.value).toBe(0.5);
    expect(shareOf([])).toBeNull();
  });

  it("covers the true share about as often as it says", () => {
    const random = randomFrom(11);
    for (const truth of [0.5, 0.9]) {
      let covered = 0;
      for (let i = 0; i < 2_000; i++) {
        const share = shareOf(Array.from({ length: 100 }, () => Number(random() < truth)));
        if (share !== null && share.low <= truth && truth <= share.high) covered += 1;
      }
      expect(covered / 2_000).toBeGreaterThan(0.93);
      expect(covered / 2_000).toBeLessThan(0.98);
    }
  });
});

describe("quantile and median", () => {
  it("lie between neighbours in proportion", () => {
    expect(quantile([0, 10], 0.25)).toBe(2.5);
    expect(median([9, 1, 3])).toBe(3);
    expect(median([4, 1, 3, 2])).toBe(2.5);
  });
});

describe("shuffled", () => {
  it("holds each index once, by its seed", () => {
    expect(shuffled(100, 5).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect(shuffled(100, 5)).toEqual(shuffled(100, 5));
    expect(shuffled(100, 5)).not.toEqual(shuffled(100, 6));
  });

  it("puts every index everywhere equally often", () => {
    const firsts = new Array<number>(5).fill(0);
    for (let seed = 0; seed < 5_000; seed++) (firsts[shuffled(5, seed)[0] as number] as number) += 1;
    for (let seed = 0, counts = firsts; seed < 5; seed++)
      expect(Math.abs((counts[seed] as number) - 1_000)).toBeLessThan(130);
  });
});

describe("reciprocalRank", () => {
  it.each([
    ["the scorer agrees on the best", [3, 1, 2], [9, 0, 5], 1],
    ["the best comes second", [3, 4, 2], [9, 0, 5], 1 / 2],
    ["the best comes last", [1, 4, 2], [9, 0, 5], 1 / 3],
    ["the scorer finds the best and another equal: first or second", [4, 4, 2], [9, 0, 5], (1 + 1 / 2) / 2],
    ["the scorer knows nothing", [0, 0, 0], [9, 0, 5], (1 + 1 / 2 + 1 / 3) / 3],
    ["two are best: the mean of their ranks", [3, 2, 1], [9, 9, 5], (1 + 1 / 2) / 2],
    ["an unscored candidate ranks last", [Number.NEGATIVE_INFINITY, 2, 1], [9, 0, 5], 1 / 3],
  ])("%s", (_, scores, truth, expected) => {
    expect(reciprocalRank(scores, truth)).toBeCloseTo(expected, 12);
  });

  it("gives a random scorer what chance gives", () => {
    const random = randomFrom(1);
    const ranks = Array.from({ length: 4_000 }, () =>
      reciprocalRank([random(), random(), random()], [Math.round(random()), 1, 0]),
    );
    expect(Math.abs(ranks.reduce((sum, rank) => sum + rank, 0) / 4_000 - chanceReciprocalRank(3))).toBeLessThan(0.015);
    expect(chanceReciprocalRank(3)).toBeCloseTo(11 / 18, 12);
  });
});

describe("judgedPoints", () => {
  const judge = (opinion: (a: string, b: string) => string): Teacher & { asked: number } => ({
    model: "judge",
    id: "judge",
    asked: 0,
    async ask(messages) {
      this.asked += 1;
      const [, a = "", b = ""] =
        /# Answer A\n\n(.*)\n\n# Answer B\n\n(.*)\n\nWhich/u.exec(messages[1]?.content ?? "") ?? [];
      return { text: `VERDICT: ${opinion(a, b)}`, finish: "stop", promptTokens: 1, completionTokens: 1 };
    },
  });
  const signal = new AbortController().signal;

  it("lets each candidate meet each other, in both orders", async () => {
    const longer = judge((a, b) => (a.length > b.length ? "A" : "B"));
    expect(await judgedPoints(longer, [], ["aa", "aaa", "a"], "key", signal)).toEqual([1, 2, 0]);
    expect(longer.asked).toBe(6);
  });

  it("does not believe a judge that leans to a place, nor asks about equal texts", async () => {
    const leaning = judge(() => "A");
    expect(await judgedPoints(leaning, [], ["x", "y", "x"], "key", signal)).toEqual([1, 1, 1]);
    expect(leaning.asked).toBe(4);
    expect(
      await judgedPoints(
        judge(() => "no idea"),
        [],
        ["x", "y"],
        "key",
        signal,
      ),
    ).toBeNull();
  });
});
