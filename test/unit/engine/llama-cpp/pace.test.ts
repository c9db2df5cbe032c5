import { describe, expect, it } from "vitest";
import { Pace } from "../../../../src/engine/llama-cpp/pace.ts";

/** Steps of whole chunks at a speed, until they take no longer than twice what they should; the time of each in seconds. */
function stepsAt(speed: number, pace: Pace): number[] {
  const times: number[] = [];
  for (let seconds = Number.POSITIVE_INFINITY; seconds > 0.6 && times.length < 100; ) {
    const tokens = pace.chunk(2);
    seconds = tokens / speed;
    times.push(seconds);
    pace.record(tokens, seconds * 1000, 2);
  }
  return times;
}

describe("the chunk of a step", () => {
  it("takes at most 0.3 s at the speed that was measured", () => {
    expect(new Pace(300, 2, 500).chunk(2)).toBe(64);
    expect(new Pace(5_000, 2, 500).chunk(2)).toBe(500);
    expect(new Pace(1, 2, 500).chunk(2)).toBe(8);
  });

  it("is short again within a few steps of a machine that has become twenty times slower", () => {
    expect(stepsAt(15, new Pace(300, 2, 500))).toHaveLength(4);
  });

  it("does not change with a step that is a little slow", () => {
    const pace = new Pace(300, 2, 500);
    pace.record(64, 500, 2);
    expect(pace.chunk(2)).toBe(64);
  });
});
