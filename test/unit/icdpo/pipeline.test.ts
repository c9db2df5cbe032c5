/** Algorithm 1 as a whole: its stages, and what becomes of a request that fails, runs out of time, or is cancelled. */
import { describe, expect, it } from "vitest";
import type { Prompt, SampleEvent, SampleRequest, ScoreEvent } from "../../../src/engine/engine.ts";
import type { Beginning, Stage } from "../../../src/icdpo/pipeline.ts";
import { cancelled, GatewayError } from "../../../src/types/error.ts";
import { encode, type Script, ScriptedEngine } from "../scripted-engine.ts";
import {
  conversation,
  icdpo,
  likelihood,
  measure,
  noted,
  policy,
  request,
  type Sums,
  says,
  sHat,
  table,
} from "./scripted-policy.ts";

describe("failures, budgets and cancellation", () => {
  const sums: Sums = { fox: [-10, -11, -30], hen: [-12, -20, -15], owl: [-9, -9.5, -10] };
  const script = { ...says("fox", "hen", "owl"), ...table(sums) };
  const at = (moment: "sample" | "score", act: () => void): Pick<Script, "pause"> => ({
    pause: async (what) => {
      if (what === moment) act();
    },
  });

  const fail = () => {
    throw new GatewayError("engine_failure", "out of memory");
  };
  /** Once all has been sampled, the first scoring does this. */
  const whileScoring = (given: Script, act: () => void): ScriptedEngine => {
    const pause: Script["pause"] = async (what) => {
      if (what === "sample") return;
      await engine.sampled;
      act();
    };
    const engine: ScriptedEngine = new ScriptedEngine({ ...given, pause });
    return engine;
  };

  it.each([
    ["", undefined],
    [" when a budget is set and not spent", new AbortController().signal],
  ])("a failing scorer is an error, never a pick%s", async (_, budget) => {
    const outcome = icdpo(
      new ScriptedEngine({ ...script, ...at("score", fail) }),
      policy({ score: sHat }),
      request({ budget }),
    );
    await expect(outcome).rejects.toMatchObject({ code: "engine_failure" });
  });

  it("a score that is not a number is an error, never a pick", async () => {
    const engine = new ScriptedEngine({ ...script, sum: (_, response) => (response === "fox" ? Number.NaN : -5) });
    await expect(icdpo(engine, policy({ score: sHat }), request())).rejects.toThrow();
  });

  it.each<[string, ScoreEvent[]]>([
    ["too few", [{ type: "scored", index: 1, logprobs: [-1, -1, -1] }]],
    ["too many", [{ type: "scored", index: 1, logprobs: [-1, -1, -1, -1, -1] }]],
    ["no", []],
    ["an unknown completion's", [{ type: "scored", index: 7, logprobs: [-1, -1, -1, -1] }]],
  ])("a scorer that returns %s log-probabilities for a candidate is an error, never a pick", async (_, events) => {
    class ForgetfulScorer extends ScriptedEngine {
      override async *score(...call: Parameters<ScriptedEngine["score"]>): AsyncGenerator<ScoreEvent> {
        for await (const event of super.score(...call))
          if (event.type === "scored" && event.index === 1) yield* events;
          else {
            yield event;
            if (event.type === "scored" && event.index === 2) return;
          }
      }
    }
    await expect(icdpo(new ForgetfulScorer(script), policy({ score: sHat }), request())).rejects.toMatchObject({
      code: "engine_failure",
    });
  });

  it("a failing sampler is an error", async () => {
    class FailingSampler extends ScriptedEngine {
      // biome-ignore lint/correctness/useYield: it fails before the first event
      override async *sample(): AsyncGenerator<SampleEvent> {
        throw new GatewayError("engine_unavailable", "gone");
      }
    }
    const outcome = icdpo(
      new FailingSampler(),
      policy({ score: sHat }),
      request({ budget: new AbortController().signal }),
    );
    await expect(outcome).rejects.toMatchObject({ code: "engine_unavailable" });
  });

  it("a budget spent while sampling returns a finished candidate before unfinished ones", async () => {
    const budget = new AbortController();
    const pause = async (what: "sample" | "score") => {
      if (what === "sample" && ++started === 2) budget.abort();
    };
    let started = 0;
    const engine = new ScriptedEngine({ ...script, pause });
    const { ranked, fallback } = await icdpo(engine, policy({ score: sHat }), request({ budget: budget.signal }));
    expect(fallback).toBe("budget");
    expect(ranked[0]).toMatchObject({ index: 0, text: "fox", finish: "stop", score: null });
    expect(ranked.slice(1).map(({ text, finish }) => [text, finish])).toEqual([
      ["", "length"],
      ["", "length"],
    ]);
  });

  it("a budget spent while sampling prefers the likeliest of the finished candidates: their scores were noted", async () => {
    const budget = new AbortController();
    let started = 0;
    const pause = async () => {
      if (++started === 3) budget.abort();
    };
    const likely = table({ fox: [-10, 0, 0], hen: [-4, 0, 0], owl: [-9, 0, 0] });
    const engine = new ScriptedEngine({ ...script, ...likely, pause });
    const { ranked, fallback } = await icdpo(engine, policy({ score: likelihood }), request({ budget: budget.signal }));
    expect(ranked[0]).toMatchObject({ text: "hen", score: expect.closeTo(-4) });
    expect(fallback).toBe("budget");
  });

  it("a budget spent while sampling keeps what an unfinished candidate had said", async () => {
    const budget = new AbortController();
    class SlowEngine extends ScriptedEngine {
      override async *sample(
        _prompt: Prompt,
        _request: SampleRequest,
        signal?: AbortSignal,
      ): AsyncGenerator<SampleEvent> {
        yield { type: "text", index: 0, text: "half an", tokens: 7 };
        budget.abort();
        if (signal?.aborted) throw cancelled(signal);
      }
    }
    const { ranked, fallback } = await icdpo(
      new SlowEngine(),
      policy({ score: { type: "none" }, candidates: 1 }),
      request({ budget: budget.signal }),
    );
    expect(ranked[0]).toMatchObject({ text: "half an", finish: "length" });
    expect(fallback).toBe("budget");
  });

  it("a budget spent while sampling prefers a later candidate that is finished to an earlier one that was cut off", async () => {
    const budget = new AbortController();
    class UnevenEngine extends ScriptedEngine {
      override async *sample(
        _prompt: Prompt,
        _request: SampleRequest,
        signal?: AbortSignal,
      ): AsyncGenerator<SampleEvent> {
        yield { type: "text", index: 0, text: "half an", tokens: 7 };
        yield { type: "text", index: 1, text: "whole", tokens: 5 };
        yield {
          type: "done",
          index: 1,
          sample: noted("whole", encode("whole"), [-1, -1, -1, -1, -1], [-1, -1, -1, -1, -1, -1]),
        };
        budget.abort();
        if (signal?.aborted) throw cancelled(signal);
      }
    }
    const { ranked } = await icdpo(
      new UnevenEngine(),
      policy({ score: sHat, candidates: 2 }),
      request({ budget: budget.signal }),
    );
    expect(ranked.map(({ text, finish }) => [text, finish])).toEqual([
      ["whole", "stop"],
      ["half an", "length"],
    ]);
  });

  it("a budget spent while scoring returns the first candidate, unscored", async () => {
    const budget = new AbortController();
    const engine = whileScoring(script, () => budget.abort());
    const { ranked, fallback } = await icdpo(engine, policy({ score: sHat }), request({ budget: budget.signal }));
    expect(ranked.map(({ index, score }) => [index, score])).toEqual([
      [0, null],
      [1, null],
      [2, null],
    ]);
    expect(fallback).toBe("budget");
  });

  it("a budget spent while scoring returns the best candidate scored so far", async () => {
    // In hh-rlhf the first candidate lacks its space, so C⁺ must be fed again for it; the others' sums were noted.
    const budget = new AbortController();
    const likely = table({ fox: [-1, 0, 0], hen: [-8, 0, 0], owl: [-3, 0, 0] });
    const engine = whileScoring({ ...says("fox", " hen", " owl"), ...likely }, () => budget.abort());
    const options = request({ budget: budget.signal });
    const { ranked, fallback } = await icdpo(engine, policy({ score: likelihood, format: "hh-rlhf" }), options);
    expect(ranked[0]).toMatchObject({ text: "owl", score: expect.closeTo(-3) });
    expect(fallback).toBe("budget");
  });

  it("a budget that is not spent changes nothing", async () => {
    const budget = new AbortController().signal;
    const { ranked, fallback } = await icdpo(new ScriptedEngine(script), policy({ score: sHat }), request({ budget }));
    expect(ranked[0]).toMatchObject({ text: "hen", score: expect.closeTo(8) });
    expect(fallback).toBeNull();
  });

  it.each(["sample", "score"] as const)("cancellation while the engine is to %s ends the request", async (moment) => {
    const leave = new AbortController();
    const engine = new ScriptedEngine({ ...script, ...at(moment, () => leave.abort()) });
    await expect(icdpo(engine, policy({ score: sHat }), request({ signal: leave.signal }))).rejects.toMatchObject({
      code: "cancelled",
    });
  });

  it("cancellation goes before a spent budget", async () => {
    for (const moment of ["sample", "score"] as const) {
      const [leave, budget] = [new AbortController(), new AbortController()];
      const both = at(moment, () => {
        budget.abort();
        leave.abort();
      });
      const options = request({ signal: leave.signal, budget: budget.signal });
      await expect(
        icdpo(new ScriptedEngine({ ...script, ...both }), policy({ score: sHat }), options),
      ).rejects.toThrow();
    }
  });

  it("a request that was cancelled beforehand samples nothing", async () => {
    let said = 0;
    const engine = new ScriptedEngine({ ...script, sample: () => ({ text: `${said++}` }) });
    const outcome = icdpo(engine, policy({ score: sHat }), request({ signal: AbortSignal.abort() }));
    await expect(outcome).rejects.toMatchObject({ code: "cancelled" });
    expect(said).toBe(0);
  });

  it("onSampling comes once everything is checked, before the first sample, with the time that retrieval took", async () => {
    const events: string[] = [];
    const clock = [100, 130, 150, 190];
    const engine = new ScriptedEngine({ ...script, ...at("sample", () => void events.push("sample")) });
    const onSampling = ({ retrieveMs }: Beginning) => void events.push(`retrieved in ${retrieveMs}`);
    const now = () => clock.shift() ?? Number.NaN;
    const { timings } = await icdpo(engine, policy({ score: sHat }), request({ onSampling, now }));
    expect(events).toEqual(["retrieved in 30", "sample", "sample", "sample"]);
    expect(timings).toEqual({ retrieve: 30, sample: 20, score: 40 });
  });
});

describe("stages", () => {
  const prefill = () => [10, 20];
  const three = {
    ...says("aaa", "bb", "cccc"),
    ...table({ aaa: [-1, -2, -3], bb: [-1, -3, -2], cccc: [-5, -1, -1] }),
    prefill,
  };
  const stagesOf = async (ask: (onStage: (stage: Stage) => void) => Promise<unknown>): Promise<Stage[]> => {
    const stages: Stage[] = [];
    await ask((stage) => void stages.push(stage));
    return stages;
  };

  it("go from waiting to the prefill with its first part, and name it again with each", async () => {
    const asked = (score: unknown) =>
      stagesOf((onStage) => icdpo(new ScriptedEngine(three), policy({ score, candidates: 3 }), request({ onStage })));
    expect(await asked({ type: "none" })).toEqual(["retrieve", "queue", "prefill", "prefill", "sample"]);
    // What C⁻ is fed meanwhile is no stage of its own.
    expect(await asked(sHat)).toEqual(["retrieve", "queue", "prefill", "prefill", "sample", "score"]);
  });

  it("are those of the first block where an answer comes in blocks", async () => {
    const { settings, ...rest } = policy({ score: sHat });
    const inBlocks = { ...rest, settings: { ...settings, block: { tokens: 4 } } };
    const stages = await stagesOf((onStage) => icdpo(new ScriptedEngine(three), inBlocks, request({ onStage })));
    expect(stages).toEqual(["retrieve", "queue", "prefill", "prefill", "sample"]);
  });

  it("of given completions end in scoring, once the first context is at hand", async () => {
    const stages = await stagesOf((onStage) =>
      measure(new ScriptedEngine(three), policy({ score: sHat }), {
        conversation,
        completions: ["aaa", "bb"],
        seed: 1,
        onStage,
      }),
    );
    // Two parts of each of the three contexts, which are fed side by side.
    expect(stages).toEqual(["retrieve", "queue", ...Array(6).fill("prefill"), "score"]);
  });
});
