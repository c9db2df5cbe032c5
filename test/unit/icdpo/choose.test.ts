/** The choice among candidates, by S, Ŝ and the likelihood, on an engine whose log-probabilities stand in tables. */
import { describe, expect, it } from "vitest";
import { endOfTurn, type Script, ScriptedEngine } from "../scripted-engine.ts";
import {
  icdpo,
  likelihood,
  policy,
  request,
  type Sums,
  s,
  sampleCall,
  says,
  scoreCalls,
  sHat,
  signOf,
  table,
} from "./scripted-policy.ts";

describe("the choice among candidates", () => {
  const sums: Sums = { fox: [-10, -11, -30], hen: [-12, -20, -15], owl: [-9, -9.5, -10] };
  const script = { ...says("fox", "hen", "owl"), ...table(sums) };

  it("follows Ŝ = log π(y|[d⁺;x]) − log π(y|[d⁻;x]) when the negative is rejected", async () => {
    const { ranked } = await icdpo(new ScriptedEngine(script), policy({ score: sHat }), request());
    expect(ranked.map(({ text }) => text)).toEqual(["hen", "fox", "owl"]);
    expect(ranked.map(({ score }) => score)).toEqual([expect.closeTo(8), expect.closeTo(1), expect.closeTo(0.5)]);
    expect(ranked[0]).toMatchObject({
      index: 1,
      finish: "stop",
      positive: expect.closeTo(-12),
      negative: expect.closeTo(-20),
    });
  });

  it("follows S = log π(y|[d⁺;x]) − log π(y|x) when the negative is base", async () => {
    const { ranked } = await icdpo(new ScriptedEngine(script), policy({ score: s }), request());
    expect(ranked.map(({ text }) => text)).toEqual(["fox", "hen", "owl"]);
    expect(ranked.map(({ score }) => score)).toEqual([expect.closeTo(20), expect.closeTo(3), expect.closeTo(1)]);
    expect(ranked[0]).toMatchObject({ positive: expect.closeTo(-10), negative: expect.closeTo(-30) });
  });

  it("follows log π(y|[d⁺;x]) alone when the score is likelihood", async () => {
    const engine = new ScriptedEngine(script);
    const { ranked } = await icdpo(engine, policy({ score: likelihood }), request());
    expect(ranked.map(({ text }) => text)).toEqual(["owl", "fox", "hen"]);
    expect(ranked[0]).toMatchObject({ positive: expect.closeTo(-9), negative: null, score: expect.closeTo(-9) });
  });

  it("measures Ŝ against the rejected responses and S against the bare prompt", async () => {
    const contexts = async (score: unknown) => {
      const engine = new ScriptedEngine(script);
      await icdpo(engine, policy({ score }), request());
      return engine.calls.flatMap((call) => (call.type === "score" ? [call.context] : []));
    };
    expect(await contexts(sHat)).toEqual([
      "<system>BAD</system><user>ask-two</user><assistant>two-rrrr</assistant>" +
        "<user>ask-one</user><assistant>one-rrrr</assistant><user>How do magnets work?</user><assistant>",
    ]);
    expect(await contexts(s)).toEqual(["<user>How do magnets work?</user><assistant>"]);
  });

  it("samples after the chosen responses, the most similar demonstration next to the prompt", async () => {
    const engine = new ScriptedEngine(script);
    await icdpo(engine, policy({ score: s }), request());
    expect(sampleCall(engine).context).toBe(
      "<system>GOOD</system><user>ask-two</user><assistant>two+cccc</assistant>" +
        "<user>ask-one</user><assistant>one+cccc</assistant><user>How do magnets work?</user><assistant>",
    );
  });

  it("divides by the number of tokens, the closing one included, when normalize is token", async () => {
    // Sums prefer the long response (12 > 9), means per token the short one (9 / 3 > 12 / 9).
    const engine = new ScriptedEngine({
      ...says("tall oak", "ox"),
      ...table({ "tall oak": [-8, -20, 0], ox: [-1, -10, 0] }),
    });
    const { ranked } = await icdpo(
      engine,
      policy({ score: { ...sHat, normalize: "token" }, candidates: 2 }),
      request(),
    );
    expect(ranked.map(({ text, score }) => [text, score])).toEqual([
      ["ox", expect.closeTo(9 / 3)],
      ["tall oak", expect.closeTo(12 / 9)],
    ]);
    const bySum = await icdpo(engine, policy({ score: sHat, candidates: 2 }), request());
    expect(bySum.ranked[0]).toMatchObject({ text: "tall oak", score: expect.closeTo(12) });
  });

  it("gives ties to the lower index", async () => {
    const even = table({ fox: [-2, -5, 0], hen: [-1, -3, 0], owl: [-6, -9, 0] });
    const { ranked } = await icdpo(new ScriptedEngine({ ...script, ...even }), policy({ score: sHat }), request());
    expect(ranked.map(({ index }) => index)).toEqual([0, 2, 1]);
  });

  it("scores a text that was sampled twice once, and the lower index stands for both", async () => {
    const engine = new ScriptedEngine({ ...script, ...says("owl", "hen", "hen") });
    const { ranked } = await icdpo(engine, policy({ score: sHat }), request());
    expect(scoreCalls(engine)).toEqual([{ sign: "negative", responses: ["owl", "hen"] }]);
    expect(ranked.map(({ index, score }) => [index, score])).toEqual([
      [1, expect.closeTo(8)],
      [2, expect.closeTo(8)],
      [0, expect.closeTo(0.5)],
    ]);
  });

  it("neither scores an empty candidate nor lets it win over any other", async () => {
    const engine = new ScriptedEngine({
      ...says("", "bad", ""),
      ...table({ bad: [-500, -1, -1], "": [-1, -900, -900] }),
    });
    const { ranked, fallback } = await icdpo(engine, policy({ score: sHat }), request());
    expect(scoreCalls(engine)).toEqual([{ sign: "negative", responses: ["bad"] }]);
    expect(ranked.map(({ index, score }) => [index, score])).toEqual([
      [1, expect.closeTo(-499)],
      [0, null],
      [2, null],
    ]);
    expect(fallback).toBeNull();
  });

  it("returns the first empty candidate, unscored, when all are empty", async () => {
    const engine = new ScriptedEngine(says("", "", ""));
    const { ranked, tokens, fallback } = await icdpo(engine, policy({ score: sHat }), request());
    expect(scoreCalls(engine).flatMap(({ responses }) => responses)).toEqual([]);
    expect(tokens.scored).toBe(0);
    expect(ranked[0]).toMatchObject({ index: 0, text: "", score: null, positive: null, negative: null });
    expect(fallback).toBeNull();
  });

  it("scores candidates of one token", async () => {
    const engine = new ScriptedEngine({
      ...says("A", "B", "C"),
      ...table({ A: [-3, -4, 0], B: [-3, -6, 0], C: [-3, -5, 0] }),
    });
    const { ranked } = await icdpo(engine, policy({ score: sHat }), request());
    expect(ranked.map(({ text }) => text)).toEqual(["B", "C", "A"]);
    expect(ranked[0]?.idsWithEos).toEqual([66, endOfTurn]);
  });

  it("finds the best of 64 candidates wherever it stands", async () => {
    const texts = Array.from({ length: 64 }, (_, index) => `t${index}`);
    const sum: Script["sum"] = (context, response) => (signOf(context) === "negative" && response === "t63" ? -9 : -3);
    const { ranked } = await icdpo(
      new ScriptedEngine({ ...says(...texts), sum }),
      policy({ score: sHat, candidates: 64 }),
      request(),
    );
    expect(ranked).toHaveLength(64);
    expect(ranked[0]).toMatchObject({ index: 63, score: expect.closeTo(6) });
    expect(ranked[1]?.index).toBe(0);
  });

  it("keeps apart candidates that differ in white space, line ends or half a surrogate pair only", async () => {
    const texts = ["a\nb", "a\r\nb", "a b", "\uD83D", "\uD83E"];
    const best = "\uD83D";
    const sum: Script["sum"] = (context, response) => (signOf(context) === "negative" && response === best ? -5 : -1);
    const engine = new ScriptedEngine({ ...says(...texts), sum });
    const { ranked } = await icdpo(engine, policy({ score: sHat, candidates: 5 }), request());
    expect(scoreCalls(engine)[0]?.responses).toEqual(texts);
    expect(ranked[0]).toMatchObject({ index: 3, text: best });
  });

  it("ranks a response that the model finds impossible under C⁺ last", async () => {
    const engine = new ScriptedEngine({
      ...says("fox", "hen"),
      ...table({ fox: [Number.NEGATIVE_INFINITY, -2, 0], hen: [-90, -2, 0] }),
    });
    const { ranked } = await icdpo(engine, policy({ score: sHat, candidates: 2 }), request());
    expect(ranked.map(({ text }) => text)).toEqual(["hen", "fox"]);
  });

  describe("of which some were cut off at max_tokens", () => {
    const cut = (...indices: number[]): Pick<Script, "sample"> => ({
      sample: (index) => ({
        text: ["fox", "hen", "owl"][index] ?? "",
        finish: indices.includes(index) ? "length" : "stop",
      }),
    });
    const order = async (score: unknown, ...indices: number[]): Promise<string[]> => {
      const engine = new ScriptedEngine({ ...script, ...cut(...indices) });
      return (await icdpo(engine, policy({ score }), request())).ranked.map(({ text }) => text);
    };
    const last = { ...sHat, unfinished: "last" } as const;

    it("takes them as equals, unless a policy says otherwise", async () => {
      expect(await order(sHat, 1)).toEqual(["hen", "fox", "owl"]);
      expect(await order({ ...sHat, unfinished: "equal" }, 1)).toEqual(["hen", "fox", "owl"]);
    });

    it("takes them last where the policy says so, by their scores if all were", async () => {
      expect(await order(last, 1)).toEqual(["fox", "owl", "hen"]);
      expect(await order(last, 0, 1)).toEqual(["owl", "hen", "fox"]);
      expect(await order(last, 0, 1, 2)).toEqual(["hen", "fox", "owl"]);
    });

    it("takes one that was cut off before an empty one", async () => {
      const engine = new ScriptedEngine({
        ...table({ ...sums, "": [-1, -900, -900] }),
        sample: (index) => (index === 0 ? { text: "", finish: "stop" } : { text: "hen", finish: "length" }),
      });
      expect((await icdpo(engine, policy({ score: last }), request())).ranked[0]?.text).toBe("hen");
    });
  });
});
