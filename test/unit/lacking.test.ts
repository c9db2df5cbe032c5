import { describe, expect, it } from "vitest";
import { reportSkipped, type Skipped } from "../lacking.ts";
import { needing, supplies } from "../needs.ts";

const withoutData: Skipped = { name: "a", lacks: ["data"] };
const withoutBoth: Skipped = { name: "b", lacks: ["data", "f32-model"] };
const withoutDisk: Skipped = { name: "c", lacks: [], note: "a small disk cannot be mounted here" };
const forNoReason: Skipped = { name: "d", lacks: [] };

describe("what was skipped", () => {
  it("is counted by what it lacks, with what brings that", () => {
    expect(reportSkipped([withoutData, withoutBoth, withoutDisk, forNoReason], [])).toEqual({
      lines: [
        `2 × data (${supplies.data.broughtBy})`,
        `1 × f32-model (${supplies["f32-model"].broughtBy})`,
        "1 × a small disk cannot be mounted here",
        "1 × without a reason",
      ],
      problems: [],
    });
    expect(reportSkipped([], ["data"])).toEqual({ lines: [], problems: [] });
  });

  it("is a fault where all that it lacks must be here, or nothing says why", () => {
    const problems = (...has: string[]) =>
      reportSkipped([withoutData, withoutBoth, withoutDisk, forNoReason], has).problems;
    const fault = (name: string) => `skipped, though all it needs must be here: ${name}`;
    expect(problems("data")).toEqual([fault("a"), fault("d")]);
    expect(problems("data", "f32-model")).toEqual([fault("a"), fault("b"), fault("d")]);
    expect(problems("chromium")).toEqual([fault("d")]);
    expect(problems("chrome")).toEqual(['ICDPO_TEST_HAS: no test needs "chrome"', fault("d")]);
  });
});

it.each(Object.keys(supplies) as (keyof typeof supplies)[])(
  "a test that needs %s runs if it is at hand, and else says what it lacks",
  (need) => {
    expect(needing(need)).toEqual(supplies[need].isAtHand() ? {} : { skip: true, meta: { lacks: [need] } });
  },
);
