/** Thoughts before answers: whether there is one, what follows it, and what competes. */
import { describe, expect, it } from "vitest";
import type { Reasoned } from "../../../src/icdpo/pipeline.ts";
import type { Policy } from "../../../src/policy/policy.ts";
import { policySchema } from "../../../src/policy/schema.ts";
import { cancelled } from "../../../src/types/error.ts";
import { ScriptedEngine } from "../scripted-engine.ts";
import { thinks } from "../thinking-script.ts";
import { icdpo, measure, policy, request, scoreCalls, sHat, signOf, table } from "./scripted-policy.ts";

type Reasoning = Policy["settings"]["reasoning"];

function withReasoning(options: Parameters<typeof policy>[0], reasoning?: Partial<NonNullable<Reasoning>>) {
  const base = policy(options);
  return {
    ...base,
    settings: { ...base.settings, reasoning: { budget: 50, thoughts: "shared", ...reasoning } as Reasoning },
  };
}

/** Ends as soon as its signal fires, between two pieces as well. */
class PromptlyEndingEngine extends ScriptedEngine {
  override async *sample(...[prompt, sampling, signal]: Parameters<ScriptedEngine["sample"]>) {
    for await (const event of super.sample(prompt, sampling, signal)) {
      yield event;
      if (signal?.aborted) throw cancelled(signal);
    }
  }
}

const plain = { score: { type: "none" }, candidates: 1, demonstrations: [], instructions: null } as const;

function contexts(engine: ScriptedEngine): string[] {
  return engine.calls.flatMap((call) => (call.type === "sample" ? [call.context] : []));
}

describe("a plain answer", () => {
  it("is thought about as the template has it, and the thought stands apart", async () => {
    const engine = new ScriptedEngine(thinks(["Magnets …"], ["They pull."]));
    const told: [number | null, string][] = [];
    const onThought = (index: number | null, text: string) => told.push([index, text]);
    const { ranked, reasoning, tokens } = await icdpo(
      engine,
      policy(plain),
      request({ onThought, sampling: { maxTokens: 40 } }),
    );
    expect(ranked[0]?.text).toBe("They pull.");
    expect(reasoning).toMatchObject({ thinks: true, thought: { text: "Magnets …", tokens: 10, isClosed: true } });
    expect(told.map(([, text]) => text).join("")).toBe("Magnets …");
    expect(contexts(engine).map((context) => context.slice(context.indexOf("<assistant>")))).toEqual([
      "<assistant><t>",
      "<assistant><t>Magnets … </t>",
    ]);
    expect(tokens.sampled).toBe(10 + 10);
  });

  it.each([
    [{ thinks: false }, '<told {"think":false}>', "<assistant>"],
    [{ thinks: true, effort: "low" as const }, '<told {"think":true,"reasoning_effort":"low"}>', "<assistant><t>"],
  ])("is told what the request says: %o", async (reasoning, opening, ending) => {
    const engine = new ScriptedEngine(thinks(["Hm."], ["Yes."]));
    await icdpo(engine, policy(plain), request({ reasoning }));
    const [first = ""] = contexts(engine);
    expect(first.startsWith(opening)).toBe(true);
    expect(first.endsWith(ending)).toBe(true);
  });

  it("has an empty thought where thinking cannot be turned off", async () => {
    const engine = new ScriptedEngine(thinks([], ["Yes."], { off: null }));
    await icdpo(engine, withReasoning(plain, { mode: "off" }), request());
    expect(contexts(engine).map((context) => context.split("<assistant>")[1])).toEqual(["<t> </t>"]);
  });

  it("comes after a thought that the budget has ended", async () => {
    const engine = new ScriptedEngine(thinks(["So many words"], ["Yes."]));
    const { ranked, reasoning } = await icdpo(
      engine,
      withReasoning(plain, { budget: 7 }),
      request({ sampling: { maxTokens: 100 } }),
    );
    expect(reasoning?.thought).toEqual({ text: "So many", tokens: 7, isClosed: false });
    expect(contexts(engine).at(-1)).toMatch(/<t>So many <\/t>$/u);
    expect(ranked[0]?.text).toBe("Yes.");
  });

  it("has a share of what the client allows for both", async () => {
    const engine = new ScriptedEngine(thinks(["So many words"], ["Yes."]));
    const { reasoning, maxTokens } = await icdpo(
      engine,
      policy(plain),
      request({ within: 8, sampling: { maxTokens: 8 } }),
    );
    expect(reasoning?.thought?.tokens).toBe(6);
    expect(maxTokens).toBe(2);
  });

  it("comes after what a deadline has left of a thought", async () => {
    const budget = new AbortController();
    const engine = new PromptlyEndingEngine(thinks(["Two words"], ["Yes."]));
    const onThought = (): void => budget.abort();
    const { reasoning } = await icdpo(engine, policy(plain), request({ budget: budget.signal, onThought }));
    expect(reasoning?.thought).toEqual({ text: "Two", tokens: 3, isClosed: false });
  });

  it("of a model that does not think has none of this", async () => {
    const engine = new ScriptedEngine({ sample: () => ({ text: "Yes." }) });
    const outcome = await icdpo(engine, withReasoning(plain, { mode: "on" }), request({ reasoning: { thinks: true } }));
    expect(outcome).not.toHaveProperty("reasoning");
    expect(contexts(engine)).toHaveLength(1);
  });

  it("of a prompt that is no chat has none either", async () => {
    const engine = new ScriptedEngine(thinks(["Hm."], ["Yes."]));
    const outcome = await icdpo(engine, policy({ ...plain, format: "hh-rlhf" }), request());
    expect(outcome).not.toHaveProperty("reasoning");
  });
});

const answers = table({ A: [-10, -20, -15], B: [-10, -30, -15] });
/** Of answers; nobody asks what thoughts add up to. */
const sums = {
  sum: (context: string, text: string): number => (context.endsWith("<t>") ? 0 : answers.sum(context, text)),
};

describe("scored answers", () => {
  it("are not thought about, where the model can", async () => {
    const engine = new ScriptedEngine({ ...thinks([], ["A", "B"]), ...sums });
    const { reasoning, ranked } = await icdpo(engine, policy({ score: sHat, candidates: 2 }), request());
    expect(reasoning?.thinks).toBe(false);
    expect(ranked[0]?.text).toBe("B");
    expect(
      engine.calls.every(({ context }) => context.endsWith("<assistant>") && context.includes('"think":false')),
    ).toBe(true);
  });

  it.each([
    ["said so", { mode: "on" as const }, {}],
    ["cannot be told not to", undefined, { off: null }],
  ])("share one thought, after which both contexts stand: a model that is %s", async (_, reasoning, changes) => {
    const engine = new ScriptedEngine({ ...thinks(["Hm."], ["A", "B"], changes), ...sums });
    const { ranked, reasoning: told } = await icdpo(
      engine,
      withReasoning({ score: sHat, candidates: 2 }, reasoning),
      request(),
    );
    expect(told?.thought?.text).toBe("Hm.");
    expect(ranked[0]).toMatchObject({ text: "B", negative: -30 });
    const thought = engine.calls.filter(({ type, context }) => type === "sample" && context.endsWith("<t>"));
    expect(thought).toHaveLength(1);
    const others = engine.calls.filter((call) => !thought.includes(call));
    expect(others.every(({ context }) => context.endsWith("<t>Hm. </t>"))).toBe(true);
    expect(scoreCalls(engine).map(({ sign }) => sign)).toEqual(["negative"]);
  });

  it("may each have their own, and are scored as if they had none", async () => {
    const sample = (index: number, prompt: string, of: { maxTokens: number }) =>
      prompt.endsWith("Two. </t>") ? { text: "B" } : thinks(["One.", "Two."], ["A"]).sample(index, prompt, of as never);
    const own = new ScriptedEngine({ ...thinks([], []), ...sums, sample });
    const { ranked, reasoning } = await icdpo(
      own,
      withReasoning({ score: sHat, candidates: 2 }, { mode: "on", thoughts: "own" }),
      request(),
    );
    expect((reasoning as Reasoned).thought).toBeNull();
    expect(ranked.map(({ text, thought }) => [text, thought?.text])).toEqual([
      ["B", "Two."],
      ["A", "One."],
    ]);
    const scored = own.calls.filter(({ type }) => type === "score");
    expect(scored.map(({ context }) => signOf(context)).toSorted()).toEqual(["negative", "positive"]);
    expect(scored.every(({ context }) => context.endsWith("<assistant>") && context.includes('"think":false'))).toBe(
      true,
    );
  });

  it("have the sums of the same answers after the same thought", async () => {
    const script = { ...thinks(["Hm."], ["A", "B"]), ...sums };
    const of = withReasoning({ score: sHat, candidates: 2 }, { mode: "on" });
    const { ranked } = await icdpo(new ScriptedEngine(script), of, request());
    const engine = new ScriptedEngine(script);
    const { measured } = await measure(engine, of, {
      conversation: request().conversation,
      completions: ["B"],
      thought: "Hm.",
      seed: 7,
    });
    expect(measured[0]).toMatchObject({ positive: ranked[0]?.positive, negative: ranked[0]?.negative, base: -15 });
    expect(engine.calls.every(({ context }) => context.endsWith("<t>Hm. </t>"))).toBe(true);
  });
});

describe("given completions", () => {
  it("of a model that does not think cannot follow a thought", async () => {
    const given = { conversation: request().conversation, completions: ["B"], thought: "Hm.", seed: 7 };
    await expect(measure(new ScriptedEngine(sums), policy({ score: sHat }), given)).rejects.toMatchObject({
      code: "unsupported_parameter",
      param: "reasoning_content",
    });
  });

  it("are measured without a thought", async () => {
    const engine = new ScriptedEngine({ ...thinks([], []), ...sums });
    await measure(engine, policy({ score: sHat }), {
      conversation: request().conversation,
      completions: ["B"],
      seed: 7,
    });
    expect(engine.calls.every(({ context }) => context.includes('"think":false'))).toBe(true);
  });
});

describe("reasoning in a policy", () => {
  it.each([
    ["block: {}", { block: {} }],
    ["prune: {}", { prune: {} }],
    ["stream: blocks", { stream: "blocks" }],
  ])("has no thoughts of candidates' own with %s", (_, others) => {
    const file = { instructions: {}, candidates: 8, score: sHat, reasoning: { thoughts: "own" }, ...others };
    expect(policySchema.safeParse(file).error?.issues).toMatchObject([{ path: ["reasoning", "thoughts"] }]);
  });

  it("has defaults", () => {
    expect(policySchema.parse({ score: { type: "none" }, reasoning: {} }).reasoning).toEqual({
      budget: 512,
      thoughts: "shared",
    });
  });
});
