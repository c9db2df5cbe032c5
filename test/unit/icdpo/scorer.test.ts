/** Scoring candidates while others are still being sampled. */
import { describe, expect, it } from "vitest";
import type { Prompt, SampleEvent, ScoreEvent, Token } from "../../../src/engine/engine.ts";
import { GatewayError } from "../../../src/types/error.ts";
import { gate, quiet, type Script, ScriptedEngine } from "../scripted-engine.ts";
import {
  icdpo,
  likelihood,
  never,
  policy,
  request,
  type Sums,
  s,
  says,
  scoreCalls,
  sHat,
  signOf,
  states,
  table,
  unhandledRejections,
} from "./scripted-policy.ts";

describe("scoring while sampling", () => {
  const sums: Sums = { fox: [-10, -10.5, -30], hen: [-12, -20, -15], owl: [-9, -10, -10] };
  const script = { ...says("fox", "hen", "owl"), ...table(sums) };
  const down = (what: string) => new GatewayError("engine_unavailable", what);
  type Hold = (index: number) => Promise<unknown> | undefined;
  /** Before sample or completion `index`, what is returned is awaited. */
  const held = (on: { sample?: Hold | undefined; score?: Hold | undefined }, given: Script = script): ScriptedEngine =>
    new ScriptedEngine({ ...given, pause: async (what, _, index) => void (await on[what]?.(index)) });
  const run = (engine: ScriptedEngine, overrides: Parameters<typeof request>[0] = {}, score: unknown = sHat) =>
    icdpo(engine, policy({ score }), request(overrides));

  it("an early candidate's scoring begins before the others have ended", async () => {
    const scoring = gate();
    const engine = held({
      sample: (index) => (index === 1 ? scoring.opened : undefined),
      score: async (index) => {
        if (index === 0) expect(states(engine)[0]).toBe("sample open");
        scoring.open();
      },
    });
    const { ranked } = await run(engine);
    expect(ranked.map(({ text }) => text)).toEqual(["hen", "owl", "fox"]);
    expect(scoreCalls(engine)).toEqual([{ sign: "negative", responses: ["fox", "hen", "owl"] }]);
  });

  it("the last candidate's score counts as any other, though the others were scored long before", async () => {
    const engine = held(
      { sample: (index) => (index === 2 ? quiet() : undefined) },
      { ...script, ...says("fox", "owl", "hen") },
    );
    const { ranked } = await run(engine);
    expect(ranked.map(({ index, score }) => [index, score])).toEqual([
      [2, expect.closeTo(8)],
      [1, expect.closeTo(1)],
      [0, expect.closeTo(0.5)],
    ]);
  });

  it.each([
    ["Ŝ", sHat, "negative"],
    ["S", s, "base"],
  ])(
    "the negative context of %s is opened when sampling begins: not before, and before any candidate",
    async (_, score, sign) => {
      const opened: string[][] = [];
      const note = () => opened.push(engine.calls.map((call) => `${call.type} ${signOf(call.context)}`));
      const cached = (context: string) => (signOf(context) === "positive" ? note() * 0 : 0);
      const engine = held({ sample: async () => void note() }, { ...script, cached });
      await run(engine, {}, score);
      const both = ["sample positive", `score ${sign}`];
      expect(opened).toEqual([["sample positive"], both, both, both]);
      await quiet();
      expect(states(engine)).toEqual(["sample done", "score done"]);
    },
  );

  it("the negative context is not opened where sampling never begins", async () => {
    const engine = held({ sample: () => Promise.reject(down("gone")) }, { ...script, cached: null });
    await expect(run(engine)).rejects.toMatchObject({ code: "engine_unavailable" });
    expect(states(engine)).toEqual(["sample failed"]);
  });

  it("a likelihood opens no other context, and no call where every sum was noted", async () => {
    const engine = held({});
    await run(engine, {}, likelihood);
    expect(states(engine)).toEqual(["sample done"]);
  });

  it.each([
    ["one candidate", { candidates: 1 }, {}],
    ["greedy sampling", {}, { sampling: { temperature: 0 } }],
    ["a policy without a score", { score: { type: "none" } }, {}],
  ])("%s never calls for scores", async (_, settings, overrides) => {
    const engine = new ScriptedEngine(script);
    await icdpo(engine, policy({ score: sHat, ...settings }), request(overrides));
    expect(states(engine)).toEqual(["sample done"]);
  });

  it.each(["still being scored", "scored already"])(
    "a text is scored once when it ends again while it is %s",
    async (moment) => {
      const again = moment === "scored already" ? quiet : undefined;
      const engine: ScriptedEngine = held(
        { sample: again, score: () => (again ? undefined : engine.sampled) },
        { ...script, ...says("hen", "hen", "hen") },
      );
      const { ranked, tokens } = await run(engine);
      expect(scoreCalls(engine)).toEqual([{ sign: "negative", responses: ["hen"] }]);
      expect(tokens.scored).toBe("hen".length + 1);
      expect(ranked.map(({ index, score }) => [index, score])).toEqual(
        [0, 1, 2].map((index) => [index, expect.closeTo(8)]),
      );
    },
  );

  it("scores that come in another order than the candidates belong to their own", async () => {
    class Backwards extends ScriptedEngine {
      override async *score(prompt: Prompt, completions: AsyncIterable<readonly Token[]>): AsyncGenerator<ScoreEvent> {
        const events: ScoreEvent[] = [];
        for await (const event of super.score(prompt, completions)) if (events.push(event) === 4) break;
        yield* events.toReversed();
      }
    }
    const { ranked } = await run(new Backwards(script));
    expect(ranked.map(({ text, score }) => [text, score])).toEqual([
      ["hen", expect.closeTo(8)],
      ["owl", expect.closeTo(1)],
      ["fox", expect.closeTo(0.5)],
    ]);
  });

  it("candidates that end in another order than their indices are ranked by score, ties by the lower index", async () => {
    class Uneven extends ScriptedEngine {
      override async *sample(...call: Parameters<ScriptedEngine["sample"]>): AsyncGenerator<SampleEvent> {
        const events: SampleEvent[] = [];
        for await (const event of super.sample(...call)) events.push(event);
        yield* events.filter(({ type }) => type !== "done");
        yield* events.filter(({ type }) => type === "done").toReversed();
      }
    }
    const even = table({ fox: [-1, -3, 0], hen: [-1, -2, 0], owl: [-3, -5, 0] });
    const { ranked } = await run(new Uneven({ ...script, ...even }));
    expect(ranked.map(({ index }) => index)).toEqual([0, 2, 1]);
  });

  it.each(["while others are sampled", "when all are sampled"])(
    "a budget that fires %s keeps the score that came before it",
    async (moment) => {
      const budget = new AbortController();
      const spend = async () => {
        await quiet();
        budget.abort();
        await never;
      };
      const all = moment === "when all are sampled";
      const engine: ScriptedEngine = held({
        sample: (index) => (!all && index === 2 ? spend() : undefined),
        score: (index) => (index === 0 ? undefined : all ? engine.sampled.then(spend) : never),
      });
      const { ranked, fallback } = await run(engine, { budget: budget.signal });
      expect(ranked[0]).toMatchObject({
        index: 0,
        text: "fox",
        score: expect.closeTo(0.5),
        negative: expect.closeTo(-10.5),
      });
      expect(ranked.slice(1).map(({ score }) => score)).toEqual([null, null]);
      expect(fallback).toBe("budget");
      expect(states(engine).filter((state) => state.endsWith("open"))).toEqual([]);
    },
  );

  it("a budget that fires before any score returns the first finished candidate, unscored", async () => {
    const budget = new AbortController();
    const engine = held({
      sample: (index) => (index === 2 ? quiet().then(() => budget.abort()) : undefined),
      score: () => never,
    });
    const { ranked, fallback } = await run(engine, { budget: budget.signal });
    expect(ranked.map(({ index, text, score }) => [index, text, score])).toEqual([
      [0, "fox", null],
      [1, "hen", null],
      [2, "", null],
    ]);
    expect(fallback).toBe("budget");
    expect(states(engine)).toEqual(["sample failed", "score failed"]);
  });

  it("a budget that fires after the last score changes nothing", async () => {
    const budget = new AbortController();
    const { fallback, ranked } = await run(new ScriptedEngine(script), { budget: budget.signal });
    budget.abort();
    await quiet();
    expect(fallback).toBeNull();
    expect(ranked.map(({ score }) => score)).not.toContain(null);
  });

  it("a failure in scoring ends the sampling too, and is the error", async () => {
    const failing = gate();
    const engine = held({
      sample: (index) => (index > 0 ? failing.opened.then(quiet) : undefined),
      score: async () => {
        failing.open();
        throw new GatewayError("engine_failure", "out of memory");
      },
    });
    const unhandled = await unhandledRejections(() =>
      expect(run(engine)).rejects.toMatchObject({ code: "engine_failure" }),
    );
    expect(unhandled).toEqual([]);
    expect(states(engine)).toEqual([expect.stringMatching(/^sample (left|failed)$/u), "score failed"]);
  });

  it.each([
    ["is the error", says("fox", "hen", "owl"), "engine_unavailable"],
    ["is of no consequence where nothing is to be scored", says("", "", ""), null],
  ])("a negative context that fails before any candidate has ended %s, and is not lost", async (_, texts, expected) => {
    const cached = (context: string) => {
      if (signOf(context) === "negative") throw down("gone");
      return 0;
    };
    const engine = held({ sample: quiet }, { ...texts, sum: () => -5, cached });
    let code: unknown = null;
    const unhandled = await unhandledRejections(async () => {
      code = await run(engine).then(
        () => null,
        (error: GatewayError) => error.code,
      );
    });
    expect(unhandled).toEqual([]);
    expect(code).toBe(expected);
  });

  it("a failure in sampling ends the scoring too, and is the error", async () => {
    const engine = held({
      sample: (index) => (index === 2 ? quiet().then(() => Promise.reject(down("gone"))) : undefined),
    });
    const unhandled = await unhandledRejections(() => expect(run(engine)).rejects.toMatchObject({ message: "gone" }));
    expect(unhandled).toEqual([]);
    expect(states(engine)[0]).toBe("sample failed");
    expect(states(engine)[1]).not.toBe("score open");
  });

  it("a failure in sampling stops what is being scored, as nobody waits for it", async () => {
    const engine = held({
      sample: (index) => (index === 2 ? quiet().then(() => Promise.reject(down("gone"))) : undefined),
      score: () => never,
    });
    await expect(run(engine)).rejects.toMatchObject({ message: "gone" });
    await quiet();
    expect(states(engine)).toEqual(["sample failed", expect.stringMatching(/^score (left|failed)$/u)]);
  });

  it.each([
    ["sampling first", 1, 2],
    ["scoring first", 2, 1],
  ])("an engine that ends under both calls is one error, %s", async (_, sampling, scoring) => {
    const turns = async (count: number) => {
      for (let turn = 0; turn < count; turn++) await quiet();
      throw down("gone");
    };
    const engine = held({
      sample: (index) => (index === 1 ? turns(sampling) : undefined),
      score: () => turns(scoring),
    });
    const unhandled = await unhandledRejections(async () => {
      await expect(run(engine)).rejects.toMatchObject({ code: "engine_unavailable" });
      await quiet();
    });
    expect(unhandled).toEqual([]);
    expect(states(engine)).toEqual(["sample failed", "score failed"]);
  });

  it("a client that leaves stops both calls", async () => {
    const leave = new AbortController();
    const engine = held({
      sample: (index) => (index === 1 ? never : undefined),
      score: () => quiet().then(() => leave.abort()),
    });
    const unhandled = await unhandledRejections(() =>
      expect(run(engine, { signal: leave.signal })).rejects.toMatchObject({ code: "cancelled" }),
    );
    expect(unhandled).toEqual([]);
    expect(states(engine)).toEqual(["sample failed", "score failed"]);
  });

  it("an engine that says nothing of its contexts chooses the same", async () => {
    const { ranked, tokens } = await run(new ScriptedEngine({ ...script, cached: null }));
    const told = await run(new ScriptedEngine({ ...script, cached: () => 0 }));
    const seen = (outcome: typeof ranked) =>
      outcome.map(({ index, text, positive, negative, score }) => ({ index, text, positive, negative, score }));
    expect(seen(ranked)).toEqual(seen(told.ranked));
    expect(tokens).toEqual(told.tokens);
    expect(tokens.cached).toBe(0);
  });
});
