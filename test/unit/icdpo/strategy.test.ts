/** How many candidates there are, and whether they compete. */
import { describe, expect, it } from "vitest";
import { candidateCount, choosesAmong } from "../../../src/icdpo/strategy.ts";
import { ScriptedEngine } from "../scripted-engine.ts";
import { icdpo, policy, request, type Sums, sampleCall, says, scoreCalls, sHat, table } from "./scripted-policy.ts";

describe("how many candidates", () => {
  it("one candidate is one sample and no scoring", async () => {
    const engine = new ScriptedEngine(says("only"));
    const { ranked } = await icdpo(engine, policy({ score: sHat, candidates: 1 }), request());
    expect(ranked).toHaveLength(1);
    expect(ranked[0]).toMatchObject({ text: "only", score: null });
    expect(scoreCalls(engine)).toEqual([]);
  });

  it("temperature 0 is one sample and no scoring, however many answers are wanted", async () => {
    const engine = new ScriptedEngine(says("greedy"));
    const { ranked } = await icdpo(
      engine,
      policy({ score: sHat, candidates: 3 }),
      request({ answers: 4, sampling: { temperature: 0 } }),
    );
    expect(ranked.map(({ text }) => text)).toEqual(["greedy"]);
    expect(sampleCall(engine).request).toMatchObject({ temperature: 0, logprobs: false });
    expect(sampleCall(engine).request.seeds).toHaveLength(1);
    expect(scoreCalls(engine)).toEqual([]);
  });

  it("more answers than the policy's candidates raise them, best first", async () => {
    const sums: Sums = { a: [-1, -2, 0], b: [-1, -5, 0], c: [-1, -3, 0], d: [-1, -6, 0], e: [-1, -4, 0] };
    const engine = new ScriptedEngine({ ...says("a", "b", "c", "d", "e"), ...table(sums) });
    const { ranked } = await icdpo(engine, policy({ score: sHat, candidates: 3 }), request({ answers: 5 }));
    expect(ranked.map(({ text }) => text)).toEqual(["d", "b", "e", "c", "a"]);
  });

  it("fewer answers than candidates leave all candidates in the ranking", async () => {
    const engine = new ScriptedEngine();
    const { ranked } = await icdpo(engine, policy({ score: sHat, candidates: 4 }), request({ answers: 2 }));
    expect(ranked).toHaveLength(4);
  });

  it("a policy without a score chooses only where more is sampled than asked for", () => {
    const unscored = policy({ score: { type: "none" }, candidates: 2 });
    expect(candidateCount(unscored, request({ answers: 1 }))).toBe(2);
    expect(choosesAmong(unscored, request({ answers: 1 }))).toBe(true);
    expect(choosesAmong(unscored, request({ answers: 2 }))).toBe(false);
    expect(choosesAmong(policy({ score: sHat, candidates: 2 }), request({ answers: 2 }))).toBe(true);
    expect(choosesAmong(policy({ score: sHat, candidates: 1 }), request())).toBe(false);
  });
});
