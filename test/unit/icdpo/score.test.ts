/** Sampled log-probabilities, where they stand for a second pass over C⁺. */
import { describe, expect, it } from "vitest";
import type { Sample } from "../../../src/engine/engine.ts";
import type { PromptFormat } from "../../../src/policy/schema.ts";
import { encode, ScriptedEngine } from "../scripted-engine.ts";
import {
  FixedSamplesEngine,
  icdpo,
  noted,
  policy,
  request,
  sampleCall,
  scoreCalls,
  sHat,
  table,
} from "./scripted-policy.ts";

describe("sampled log-probabilities", () => {
  const negativeSums = table({ Yes: [-100, -7, 0], No: [-100, -8, 0] });
  const no = noted("No", encode("No"), [-1, -1], [-9, -9, -1]);
  const run = (samples: readonly Sample[], format: PromptFormat = "chat") => {
    const engine = new FixedSamplesEngine(samples, negativeSums);
    return { engine, outcome: icdpo(engine, policy({ score: sHat, candidates: samples.length, format }), request()) };
  };
  const positiveOf = async (outcome: ReturnType<typeof icdpo>, index: number) =>
    (await outcome).ranked.find((response) => response.index === index)?.positive;

  it("stand for C⁺ where ids and end token agree: it is not fed again", async () => {
    const { engine, outcome } = run([noted("Yes", encode("Yes"), [-1, -2, -3], [-9, -9, -9, -0.5]), no]);
    expect(await positiveOf(outcome, 0)).toBeCloseTo(-1 - 2 - 3 - 0.5);
    expect(await positiveOf(outcome, 1)).toBeCloseTo(-1 - 1 - 1);
    expect(scoreCalls(engine)).toEqual([{ sign: "negative", responses: ["Yes", "No"] }]);
  });

  it("stand for a beginning of what was sampled, with the end as noted at that place", async () => {
    const { engine, outcome } = run([
      noted("Yes", encode("Yes STOP"), [-1, -2, -3, -40, -40], [-9, -9, -9, -0.25, -9]),
      no,
    ]);
    expect(await positiveOf(outcome, 0)).toBeCloseTo(-1 - 2 - 3 - 0.25);
    expect(scoreCalls(engine).map(({ sign }) => sign)).toEqual(["negative"]);
  });

  it("do not stand for a text that a stop string cut inside a token: C⁺ is fed again", async () => {
    const { engine, outcome } = run([noted("Yes", [...encode("Ye"), 70_001], [-1, -2, -3], [-9, -9, -9]), no]);
    expect(await positiveOf(outcome, 0)).toBeCloseTo(-100);
    expect(scoreCalls(engine)).toEqual([
      { sign: "positive", responses: ["Yes"] },
      { sign: "negative", responses: ["Yes", "No"] },
    ]);
  });

  it("do not stand for a text whose end was not noted: C⁺ is fed again", async () => {
    const { engine, outcome } = run([noted("Yes", encode("Yes"), [-1, -2, -3], [-9, -9, -9]), no]);
    expect(await positiveOf(outcome, 0)).toBeCloseTo(-100);
    expect(scoreCalls(engine)[0]).toEqual({ sign: "positive", responses: ["Yes"] });
  });

  it("do not stand for a text that the model spelled with other tokens than the tokenizer", async () => {
    const { outcome } = run([noted("Yes", [70_002, 115], [-1, -2], [-9, -9, -1]), no]);
    expect(await positiveOf(outcome, 0)).toBeCloseTo(-100);
  });

  it("stand in hh-rlhf for a response that began with the one space of the format", async () => {
    const { engine, outcome } = run(
      [
        noted(" Yes", encode(" Yes"), [-1, -1, -1, -1], [-9, -9, -9, -9, -2]),
        noted(" No", encode(" No"), [-1, -1, -1], [-9, -9, -9, -2]),
      ],
      "hh-rlhf",
    );
    expect(await positiveOf(outcome, 0)).toBeCloseTo(-6);
    expect(scoreCalls(engine)).toEqual([{ sign: "negative", responses: [" Yes", " No"] }]);
  });

  it("do not stand in hh-rlhf where trimming changed the tokens", async () => {
    const twoSpaces = noted("  Yes", encode("  Yes"), [-1, -1, -1, -1, -1], [-9, -9, -9, -9, -9, -2]);
    const noSpace = noted("No", encode("No"), [-1, -1], [-9, -9, -2]);
    const { engine, outcome } = run([twoSpaces, noSpace], "hh-rlhf");
    expect(await positiveOf(outcome, 0)).toBeCloseTo(-100);
    expect(await positiveOf(outcome, 1)).toBeCloseTo(-100);
    expect(scoreCalls(engine)[0]).toEqual({ sign: "positive", responses: [" Yes", " No"] });
  });

  it("are asked for only where candidates compete for a score", async () => {
    const asked = async (score: unknown, candidates: number) => {
      const engine = new ScriptedEngine();
      await icdpo(engine, policy({ score, candidates }), request());
      return sampleCall(engine).request.logprobs;
    };
    expect(await asked(sHat, 3)).toBe(true);
    expect(await asked(sHat, 1)).toBe(false);
    expect(await asked({ type: "none" }, 3)).toBe(false);
  });
});
