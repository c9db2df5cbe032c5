/** The three sums of given completions. */
import { describe, expect, it } from "vitest";
import type { Prompt, Token } from "../../../src/engine/engine.ts";
import { measure as measureOn } from "../../../src/icdpo/measure.ts";
import type { Conversation, Demonstration } from "../../../src/types/conversation.ts";
import { type Script, ScriptedEngine } from "../scripted-engine.ts";
import {
  conversation,
  demonstration,
  likelihood,
  measure,
  type PolicyOptions,
  policy,
  type Sums,
  s,
  samplingBy,
  scoreCalls,
  sHat,
  signOf,
  states,
  table,
} from "./scripted-policy.ts";

describe("measure", () => {
  const sums: Sums = { fox: [-10, -11, -30], hen: [-12, -20, -15], owl: [-9, -9.5, -10] };
  const completions = ["fox", "hen", "owl"];
  const unpaired: Demonstration = { id: "lone", messages: [{ role: "user", content: "ask-lone" }], chosen: "yes" };
  const given = (options: PolicyOptions, demonstrations?: readonly Demonstration[]) =>
    measure(new ScriptedEngine(table(sums)), policy(options), { conversation, completions, seed: 1, demonstrations });

  it("gives all three sums, S and Ŝ of each completion", async () => {
    const { measured, fallback } = await given({ score: sHat });
    expect(measured).toEqual([
      expect.objectContaining({
        index: 0,
        text: "fox",
        positive: expect.closeTo(-10),
        negative: expect.closeTo(-11),
        base: expect.closeTo(-30),
        s: expect.closeTo(20),
        sHat: expect.closeTo(1),
      }),
      expect.objectContaining({ index: 1, text: "hen", s: expect.closeTo(3), sHat: expect.closeTo(8) }),
      expect.objectContaining({ index: 2, text: "owl", s: expect.closeTo(1), sHat: expect.closeTo(0.5) }),
    ]);
    expect(fallback).toBeNull();
  });

  it("counts the closing token", async () => {
    expect((await given({ score: sHat })).measured.map(({ tokens }) => tokens)).toEqual([4, 4, 4]);
    expect((await given({ score: sHat, format: "hh-rlhf" })).measured.map(({ tokens }) => tokens)).toEqual([5, 5, 5]);
  });

  it.each([
    ["Ŝ", sHat, 1],
    ["S", s, 0],
    ["the likelihood", likelihood, 2],
    ["Ŝ where the policy has no score", { type: "none" }, 1],
  ])("prefers what the policy's score prefers: %s", async (_, score, chosen) => {
    expect((await given({ score })).chosen).toBe(chosen);
  });

  it("prefers per token where the policy normalizes", async () => {
    const engine = new ScriptedEngine(table({ "tall oak": [-8, -20, 0], ox: [-1, -10, 0] }));
    const asked = { conversation, completions: ["tall oak", "ox"], seed: 1 };
    expect((await measure(engine, policy({ score: { ...sHat, normalize: "token" } }), asked)).chosen).toBe(1);
    expect((await measure(engine, policy({ score: sHat }), asked)).chosen).toBe(0);
  });

  it("has no C⁻ and no Ŝ where a demonstration has no rejected response, and chooses by S", async () => {
    const { measured, chosen } = await given({ score: sHat }, [demonstration("one"), unpaired]);
    expect(measured.map(({ negative, sHat: none }) => [negative, none])).toEqual([
      [null, null],
      [null, null],
      [null, null],
    ]);
    expect(measured.map((completion) => completion.s)).toEqual([
      expect.closeTo(20),
      expect.closeTo(3),
      expect.closeTo(1),
    ]);
    expect(chosen).toBe(0);
  });

  it("has C⁰ alone, and chooses nothing, without demonstrations and instructions", async () => {
    const { measured, chosen } = await given({ score: { type: "none" }, demonstrations: [], instructions: null });
    expect(measured[0]).toMatchObject({
      positive: null,
      negative: null,
      base: expect.closeTo(-30),
      s: null,
      sHat: null,
    });
    expect(chosen).toBeNull();
  });

  it("uses given demonstrations instead of retrieved ones, the first next to the prompt", async () => {
    const engine = new ScriptedEngine(table(sums));
    const demonstrations = [demonstration("mine"), demonstration("yours")];
    await measure(engine, policy({ score: sHat }), { conversation, completions, seed: 1, demonstrations });
    const positive = engine.calls.find(({ context }) => signOf(context) === "positive")?.context;
    expect(positive).toBe(
      "<system>GOOD</system><user>ask-yours</user><assistant>yours+cccc</assistant>" +
        "<user>ask-mine</user><assistant>mine+cccc</assistant><user>How do magnets work?</user><assistant>",
    );
  });

  it("renders the contexts in the format that the request names", async () => {
    const engine = new ScriptedEngine(table(sums));
    await measure(engine, policy({ score: sHat }), { conversation, completions, seed: 1, format: "hh-rlhf" });
    const base = engine.calls.find(({ context }) => signOf(context) === "base");
    expect(base).toMatchObject({
      type: "score",
      context: "\n\nHuman: How do magnets work?\n\nAssistant:",
      responses: [" fox", " hen", " owl"],
    });
  });

  it("measures the same completion twice if it is given twice, and prefers the first", async () => {
    const engine = new ScriptedEngine(table(sums));
    const { measured, chosen } = await measure(engine, policy({ score: sHat }), {
      conversation,
      completions: ["hen", "hen"],
      seed: 1,
    });
    expect(measured.map((completion) => completion.sHat)).toEqual([expect.closeTo(8), expect.closeTo(8)]);
    expect(chosen).toBe(0);
  });

  it("measures an empty completion as the closing token alone, and prefers any other", async () => {
    const engine = new ScriptedEngine(table({ "": [-1, -50, -3], fox: [-10, -11, -30] }));
    const { measured, chosen } = await measure(engine, policy({ score: sHat }), {
      conversation,
      completions: ["", "fox"],
      seed: 1,
    });
    expect(measured[0]).toMatchObject({ tokens: 1, positive: -1, negative: -50, base: -3 });
    expect(chosen).toBe(1);
  });

  it("drops demonstrations so that contexts and completions fit, and says so", async () => {
    const engine = new ScriptedEngine({ ...table(sums), contextSize: 1500 });
    const demonstrations = [demonstration("near", 1000), demonstration("far", 1000)];
    const { fallback } = await measure(engine, policy({ score: sHat }), {
      conversation,
      completions,
      seed: 1,
      demonstrations,
    });
    expect(fallback).toBe("context:1-of-2-demonstrations");
    expect(engine.calls.every(({ context }) => !context.includes("ask-far"))).toBe(true);
  });

  /** Counts what is asked of it beside scores. */
  class CountingEngine extends ScriptedEngine {
    readonly counts = { tokenize: 0, chatPrompt: 0 };

    override async tokenize(texts: readonly string[]): Promise<Token[][]> {
      this.counts.tokenize += 1;
      return super.tokenize(texts);
    }

    override async chatPrompt(messages: Conversation): Promise<Prompt> {
      this.counts.chatPrompt += 1;
      return super.chatPrompt(messages);
    }
  }

  it("renders each context once, tokenises all completions in one call, and asks for all sums at once", async () => {
    const open: string[][] = [];
    const pause: Script["pause"] = async () => void open.push(states(engine));
    const engine = new CountingEngine({ ...table(sums), pause });
    await measure(engine, policy({ score: sHat }), { conversation, completions, seed: 1 });
    expect(engine.counts).toEqual({ tokenize: 1, chatPrompt: 3 });
    expect(scoreCalls(engine).map(({ responses }) => responses)).toEqual([completions, completions, completions]);
    expect(open[0]).toEqual(["score open", "score open", "score open"]);
  });

  it("asks a reference model once as well", async () => {
    const [engine, base] = [new CountingEngine({ sum: () => -3 }), new CountingEngine({ sum: () => -5 })];
    const { settings, format, ...rest } = policy({ score: sHat });
    const score = { type: "contrast", negative: "reference", normalize: "sum" } as const;
    const models = { ...samplingBy(engine, format), reference: { engine: base, format } };
    const tuned = { ...rest, settings: { ...settings, score }, ...models };
    const { measured } = await measureOn(tuned, { conversation, completions, seed: 1 });
    expect(measured.map(({ reference, score }) => [reference, score])).toEqual(
      completions.map(() => [expect.closeTo(-5), expect.closeTo(2)]),
    );
    expect(base.counts).toEqual({ tokenize: 1, chatPrompt: 1 });
    expect(states(base)).toEqual(["score done"]);
    expect(states(engine)).toHaveLength(3);
  });

  it("is an error where a sum is not a number", async () => {
    const engine = new ScriptedEngine({ sum: () => Number.NaN });
    await expect(measure(engine, policy({ score: sHat }), { conversation, completions, seed: 1 })).rejects.toThrow();
  });

  it("is an error where the sum after the bare prompt alone is not a number", async () => {
    const engine = new ScriptedEngine({ sum: (context) => (signOf(context) === "base" ? Number.NaN : -5) });
    const measurement = measure(engine, policy({ score: sHat }), { conversation, completions, seed: 1 });
    await expect(measurement).rejects.toMatchObject({ code: "engine_failure" });
  });

  it("ends when it is cancelled", async () => {
    const leave = new AbortController();
    const engine = new ScriptedEngine({ ...table(sums), pause: async () => leave.abort() });
    const measurement = measure(engine, policy({ score: sHat }), {
      conversation,
      completions,
      seed: 1,
      signal: leave.signal,
    });
    await expect(measurement).rejects.toMatchObject({ code: "cancelled" });
  });
});
