/** `decode: contrast`: what the engine is asked, and what is told of its answer. */
import { describe, expect, it } from "vitest";
import { candidateSeed } from "../../../src/icdpo/seed.ts";
import { negativesRandom } from "../../../src/icdpo/shown-negative.ts";
import { choosesAmong, strategyChoice } from "../../../src/icdpo/strategy.ts";
import { computedTokens, noUsage } from "../../../src/icdpo/token-usage.ts";
import { plainly } from "../../../src/policy/bypass.ts";
import { decode, ScriptedEngine } from "../scripted-engine.ts";
import {
  demonstration,
  icdpo,
  policy,
  request,
  s,
  sampleCall,
  says,
  scoreCalls,
  sHat,
  signOf,
  states,
  table,
} from "./scripted-policy.ts";

const contrast = { type: "contrast", alpha: 0.5 } as const;
const contrasting = (more: object = {}) => policy({ score: sHat, candidates: 1, decode: contrast, ...more });
/** "only" has four tokens, and its end. */
const script = { ...says("only"), ...table({ only: [-10, -20, -15] }) };

describe("decoding by contrast", () => {
  it("asks for one sample of C⁺ against C⁻, and scores nothing", async () => {
    const engine = new ScriptedEngine(script);
    const outcome = await icdpo(engine, contrasting(), request({ seed: 3 }));
    const call = sampleCall(engine);
    const against = call.request.contrast;
    expect(signOf(call.context)).toBe("positive");
    expect(signOf(decode(against?.prompt.tokens ?? []))).toBe("negative");
    expect(decode(against?.prompt.tokens ?? [])).toContain("one-rrrr");
    expect(against).toMatchObject({ alpha: 0.5, top: 50 });
    expect(call.request.seeds).toEqual([candidateSeed(3, 0)]);
    expect(scoreCalls(engine)).toEqual([]);
    expect(outcome).toMatchObject({ candidates: 1, isAsSampled: true, fallback: null });
    expect(outcome.ranked).toMatchObject([{ text: "only", score: null, positive: null }]);
  });

  it("is against what the score's negative names", async () => {
    const near = { ...demonstration("one"), near: ["NEAR 0", "NEAR 1"] };
    const against = async (score: object) => {
      const engine = new ScriptedEngine(script);
      await icdpo(engine, contrasting({ score, demonstrations: [near] }), request());
      return decode(sampleCall(engine).request.contrast?.prompt.tokens ?? []);
    };
    expect(signOf(await against(s))).toBe("base");
    const shown = await against({ type: "contrast", negative: "near" });
    expect(shown).toContain(`NEAR ${Math.floor(negativesRandom(7)() * 2)}`);
    expect(shown).toContain("BAD");
  });

  it("lets the policy's own number of tokens compete, else as many as sampling does", async () => {
    const topOf = async (decoding: object) => {
      const engine = new ScriptedEngine(script);
      const { contrast: told } = await icdpo(engine, contrasting({ decode: decoding }), request());
      return [sampleCall(engine).request.contrast?.top, told?.top];
    };
    expect(await topOf({ type: "contrast", alpha: 1, top: 7 })).toEqual([7, 7]);
    expect(await topOf(contrast)).toEqual([50, 50]);
  });

  it("tells the mean log-ratio of the answer's tokens, its end among them", async () => {
    const { contrast: told } = await icdpo(new ScriptedEngine(script), contrasting(), request());
    expect(told).toEqual({ alpha: 0.5, top: 50, meanLogRatio: expect.closeTo((-10 + 20) / 5, 10) });
    const { contrast: none } = await icdpo(
      new ScriptedEngine(script),
      policy({ score: sHat, candidates: 1 }),
      request(),
    );
    expect(none).toBeNull();
  });

  it("gives text as it is sampled, also where sampling is greedy", async () => {
    for (const temperature of [1, 0]) {
      const pieces: string[] = [];
      const engine = new ScriptedEngine({ ...says("in two pieces"), sum: () => -1 });
      const onText = (_: number, text: string) => void pieces.push(text);
      await icdpo(engine, contrasting(), request({ onText, sampling: { temperature } }));
      expect(pieces.length).toBeGreaterThan(1);
      expect(pieces.join("")).toBe("in two pieces");
      expect(sampleCall(engine).request.contrast).toBeDefined();
    }
    expect(choosesAmong(contrasting(), request())).toBe(false);
  });

  it("passes on what keeps and describes the answer", async () => {
    const engine = new ScriptedEngine(script);
    await icdpo(
      engine,
      contrasting(),
      request({ grammar: 'root ::= "only"', topLogprobs: 2, sampling: { stop: ["x"] } }),
    );
    const { request: asked } = sampleCall(engine);
    expect(asked).toMatchObject({ grammar: 'root ::= "only"', topLogprobs: 2, stop: ["x"] });
    expect(asked.contrast).toBeDefined();
  });

  it("counts both contexts, and the answer in each, as the engine works through them", async () => {
    const engine = new ScriptedEngine({ ...script, cached: () => 30 });
    const usage = noUsage();
    await icdpo(engine, contrasting(), request({ usage }));
    expect(usage).toMatchObject({ sampled: 4, scored: 4, cached: 30 });
    expect(computedTokens(usage)).toBe(engine.worked);
  });

  it("leaves the answer room after the longer context", async () => {
    const long = { ...demonstration("one"), rejected: "r".repeat(400) };
    const probe = new ScriptedEngine(script);
    const one = contrasting({ demonstrations: [long] });
    await icdpo(probe, one, request());
    const length = sampleCall(probe).request.contrast?.prompt.tokens.length ?? 0;
    const engine = new ScriptedEngine({ ...script, contextSize: length + 20 });
    await icdpo(engine, one, request({ sampling: { maxTokens: 50 } }));
    expect(sampleCall(engine).request).toMatchObject({ maxTokens: 20 });
  });

  it("ends with what there is at the end of a budget, of which no log-ratio is known", async () => {
    const budget = new AbortController();
    const engine = new ScriptedEngine({ ...script, pause: async () => budget.abort() });
    const { ranked, contrast: told, fallback } = await icdpo(engine, contrasting(), request({ budget: budget.signal }));
    expect(ranked).toMatchObject([{ text: "", finish: "length", sample: null }]);
    expect(told?.meanLogRatio).toBeNull();
    expect(fallback).toBe("budget");
    expect(states(engine)).toEqual(["sample failed"]);
  });

  it("is left out of what is answered plainly", () => {
    const plain = plainly(contrasting());
    expect(strategyChoice(plain, request())).toEqual({ type: "unscored" });
    expect(strategyChoice(contrasting(), request())).toEqual({ type: "contrast", alpha: 0.5, top: 50 });
  });
});
