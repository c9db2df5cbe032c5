/** Adaptive effort: candidates come in waves until the best one leads by the policy's margin. */
import { describe, expect, it } from "vitest";
import type { Prompt, ScoreEvent, Token } from "../../../src/engine/engine.ts";
import { chatCompletionSchema } from "../../../src/http/answer-schemas.ts";
import { candidateSeed } from "../../../src/icdpo/seed.ts";
import { isClear, wavesOf } from "../../../src/icdpo/waves.ts";
import { RunningRate } from "../../../src/policy/running-rate.ts";
import { GatewayError } from "../../../src/types/error.ts";
import { type Script, ScriptedEngine } from "../scripted-engine.ts";
import { gateway } from "../scripted-gateway.ts";
import {
  icdpo,
  likelihood,
  policy,
  request,
  type Sums,
  sampleCall,
  scoreCalls,
  sHat,
  states,
  table,
  unhandledRejections,
} from "./scripted-policy.ts";

const effort = { min: 2, max: 6, margin: 2 };
const all = ["fox", "hen", "owl", "elk", "cow", "ape"];

/** Ŝ of each text is the number beside it. */
function scoring(scores: Readonly<Record<string, number>>): Pick<Script, "sum"> {
  const sums: Sums = Object.fromEntries(Object.entries(scores).map(([text, s]) => [text, [-10, -10 - s, -30]]));
  return table(sums);
}

/** An engine whose candidate of a seed says the same whichever wave it comes in. */
function engineOf(
  scores: Readonly<Record<string, number>>,
  texts: readonly string[] = all,
  more: Script = {},
  Kind = ScriptedEngine,
) {
  const bySeed = new Map(texts.map((text, index) => [candidateSeed(7, index), text]));
  const sample: Script["sample"] = (index, _, { seeds }) => ({ text: bySeed.get(seeds[index] as number) ?? "" });
  return new Kind({ sample, ...scoring(scores), ...more });
}

function seedsOf(engine: ScriptedEngine): (readonly number[])[] {
  return engine.calls.flatMap((call) => (call.type === "sample" ? [call.request.seeds] : []));
}

const adaptive = (more: object = {}) => policy({ score: { ...sHat, ...more }, candidates: effort });

describe("waves", () => {
  it.each([
    [{ min: 2, max: 6, margin: 1 }, 1, 6, [2, 2, 2]],
    [{ min: 2, max: 8, margin: 1 }, 1, 8, [2, 2, 4]],
    [{ min: 3, max: 5, margin: 1 }, 1, 5, [3, 2]],
    [{ min: 2, max: 6, margin: 1 }, 5, 6, [5, 1]],
    [{ min: 2, max: 6, margin: 1 }, 9, 9, [9]],
    [3, 1, 3, [3]],
  ])("double what there is, from the least number or the answers wanted: %o", (candidates, answers, most, sizes) => {
    const waves = wavesOf(candidates, answers, most);
    expect(waves.map(({ count }) => count)).toEqual(sizes);
    expect(waves.map(({ first }) => first)).toEqual(
      sizes.map((_, i) => sizes.slice(0, i).reduce((sum, size) => sum + size, 0)),
    );
  });

  it("end when the best leads the second by the margin, and no more is sampled", async () => {
    const engine = engineOf({ fox: 1, hen: 3 });
    const outcome = await icdpo(engine, adaptive(), request());
    expect(outcome).toMatchObject({ waves: [2], candidates: 2, fallback: null });
    expect(outcome.ranked.map(({ text }) => text)).toEqual(["hen", "fox"]);
    expect(states(engine)).toEqual(["sample done", "score done"]);
  });

  it("go on while the lead is less, and compare with all that there are", async () => {
    const engine = engineOf({ fox: 1, hen: 2.9, owl: 0, elk: 5 });
    const outcome = await icdpo(engine, adaptive(), request());
    expect(outcome).toMatchObject({ waves: [2, 2], candidates: 4, fallback: null });
    expect(outcome.ranked.map(({ index, text, score }) => [index, text, score])).toEqual([
      [3, "elk", expect.closeTo(5)],
      [1, "hen", expect.closeTo(2.9)],
      [0, "fox", expect.closeTo(1)],
      [2, "owl", expect.closeTo(0)],
    ]);
    expect(scoreCalls(engine)).toEqual([
      { sign: "negative", responses: ["fox", "hen"] },
      { sign: "negative", responses: ["owl", "elk"] },
    ]);
  });

  it("end at the most candidates, which are those of a fixed number, ties to the lower index", async () => {
    const tied = Object.fromEntries(all.map((text) => [text, 4]));
    const [engine, fixed] = [engineOf(tied), engineOf(tied)];
    const outcome = await icdpo(engine, adaptive(), request());
    const six = await icdpo(fixed, policy({ score: sHat, candidates: 6 }), request());
    expect(outcome).toMatchObject({ waves: [2, 2, 2], candidates: 6, fallback: null });
    expect(six.waves).toBeNull();
    expect(seedsOf(engine).flat()).toEqual(sampleCall(fixed).request.seeds);
    expect(outcome.ranked.map(({ index, text, score }) => [index, text, score])).toEqual(
      six.ranked.map(({ index, text, score }) => [index, text, score]),
    );
    expect(outcome.ranked[0]?.index).toBe(0);
  });

  it("end where all say the same, which is scored once", async () => {
    const engine = engineOf({ fox: 1 }, ["fox", "fox"]);
    const { waves, tokens } = await icdpo(engine, adaptive(), request());
    expect(waves).toEqual([2]);
    expect(tokens.scored).toBe("fox".length + 1);
  });

  it("score a text of an earlier wave no second time", async () => {
    const engine = engineOf({ fox: 1, hen: 2, owl: 9 }, ["fox", "hen", "fox", "owl"]);
    const { waves, ranked } = await icdpo(engine, adaptive(), request());
    expect(waves).toEqual([2, 2]);
    expect(ranked.map(({ text }) => text)).toEqual(["owl", "hen", "fox", "fox"]);
    expect(scoreCalls(engine).map(({ responses }) => responses)).toEqual([["fox", "hen"], ["owl"]]);
  });

  it("begin with as many as answers are wanted", async () => {
    const engine = engineOf({ fox: 1, hen: 2, owl: 9, elk: 0 });
    const { waves, ranked } = await icdpo(engine, adaptive(), request({ answers: 4 }));
    expect(waves).toEqual([4]);
    expect(ranked).toHaveLength(4);
  });

  it("are one plain sample where sampling is greedy", async () => {
    const engine = engineOf({ fox: 1 });
    const outcome = await icdpo(engine, adaptive(), request({ sampling: { temperature: 0 } }));
    expect(outcome).toMatchObject({ waves: null, candidates: 1 });
    expect(states(engine)).toEqual(["sample done"]);
  });

  it("need no second context for a likelihood", async () => {
    const sums: Sums = Object.fromEntries(all.map((text, i) => [text, [i - 10, 0, 0] as const]));
    const engine = engineOf({}, all, table(sums));
    const { waves, ranked } = await icdpo(engine, policy({ score: likelihood, candidates: effort }), request());
    expect(waves).toEqual([2, 2, 2]);
    expect(ranked[0]?.text).toBe("ape");
    expect(states(engine)).toEqual(["sample done", "sample done", "sample done"]);
  });

  it("have the margin in nats of the score by which candidates compete, and are remembered once", async () => {
    // Ŝ of two and five tokens, EOS among them, leads by 5 nats; per token by 0.5, and less β = 15 / 7 a token by 1.4.
    const lengths = { y: 5, abcd: 10 };
    const script = { ...scoring({ ...lengths, owl: 0, elk: 0, cow: 0, ape: 0 }) };
    const texts = ["y", "abcd", ...all.slice(2)];
    expect((await icdpo(engineOf({}, texts, script), adaptive(), request())).waves).toEqual([2]);
    const byToken = await icdpo(engineOf({}, texts, script), adaptive({ normalize: "token" }), request());
    expect(byToken.waves?.length).toBeGreaterThan(1);
    const rate = await RunningRate.open("p@1", {});
    const rated = { ...adaptive({ normalize: "length" }), rate };
    const byLength = await icdpo(engineOf({}, texts, script), rated, request());
    expect(byLength.waves?.length).toBeGreaterThan(1);
    const tokens = byLength.ranked.reduce((sum, { idsWithEos }) => sum + idsWithEos.length, 0);
    expect(rate.totals).toEqual({ nats: expect.closeTo(15), tokens });
  });

  it("agree with all so far, where the policy counts a consensus", async () => {
    const calls: string[][] = [];
    const embed = async (texts: readonly string[]) => {
      calls.push([...texts]);
      return texts.map((text) => Float32Array.of(Number(text < "g"), Number(text >= "g")));
    };
    const embedder = { model: "halves", embed, embedKept: embed };
    const engine = engineOf({ fox: 1, hen: 2, cow: 1, ape: 0 }, ["fox", "hen", "cow", "ape"]);
    const agreeing = { ...policy({ score: { ...sHat, consensus: 3 }, candidates: { ...effort, max: 4 } }), embedder };
    const { waves, ranked } = await icdpo(engine, agreeing, request());
    expect(waves).toEqual([2, 2]);
    expect(calls).toEqual([
      ["fox", "hen"],
      ["fox", "hen", "cow", "ape"],
    ]);
    expect(ranked.map(({ text, score }) => [text, score])).toEqual([
      ["fox", expect.closeTo(1 + 3 * (2 / 3))],
      ["cow", expect.closeTo(1 + 3 * (2 / 3))],
      ["hen", expect.closeTo(2)],
      ["ape", expect.closeTo(3 * (2 / 3))],
    ]);
  });

  it("are scored by servers that begin when they know that no more comes", async () => {
    class Server extends ScriptedEngine {
      override async *score(prompt: Prompt, completions: AsyncIterable<readonly Token[]>): AsyncGenerator<ScoreEvent> {
        const whole: (readonly Token[])[] = [];
        for await (const completion of completions) whole.push(completion);
        yield* super.score(prompt, whole);
      }
    }
    const engine = engineOf({ fox: 1, hen: 2, owl: 9, elk: 0 }, all, {}, Server);
    const { waves, ranked } = await icdpo(engine, adaptive(), request());
    expect(waves).toEqual([2, 2]);
    expect(ranked[0]?.text).toBe("owl");
  });

  it("tell the stages of each", async () => {
    const stages: string[] = [];
    const onStage = (stage: string) => void stages.push(stage);
    await icdpo(engineOf({ fox: 1, hen: 2, owl: 0, elk: 9 }), adaptive(), request({ onStage }));
    expect(stages).toEqual(["retrieve", "queue", "sample", "score", "queue", "sample", "score"]);
  });
});

describe("the lead", () => {
  const one = (text: string, score: number | null, more: object = {}) => ({
    index: 0,
    text,
    score,
    sample: null,
    finish: "stop" as const,
    ...more,
  });
  const setting = { ...sHat, normalize: "sum", unfinished: "last" } as const;

  it.each([
    ["by the margin", [one("a", 5), one("b", 3)], true],
    ["by less", [one("a", 5), one("b", 3.1)], false],
    ["over the same text is none", [one("a", 5), one("a", 5), one("b", 4)], false],
    ["over another text, whatever says the same", [one("a", 5), one("a", 5), one("b", 2)], true],
    ["where all say the same", [one("a", 5), one("a", 5)], true],
    ["of one that stands alone", [one("a", 5), one("b", 1, { finish: "length" })], false],
    ["over one that does not fit", [one("a", 5), one("b", 1, { fits: false })], false],
    ["over an empty one", [one("a", 5), one("", null)], false],
    ["over one that has no score", [one("a", 5), one("b", null)], false],
    ["of one that is cut off", [one("a", 5, { finish: "length" }), one("b", 1, { finish: "length" })], false],
    ["of nothing", [], false],
  ])("%s", (_, ranked, clear) => {
    expect(isClear(ranked, 2, setting)).toBe(clear);
  });
});

describe("a budget of time", () => {
  it("that ends in a later wave leaves the best of those before", async () => {
    const budget = new AbortController();
    const engine = engineOf({ fox: 1, hen: 2 });
    const onStage = (stage: string) => stage === "queue" && seedsOf(engine).length === 1 && budget.abort();
    const outcome = await icdpo(engine, adaptive(), request({ budget: budget.signal, onStage }));
    expect(outcome).toMatchObject({ fallback: "budget", waves: [2, 2] });
    expect(outcome.ranked[0]).toMatchObject({ text: "hen", score: expect.closeTo(2) });
  });

  it("that ends between two waves begins none, and is told", async () => {
    const budget = new AbortController();
    const sums: Sums = Object.fromEntries(all.map((text, i) => [text, [i - 10, 0, 0] as const]));
    const engine = engineOf({}, all, table(sums));
    // What is sampled has its log-likelihood already: all candidates so far have scores.
    const onStage = (stage: string) => stage === "score" && budget.abort();
    const outcome = await icdpo(
      engine,
      policy({ score: likelihood, candidates: effort }),
      request({ budget: budget.signal, onStage }),
    );
    expect(outcome).toMatchObject({ fallback: "budget", waves: [2], candidates: 2 });
    expect(outcome.ranked.map(({ text, score }) => [text, score])).toEqual([
      ["hen", expect.closeTo(-9)],
      ["fox", expect.closeTo(-10)],
    ]);
  });

  it("that ends when the choice is clear changes nothing", async () => {
    const budget = new AbortController();
    const sums: Sums = { fox: [-10, 0, 0], hen: [-2, 0, 0] };
    const engine = engineOf({}, all, table(sums));
    const onStage = (stage: string) => stage === "score" && budget.abort();
    const effortful = policy({ score: likelihood, candidates: effort });
    const outcome = await icdpo(engine, effortful, request({ budget: budget.signal, onStage }));
    expect(outcome).toMatchObject({ fallback: null, waves: [2] });
  });
});

describe("a failure in a later wave", () => {
  it("is the request's error, and nobody is left without one who handles it", async () => {
    let calls = 0;
    const engine = engineOf({ fox: 1, hen: 2, owl: 0, elk: 0 }, all, {
      pause: async (what) => {
        if (what === "score" && ++calls > 2) throw new GatewayError("engine_failure", "gone");
      },
    });
    const unhandled = await unhandledRejections(() =>
      expect(icdpo(engine, adaptive(), request())).rejects.toMatchObject({ code: "engine_failure" }),
    );
    expect(unhandled).toEqual([]);
    expect(states(engine).filter((state) => state.endsWith("open"))).toEqual([]);
  });
});

describe("over HTTP", () => {
  const file =
    "demonstrations: set\nretriever: { type: bm25 }\ncandidates: { min: 2, max: 4, margin: 9 }\nscore: { type: contrast, negative: rejected }\n";
  const messages = [{ role: "user", content: "Is it going to rain?" }];

  it("a whole answer names the candidates that were sampled, and explains the waves", async () => {
    const { chat } = await gateway({}, {}, { waves: file });
    const response = await chat({ model: "waves", messages, icdpo: { explain: true } });
    expect(response.headers.get("x-icdpo-candidates")).toBe("4");
    const { icdpo } = chatCompletionSchema.parse(await response.json());
    expect(icdpo?.waves).toEqual([2, 2]);
    expect(icdpo?.candidates.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
  });

  it("a stream names the most, and nothing of waves stands where the number is fixed", async () => {
    const { chat } = await gateway({}, {}, { waves: file.replace("margin: 9", "margin: 1") });
    const whole = await chat({ model: "waves", messages });
    expect(whole.headers.get("x-icdpo-candidates")).toBe("2");
    const streamed = await chat({ model: "waves", messages, stream: true });
    expect(streamed.headers.get("x-icdpo-candidates")).toBe("4");
    const greedy = await chat({ model: "waves", messages, stream: true, temperature: 0 });
    expect(greedy.headers.get("x-icdpo-candidates")).toBe("1");
    await greedy.body?.cancel();
    expect(await streamed.text()).toContain("Candidate");
    const fixed = await chat({ model: "icdpo", messages, icdpo: { explain: true } });
    expect(chatCompletionSchema.parse(await fixed.json()).icdpo).not.toHaveProperty("waves");
  });
});
