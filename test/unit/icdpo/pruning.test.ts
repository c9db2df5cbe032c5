/** Which candidates a policy that prunes drops. */
import { describe, expect, it } from "vitest";
import { compareRace } from "../../../src/icdpo/pruning.ts";
import { keptOf } from "../../../src/policy/choice-schema.ts";
import { scoreSchema } from "../../../src/policy/score-schema.ts";

const score = scoreSchema.parse({ type: "likelihood" });

interface Runner {
  readonly index: number;
  readonly text: string;
  readonly score: number | null;
  readonly finish: "stop" | "length" | null;
  readonly sample: null;
}

const runner = (index: number, own: number | null, more: Partial<Runner> = {}): Runner => ({
  index,
  text: "so far",
  score: own,
  finish: null,
  sample: null,
  ...more,
});

describe("how many stay in a race", () => {
  it.each([
    [8, 0.5, 1, 4],
    [3, 0.5, 1, 2],
    [1, 0.5, 1, 1],
    [8, 0.01, 1, 1],
    [10, 0.7, 1, 7],
    [8, 0.5, 6, 6],
    [4, 0.5, 9, 4],
    [2, 0.9, 1, 2],
  ])("of %i with %f and %i answers are %i", (among, keep, answers, kept) => {
    expect(keptOf(among, keep, answers)).toBe(kept);
  });
});

describe("the comparison of a race", () => {
  it("keeps the best, best first, and says of each other at what place it was dropped", () => {
    const race = [runner(0, -3), runner(1, -1), runner(2, -4), runner(3, -2)];
    const { kept, dropped, aside } = compareRace(race, 32, { keep: 0.5, answers: 1, score });
    expect(kept.map(({ index }) => index)).toEqual([1, 3]);
    expect(dropped.map(({ runner: { index }, why }) => [index, why])).toEqual([
      [0, { after: 32, place: 3, among: 4 }],
      [2, { after: 32, place: 4, among: 4 }],
    ]);
    expect(aside).toEqual([]);
  });

  it("lets one that has ended take a place, or step aside, and never drops it", () => {
    const race = [runner(0, -1, { finish: "stop" }), runner(1, -2), runner(2, -9, { finish: "stop" }), runner(3, -3)];
    const { kept, dropped, aside } = compareRace(race, 32, { keep: 0.5, answers: 1, score });
    expect(kept.map(({ index }) => index)).toEqual([0, 1]);
    expect(dropped.map(({ runner: { index } }) => index)).toEqual([3]);
    expect(aside.map(({ index }) => index)).toEqual([2]);
  });

  it("gives ties to the lower index, and puts the empty and those the policy minds last", () => {
    const last = scoreSchema.parse({ type: "likelihood", copied: "last", unfinished: "last" });
    const copied = { share: 0.5, run: 30 };
    const race = [runner(0, 0, { text: "" }), { ...runner(1, -1), copied }, runner(2, -5), runner(3, -5)];
    const { kept } = compareRace(race, 32, { keep: 0.7, answers: 1, score: last });
    expect(kept.map(({ index }) => index)).toEqual([2, 3, 1]);
  });
});
