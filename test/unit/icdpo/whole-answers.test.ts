/** Whole answers that are not scored. */
import { describe, expect, it } from "vitest";
import { ScriptedEngine } from "../scripted-engine.ts";
import { icdpo, policy, request, sampleCall, says, scoreCalls } from "./scripted-policy.ts";

describe("policies without a score", () => {
  const texts = ["zero", "one", "two"];

  it("return the first sample when the pick is first", async () => {
    const engine = new ScriptedEngine(says(...texts));
    const { ranked } = await icdpo(engine, policy({ score: { type: "none" } }), request());
    expect(ranked.map(({ index, score }) => [index, score])).toEqual([
      [0, null],
      [1, null],
      [2, null],
    ]);
    expect(scoreCalls(engine)).toEqual([]);
    expect(sampleCall(engine).request.logprobs).toBe(false);
  });

  it("return every sample for some seed, and the same one for the same seed, when the pick is random", async () => {
    const pick = async (seed: number) => {
      const engine = new ScriptedEngine(says(...texts));
      const { ranked } = await icdpo(engine, policy({ score: { type: "none", pick: "random" } }), request({ seed }));
      expect(scoreCalls(engine)).toEqual([]);
      return ranked[0]?.text;
    };
    const seeds = Array.from({ length: 40 }, (_, seed) => seed);
    const picked = await Promise.all(seeds.map(pick));
    expect(new Set(picked)).toEqual(new Set(texts));
    expect(await Promise.all(seeds.map(pick))).toEqual(picked);
  });

  it("prefer a text to an empty sample, whichever the pick", async () => {
    for (const pick of ["first", "random"])
      for (let seed = 0; seed < 20; seed++) {
        const { ranked } = await icdpo(
          new ScriptedEngine(says("", "word", "")),
          policy({ score: { type: "none", pick } }),
          request({ seed }),
        );
        expect(ranked[0]?.text).toBe("word");
        expect(ranked).toHaveLength(3);
      }
  });
});
