/** The seeds of candidates. */
import { describe, expect, it } from "vitest";
import { ScriptedEngine } from "../scripted-engine.ts";
import { icdpo, policy, request, sampleCall } from "./scripted-policy.ts";

describe("seeds", () => {
  const seedsOf = async (seed: number, candidates = 16) => {
    const engine = new ScriptedEngine();
    await icdpo(engine, policy({ score: { type: "none" }, candidates }), request({ seed }));
    return sampleCall(engine).request.seeds;
  };

  it("are the same for the same request seed", async () => {
    expect(await seedsOf(42)).toEqual(await seedsOf(42));
  });

  it("differ from candidate to candidate, and are unsigned 32-bit integers", async () => {
    for (const seed of [0, 1, 2 ** 31, 2 ** 32 - 1]) {
      const seeds = await seedsOf(seed, 64);
      expect(new Set(seeds).size).toBe(64);
      expect(seeds.every((value) => Number.isInteger(value) && value >= 0 && value < 2 ** 32)).toBe(true);
    }
  });

  it("differ from request seed to request seed, neighbours among them", async () => {
    const all = (await Promise.all([0, 1, 2, 3].map((seed) => seedsOf(seed)))).flat();
    expect(new Set(all).size).toBe(64);
  });

  it("of the first candidates do not change with the number of candidates", async () => {
    expect((await seedsOf(9, 8)).slice(0, 3)).toEqual(await seedsOf(9, 3));
  });
});
