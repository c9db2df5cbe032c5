/** Algorithm 1 with two models: a teacher that scores, and a tuned model measured against its base. */
import { describe, expect, it } from "vitest";
import type { EngineInfo } from "../../../src/engine/engine.ts";
import { measure } from "../../../src/icdpo/measure.ts";
import { type IcdpoRequest, icdpo } from "../../../src/icdpo/pipeline.ts";
import type { Models, Policy } from "../../../src/policy/policy.ts";
import { type PolicySettings, policySchema } from "../../../src/policy/schema.ts";
import { endOfText, type Script, ScriptedEngine } from "../scripted-engine.ts";

const whole: EngineInfo["capabilities"] = { chat: true, text: true, score: true, grammar: true, tools: null };

function policy(settings: unknown, models: Models): Policy {
  return {
    name: "test",
    id: "test@0123456789ab",
    settings: policySchema.parse(settings) as PolicySettings,
    goesOn: true,
    ...models,
    demonstrations: [],
    retriever: null,
    source: { demonstrations: "", model: "scripted" },
  };
}

const request: IcdpoRequest = {
  conversation: [{ role: "user", content: "Why?" }],
  sampling: { temperature: 1, topP: 0.8, topK: 50, maxTokens: 20, stop: [] },
  answers: 1,
  seed: 7,
  now: () => 0,
};

const says =
  (...texts: string[]): Required<Script>["sample"] =>
  (index) => ({ text: texts[index] ?? "" });
/** log π of each response, whatever the context. */
const likes =
  (sums: Readonly<Record<string, number>>): Required<Script>["sum"] =>
  (_, response) =>
    sums[response.trim()] ?? -99;
const scored = (engine: ScriptedEngine) => engine.calls.flatMap((call) => (call.type === "score" ? [call] : []));

describe("a teacher that scores (RM-BoN)", () => {
  const open = (teacherScript: Script = {}) => {
    const student = new ScriptedEngine({
      sample: says("one", "two", "three"),
      sum: likes({ one: -1, two: -2, three: -3 }),
    });
    const teacher = new ScriptedEngine({ sum: likes({ one: -9, two: -4, three: -6 }), ...teacherScript });
    const models = {
      sampler: { engine: student, format: "chat" },
      scorer: { engine: teacher, format: "hh-rlhf" },
      reference: null,
    } as const;
    return { student, teacher, policy: policy({ scorer: "teacher", score: { type: "likelihood" } }, models) };
  };

  it("chooses by its own log-probabilities, after its own context, closed by its own end token", async () => {
    const { student, teacher, policy } = open();
    const { ranked, tokens } = await icdpo(policy, request);
    expect(ranked.map(({ text, positive, score }) => [text, positive, score])).toEqual([
      ["two", expect.closeTo(-4, 10), expect.closeTo(-4, 10)],
      ["three", expect.closeTo(-6, 10), expect.closeTo(-6, 10)],
      ["one", expect.closeTo(-9, 10), expect.closeTo(-9, 10)],
    ]);
    expect(scored(student)).toEqual([]);
    // What the student finds likely is of no use to anybody.
    expect(student.calls).toMatchObject([{ type: "sample", request: { logprobs: false } }]);
    expect(scored(teacher)).toMatchObject([
      { context: "\n\nHuman: Why?\n\nAssistant:", responses: [" one", " two", " three"] },
    ]);
    expect(ranked[0]?.idsByEngine.get(teacher)?.at(-1)).toBe(endOfText);
    // " two" and its end, of each of three; the student's own tokens are not fed again.
    expect(tokens.scored).toBe(5 + 5 + 7);
  });

  it("counts its own tokens where scores are per token", async () => {
    const { policy: bySum } = open();
    const byToken = {
      ...bySum,
      settings: { ...bySum.settings, score: { type: "likelihood", normalize: "token" } as const },
    };
    const { ranked } = await icdpo(byToken, request);
    expect(ranked.map(({ text, score }) => [text, score])).toEqual([
      ["two", expect.closeTo(-4 / 5, 10)],
      ["three", expect.closeTo(-6 / 7, 10)],
      ["one", expect.closeTo(-9 / 5, 10)],
    ]);
  });

  it("leaves room for the response in both models' contexts", async () => {
    const { policy, student } = open({ contextSize: 40 });
    await icdpo(policy, request);
    const [call] = student.calls;
    expect(call?.type === "sample" && call.request.maxTokens).toBe(40 - "\n\nHuman: Why?\n\nAssistant:".length);
  });

  it("is asked what it thinks of given completions", async () => {
    const { policy } = open();
    const { chosen, measured } = await measure(policy, {
      conversation: request.conversation,
      completions: ["one", "two"],
      seed: 0,
    });
    expect(chosen).toBe(1);
    expect(measured.map(({ base, positive }) => [base, positive])).toEqual([
      [expect.closeTo(-9, 10), null],
      [expect.closeTo(-4, 10), null],
    ]);
  });

  it("fails the request where it cannot score, and never picks at random", async () => {
    const { policy } = open({ sum: () => Number.NaN });
    await expect(icdpo(policy, request)).rejects.toMatchObject({ code: "engine_failure" });
  });

  it("keeps one block after another (RM-Aug), by all of the text so far", async () => {
    const letters: Required<Script>["sample"] = (index, context) => {
      const said = context.split("<assistant>").at(-1) ?? "";
      return { text: ("xy"[index] ?? "?").repeat(2), finish: said.length >= 2 ? "stop" : "length" };
    };
    const student = new ScriptedEngine({ sample: letters });
    const teacher = new ScriptedEngine({ sum: likes({ y: -2, x: -5, yyxx: -3, yyyy: -7 }) });
    const models = {
      sampler: { engine: student, format: "chat" },
      scorer: { engine: teacher, format: "chat" },
      reference: null,
    } as const;
    const settings = { scorer: "teacher", candidates: 2, score: { type: "likelihood" }, block: { tokens: 2 } };
    const { ranked } = await icdpo(policy(settings, models), request);
    expect(ranked).toMatchObject([{ text: "yyxx", finish: "stop", score: expect.closeTo(-3, 10) }]);
    // A block is fed open, the answer's end with it.
    expect(scored(teacher).map(({ responses }) => responses)).toEqual([
      ["x", "y"],
      ["yyxx", "yyyy"],
    ]);
  });
});

describe("a tuned model measured against its base (DPO+S)", () => {
  const tuned = new ScriptedEngine({
    sample: says("one", "two"),
    sum: likes({ one: -3, two: -5 }),
    capabilities: whole,
  });
  const base = new ScriptedEngine({ sum: likes({ one: -4, two: -9 }), capabilities: whole });
  const sampler = { engine: tuned, format: "chat" } as const;
  const models = { sampler, scorer: sampler, reference: { engine: base, format: "chat" } } as const;
  const settings = {
    adapter: "dpo",
    candidates: 2,
    score: { type: "contrast", negative: "reference", normalize: "token" },
  };

  it("chooses by log π_tuned − log π_base per token, the first as noted while sampling", async () => {
    const { ranked } = await icdpo(policy(settings, models), request);
    expect(ranked.map(({ text, positive, negative, score }) => [text, positive, negative, score])).toEqual([
      ["two", expect.closeTo(-5, 10), expect.closeTo(-9, 10), expect.closeTo(1, 10)],
      ["one", expect.closeTo(-3, 10), expect.closeTo(-4, 10), expect.closeTo(0.25, 10)],
    ]);
    expect(scored(tuned)).toEqual([]);
    expect(scored(base)).toMatchObject([{ context: "<user>Why?</user><assistant>", responses: ["one", "two"] }]);
  });

  it("tells what both think of given completions", async () => {
    const { chosen, measured } = await measure(policy(settings, models), {
      conversation: request.conversation,
      completions: ["one", "two"],
      seed: 0,
    });
    expect(chosen).toBe(1);
    expect(measured[1]).toMatchObject({
      base: expect.closeTo(-5, 10),
      reference: expect.closeTo(-9, 10),
      score: expect.closeTo(1, 10),
    });
  });
});
