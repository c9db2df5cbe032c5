/** Algorithm 1 and the measuring of given completions, on an engine whose log-probabilities stand in tables. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type {
  Engine,
  Prompt,
  Sample,
  SampleEvent,
  SampleRequest,
  SamplingParameters,
  ScoreEvent,
  Token,
} from "../../../src/engine/engine.ts";
import { CandidateText } from "../../../src/icdpo/candidate-text.ts";
import { type Measurement, type MeasureRequest, measure as measureOn } from "../../../src/icdpo/measure.ts";
import { type Beginning, type IcdpoOutcome, type IcdpoRequest, icdpo as icdpoOn, type Stage } from "../../../src/icdpo/pipeline.ts";
import { candidateCount, choosesAmong } from "../../../src/icdpo/strategy.ts";
import { noUsage, type TokenUsage } from "../../../src/icdpo/token-usage.ts";
import type { Models, Policy } from "../../../src/policy/policy.ts";
import { type PolicySettings, type PromptFormat, policySchema } from "../../../src/policy/schema.ts";
import type { Conversation, Demonstration } from "../../../src/types/conversation.ts";
import { cancelled, GatewayError } from "../../../src/types/error.ts";
import { encode, endOfTurn, gate, quiet, type Script, ScriptedEngine } from "../scripted-engine.ts";

const conversation: Conversation = [{ role: "user", content: "How do magnets work?" }];
const instructions = { positive: "GOOD", negative: "BAD" };

function demonstration(id: string, length = 4): Demonstration {
  const fill = (letter: string) => letter.repeat(length);
  return { id, messages: [{ role: "user", content: `ask-${id}` }], chosen: `${id}+${fill("c")}`, rejected: `${id}-${fill("r")}` };
}

interface PolicyOptions {
  readonly score: unknown;
  readonly candidates?: number;
  readonly demonstrations?: readonly Demonstration[];
  readonly instructions?: PolicySettings["instructions"] | null;
  readonly format?: PromptFormat;
  readonly maxTokens?: number;
}

/** A policy whose retriever finds the demonstrations in the order given. */
function policy(options: PolicyOptions): Policy & { readonly format: PromptFormat } {
  const { score, candidates = 3, demonstrations = [demonstration("one"), demonstration("two")], format = "chat", maxTokens = 20 } = options;
  const named = demonstrations.length > 0 ? { demonstrations: "set", retriever: { type: "random" } } : {};
  const guidance = options.instructions === null ? {} : { instructions: options.instructions ?? instructions };
  const settings = policySchema.parse({ ...named, ...guidance, score, candidates, sampling: { max_tokens: maxTokens } });
  const retrieve = async (_: Conversation, { shots }: { shots: number }) =>
    demonstrations.slice(0, shots).map((found, place) => ({ demonstration: found, similarity: 0.9 - place / 10 }));
  return {
    name: "test",
    id: "test@0123456789ab",
    settings,
    format,
    ...samplingBy(new ScriptedEngine(), format),
    demonstrations,
    retriever: demonstrations.length > 0 ? { retrieve } : null,
    source: { demonstrations: "", model: "scripted" },
  };
}

/** One model does it all. */
function samplingBy(engine: Engine, format: PromptFormat): Models {
  const sampler = { engine, format };
  return { sampler, scorer: sampler, reference: null };
}

function icdpo(engine: Engine, { format, ...rest }: ReturnType<typeof policy>, of: IcdpoRequest): Promise<IcdpoOutcome> {
  return icdpoOn({ ...rest, ...samplingBy(engine, format) }, of);
}

function measure(engine: Engine, { format, ...rest }: ReturnType<typeof policy>, of: MeasureRequest): Promise<Measurement> {
  return measureOn({ ...rest, ...samplingBy(engine, format) }, of);
}

const sHat = { type: "contrast", negative: "rejected" } as const;
const s = { type: "contrast", negative: "base" } as const;
const likelihood = { type: "likelihood" } as const;

function request(overrides: Partial<Omit<IcdpoRequest, "sampling">> & { sampling?: Partial<SamplingParameters> } = {}): IcdpoRequest {
  const sampling = { temperature: 1, topP: 0.8, topK: 50, maxTokens: 20, stop: [], ...overrides.sampling };
  return { conversation, answers: 1, seed: 7, now: () => 0, ...overrides, sampling };
}

/** Samples that say these texts. */
function says(...texts: string[]): Required<Pick<Script, "sample">> {
  return { sample: (index) => ({ text: texts[index] ?? "" }) };
}

type Sums = Readonly<Record<string, readonly [positive: number, negative: number, base: number]>>;

function signOf(context: string): "positive" | "negative" | "base" {
  if (context.includes("GOOD") || context.includes("polite/")) return "positive";
  return context.includes("BAD") || context.includes("offensive/") ? "negative" : "base";
}

/** log π of each response after C⁺, C⁻ and C⁰. */
function table(sums: Sums): Required<Pick<Script, "sum">> {
  return {
    sum(context, response) {
      const row = sums[response.trim()];
      if (row === undefined) throw new Error(`no sums for "${response}"`);
      return row[{ positive: 0, negative: 1, base: 2 }[signOf(context)]] as number;
    },
  };
}

/** What was scored after which context, C⁺ first. */
function scoreCalls(engine: ScriptedEngine) {
  const calls = engine.calls.flatMap((call) => (call.type === "score" ? [{ sign: signOf(call.context), responses: call.responses }] : []));
  return calls.toSorted((a, b) => b.sign.localeCompare(a.sign));
}

function sampleCall(engine: ScriptedEngine) {
  const call = engine.calls.find(({ type }) => type === "sample");
  if (call?.type !== "sample") throw new Error("nothing was sampled");
  return call;
}

/** An engine whose samples are noted as given, whatever their text tokenises to. */
class FixedSamplesEngine extends ScriptedEngine {
  readonly #samples: readonly Sample[];

  constructor(samples: readonly Sample[], script: Script) {
    super(script);
    this.#samples = samples;
  }

  override async *sample(): AsyncGenerator<SampleEvent> {
    for (const [index, sample] of this.#samples.entries()) {
      yield { type: "text", index, text: sample.text, tokens: sample.tokens.length };
      yield { type: "done", index, sample };
    }
  }
}

const never = new Promise<never>(() => {});

/** How each of the engine's calls stands. */
function states(engine: ScriptedEngine): string[] {
  return engine.calls.map(({ type, state }) => `${type} ${state}`);
}

/** Rejections that nobody handles while `act` runs, and after it. */
async function unhandledRejections(act: () => Promise<unknown>): Promise<unknown[]> {
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => void unhandled.push(reason);
  process.on("unhandledRejection", note);
  try {
    await act();
    await quiet();
  } finally {
    process.off("unhandledRejection", note);
  }
  return unhandled;
}

const noted = (text: string, tokens: readonly Token[], logprobs: readonly number[], endLogprobs: readonly number[]): Sample => ({
  text,
  finish: "stop",
  tokens,
  logprobs,
  endLogprobs,
});

describe("the choice among candidates", () => {
  const sums: Sums = { fox: [-10, -11, -30], hen: [-12, -20, -15], owl: [-9, -9.5, -10] };
  const script = { ...says("fox", "hen", "owl"), ...table(sums) };

  it("follows Ŝ = log π(y|[d⁺;x]) − log π(y|[d⁻;x]) when the negative is rejected", async () => {
    const { ranked } = await icdpo(new ScriptedEngine(script), policy({ score: sHat }), request());
    expect(ranked.map(({ text }) => text)).toEqual(["hen", "fox", "owl"]);
    expect(ranked.map(({ score }) => score)).toEqual([expect.closeTo(8), expect.closeTo(1), expect.closeTo(0.5)]);
    expect(ranked[0]).toMatchObject({ index: 1, finish: "stop", positive: expect.closeTo(-12), negative: expect.closeTo(-20) });
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
    const engine = new ScriptedEngine({ ...says("tall oak", "ox"), ...table({ "tall oak": [-8, -20, 0], ox: [-1, -10, 0] }) });
    const { ranked } = await icdpo(engine, policy({ score: { ...sHat, normalize: "token" }, candidates: 2 }), request());
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
    const engine = new ScriptedEngine({ ...says("", "bad", ""), ...table({ bad: [-500, -1, -1], "": [-1, -900, -900] }) });
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
    const engine = new ScriptedEngine({ ...says("A", "B", "C"), ...table({ A: [-3, -4, 0], B: [-3, -6, 0], C: [-3, -5, 0] }) });
    const { ranked } = await icdpo(engine, policy({ score: sHat }), request());
    expect(ranked.map(({ text }) => text)).toEqual(["B", "C", "A"]);
    expect(ranked[0]?.idsWithEos).toEqual([66, endOfTurn]);
  });

  it("finds the best of 64 candidates wherever it stands", async () => {
    const texts = Array.from({ length: 64 }, (_, index) => `t${index}`);
    const sum: Script["sum"] = (context, response) => (signOf(context) === "negative" && response === "t63" ? -9 : -3);
    const { ranked } = await icdpo(new ScriptedEngine({ ...says(...texts), sum }), policy({ score: sHat, candidates: 64 }), request());
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
    const engine = new ScriptedEngine({ ...says("fox", "hen"), ...table({ fox: [Number.NEGATIVE_INFINITY, -2, 0], hen: [-90, -2, 0] }) });
    const { ranked } = await icdpo(engine, policy({ score: sHat, candidates: 2 }), request());
    expect(ranked.map(({ text }) => text)).toEqual(["hen", "fox"]);
  });
});

describe("policies without a score", () => {
  const texts = ["zero", "one", "two"];

  it("return the first sample when the pick is first", async () => {
    const engine = new ScriptedEngine(says(...texts));
    const { ranked } = await icdpo(engine, policy({ score: { type: "none" } }), request());
    expect(ranked.map(({ index, score }) => [index, score])).toEqual([
      [0, null],
      [1, null],
      [2, null],
    ]);
    expect(scoreCalls(engine)).toEqual([]);
    expect(sampleCall(engine).request.logprobs).toBe(false);
  });

  it("return every sample for some seed, and the same one for the same seed, when the pick is random", async () => {
    const pick = async (seed: number) => {
      const engine = new ScriptedEngine(says(...texts));
      const { ranked } = await icdpo(engine, policy({ score: { type: "none", pick: "random" } }), request({ seed }));
      expect(scoreCalls(engine)).toEqual([]);
      return ranked[0]?.text;
    };
    const seeds = Array.from({ length: 40 }, (_, seed) => seed);
    const picked = await Promise.all(seeds.map(pick));
    expect(new Set(picked)).toEqual(new Set(texts));
    expect(await Promise.all(seeds.map(pick))).toEqual(picked);
  });

  it("prefer a text to an empty sample, whichever the pick", async () => {
    for (const pick of ["first", "random"])
      for (let seed = 0; seed < 20; seed++) {
        const { ranked } = await icdpo(
          new ScriptedEngine(says("", "word", "")),
          policy({ score: { type: "none", pick } }),
          request({ seed }),
        );
        expect(ranked[0]?.text).toBe("word");
        expect(ranked).toHaveLength(3);
      }
  });
});

describe("log-probabilities noted while sampling", () => {
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
    const { engine, outcome } = run([noted("Yes", encode("Yes STOP"), [-1, -2, -3, -40, -40], [-9, -9, -9, -0.25, -9]), no]);
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
      [noted(" Yes", encode(" Yes"), [-1, -1, -1, -1], [-9, -9, -9, -9, -2]), noted(" No", encode(" No"), [-1, -1, -1], [-9, -9, -9, -2])],
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
    const { ranked } = await icdpo(engine, policy({ score: sHat, candidates: 3 }), request({ answers: 4, sampling: { temperature: 0 } }));
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

describe("seeds", () => {
  const seedsOf = async (seed: number, candidates = 16) => {
    const engine = new ScriptedEngine();
    await icdpo(engine, policy({ score: { type: "none" }, candidates }), request({ seed }));
    return sampleCall(engine).request.seeds;
  };

  it("are the same for the same request seed", async () => {
    expect(await seedsOf(42)).toEqual(await seedsOf(42));
  });

  it("differ from candidate to candidate, and are unsigned 32-bit integers", async () => {
    for (const seed of [0, 1, 2 ** 31, 2 ** 32 - 1]) {
      const seeds = await seedsOf(seed, 64);
      expect(new Set(seeds).size).toBe(64);
      expect(seeds.every((value) => Number.isInteger(value) && value >= 0 && value < 2 ** 32)).toBe(true);
    }
  });

  it("differ from request seed to request seed, neighbours among them", async () => {
    const all = (await Promise.all([0, 1, 2, 3].map((seed) => seedsOf(seed)))).flat();
    expect(new Set(all).size).toBe(64);
  });

  it("of the first candidates do not change with the number of candidates", async () => {
    expect((await seedsOf(9, 8)).slice(0, 3)).toEqual(await seedsOf(9, 3));
  });
});

describe("contexts that do not fit", () => {
  const long = [demonstration("near", 1000), demonstration("far", 1000)];
  const scripted = (contextSize: number) => new ScriptedEngine({ contextSize });

  it("drop the least similar demonstration first and say so", async () => {
    const engine = scripted(1500);
    const { demonstrations, fallback } = await icdpo(engine, policy({ score: sHat, demonstrations: long }), request());
    expect(fallback).toBe("context:1-of-2-demonstrations");
    expect(demonstrations.map((kept) => [kept.demonstration.id, kept.similarity])).toEqual([["near", 0.9]]);
    expect(sampleCall(engine).context).toContain("ask-near");
    expect(sampleCall(engine).context).not.toContain("ask-far");
  });

  it("drop demonstrations from C⁺ and C⁻ alike", async () => {
    const engine = scripted(1500);
    await icdpo(engine, policy({ score: sHat, demonstrations: long }), request());
    const negative = engine.calls.find(({ type }) => type === "score")?.context;
    expect(negative).toContain("<system>BAD</system><user>ask-near</user>");
    expect(negative).not.toContain("ask-far");
  });

  it("drop all demonstrations before they give up, the instruction stays", async () => {
    const engine = scripted(500);
    const { demonstrations, fallback } = await icdpo(engine, policy({ score: sHat, demonstrations: long }), request());
    expect(fallback).toBe("context:0-of-2-demonstrations");
    expect(demonstrations).toEqual([]);
    expect(sampleCall(engine).context).toBe("<system>GOOD</system><user>How do magnets work?</user><assistant>");
  });

  it("keep every demonstration where all fit, without a word", async () => {
    const { demonstrations, fallback } = await icdpo(scripted(3000), policy({ score: sHat, demonstrations: long }), request());
    expect(demonstrations).toHaveLength(2);
    expect(fallback).toBeNull();
  });

  it("count the negative context where it is the longer one", async () => {
    const wordy = [{ ...demonstration("near"), rejected: "r".repeat(1000) }, demonstration("far")];
    const ofPolicy = async (score: unknown) => (await icdpo(scripted(600), policy({ score, demonstrations: wordy }), request())).fallback;
    expect(await ofPolicy(sHat)).toBe("context:0-of-2-demonstrations");
    expect(await ofPolicy(s)).toBeNull();
  });

  it("leave room for the response", async () => {
    // Both demonstrations take somewhat more than 2000 tokens; 1000 more are wanted for the response.
    const roomy = policy({ score: sHat, demonstrations: long, maxTokens: 1000 });
    const { fallback } = await icdpo(scripted(2500), roomy, request({ sampling: { maxTokens: 1000 } }));
    expect(fallback).toBe("context:1-of-2-demonstrations");
  });

  it("are context_length_exceeded when the messages alone are too long", async () => {
    const engine = scripted(30);
    const outcome = icdpo(engine, policy({ score: sHat, demonstrations: long }), request());
    await expect(outcome).rejects.toMatchObject({ code: "context_length_exceeded", param: "messages" });
    expect(engine.calls).toEqual([]);
  });

  it("never make a candidate unscorable because it filled the context after a shorter C⁺", async () => {
    /** As an engine does: a sample ends at the context's end, and what goes beyond it cannot be scored. */
    class BoundedEngine extends ScriptedEngine {
      override async *sample(prompt: Prompt, asked: SampleRequest, signal?: AbortSignal): AsyncGenerator<SampleEvent> {
        const room = Math.min(asked.maxTokens, contextSize - prompt.tokens.length);
        const said = new ScriptedEngine({ sample: (index) => ({ text: `${index}`.repeat(room), finish: "length" }) });
        yield* said.sample(prompt, asked, signal);
      }
    }
    const contextSize = 120;
    const wordyNegative = policy({ score: sHat, demonstrations: [], instructions: { positive: "GOOD", negative: "BAD".repeat(5) } });
    const sum = (context: string, response: string) => {
      if (context.length + response.length > contextSize) throw new GatewayError("context_length_exceeded", "too long");
      return -1;
    };
    const { ranked } = await icdpo(new BoundedEngine({ contextSize, sum }), wordyNegative, request({ sampling: { maxTokens: 500 } }));
    expect(ranked[0]?.score).not.toBeNull();
  });
});

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
    const outcome = icdpo(new ScriptedEngine({ ...script, ...at("score", fail) }), policy({ score: sHat }), request({ budget }));
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
    await expect(icdpo(new ForgetfulScorer(script), policy({ score: sHat }), request())).rejects.toMatchObject({ code: "engine_failure" });
  });

  it("a failing sampler is an error", async () => {
    class FailingSampler extends ScriptedEngine {
      // biome-ignore lint/correctness/useYield: it fails before the first event
      override async *sample(): AsyncGenerator<SampleEvent> {
        throw new GatewayError("engine_unavailable", "gone");
      }
    }
    const outcome = icdpo(new FailingSampler(), policy({ score: sHat }), request({ budget: new AbortController().signal }));
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
      override async *sample(_prompt: Prompt, _request: SampleRequest, signal?: AbortSignal): AsyncGenerator<SampleEvent> {
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
      override async *sample(_prompt: Prompt, _request: SampleRequest, signal?: AbortSignal): AsyncGenerator<SampleEvent> {
        yield { type: "text", index: 0, text: "half an", tokens: 7 };
        yield { type: "text", index: 1, text: "whole", tokens: 5 };
        yield { type: "done", index: 1, sample: noted("whole", encode("whole"), [-1, -1, -1, -1, -1], [-1, -1, -1, -1, -1, -1]) };
        budget.abort();
        if (signal?.aborted) throw cancelled(signal);
      }
    }
    const { ranked } = await icdpo(new UnevenEngine(), policy({ score: sHat, candidates: 2 }), request({ budget: budget.signal }));
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
    await expect(icdpo(engine, policy({ score: sHat }), request({ signal: leave.signal }))).rejects.toMatchObject({ code: "cancelled" });
  });

  it("cancellation goes before a spent budget", async () => {
    for (const moment of ["sample", "score"] as const) {
      const [leave, budget] = [new AbortController(), new AbortController()];
      const both = at(moment, () => {
        budget.abort();
        leave.abort();
      });
      const options = request({ signal: leave.signal, budget: budget.signal });
      await expect(icdpo(new ScriptedEngine({ ...script, ...both }), policy({ score: sHat }), options)).rejects.toThrow();
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
    const engine = held({ sample: (index) => (index === 2 ? quiet() : undefined) }, { ...script, ...says("fox", "owl", "hen") });
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
  ])("the negative context of %s is opened when sampling begins: not before, and before any candidate", async (_, score, sign) => {
    const opened: string[][] = [];
    const note = () => opened.push(engine.calls.map((call) => `${call.type} ${signOf(call.context)}`));
    const cached = (context: string) => (signOf(context) === "positive" ? note() * 0 : 0);
    const engine = held({ sample: async () => void note() }, { ...script, cached });
    await run(engine, {}, score);
    const both = ["sample positive", `score ${sign}`];
    expect(opened).toEqual([["sample positive"], both, both, both]);
    await quiet();
    expect(states(engine)).toEqual(["sample done", "score done"]);
  });

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

  it.each(["still being scored", "scored already"])("a text is scored once when it ends again while it is %s", async (moment) => {
    const again = moment === "scored already" ? quiet : undefined;
    const engine: ScriptedEngine = held(
      { sample: again, score: () => (again ? undefined : engine.sampled) },
      { ...script, ...says("hen", "hen", "hen") },
    );
    const { ranked, tokens } = await run(engine);
    expect(scoreCalls(engine)).toEqual([{ sign: "negative", responses: ["hen"] }]);
    expect(tokens.scored).toBe("hen".length + 1);
    expect(ranked.map(({ index, score }) => [index, score])).toEqual([0, 1, 2].map((index) => [index, expect.closeTo(8)]));
  });

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
      expect(ranked[0]).toMatchObject({ index: 0, text: "fox", score: expect.closeTo(0.5), negative: expect.closeTo(-10.5) });
      expect(ranked.slice(1).map(({ score }) => score)).toEqual([null, null]);
      expect(fallback).toBe("budget");
      expect(states(engine).filter((state) => state.endsWith("open"))).toEqual([]);
    },
  );

  it("a budget that fires before any score returns the first finished candidate, unscored", async () => {
    const budget = new AbortController();
    const engine = held({ sample: (index) => (index === 2 ? quiet().then(() => budget.abort()) : undefined), score: () => never });
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
    const unhandled = await unhandledRejections(() => expect(run(engine)).rejects.toMatchObject({ code: "engine_failure" }));
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
    const engine = held({ sample: (index) => (index === 2 ? quiet().then(() => Promise.reject(down("gone"))) : undefined) });
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
    const engine = held({ sample: (index) => (index === 1 ? turns(sampling) : undefined), score: () => turns(scoring) });
    const unhandled = await unhandledRejections(async () => {
      await expect(run(engine)).rejects.toMatchObject({ code: "engine_unavailable" });
      await quiet();
    });
    expect(unhandled).toEqual([]);
    expect(states(engine)).toEqual(["sample failed", "score failed"]);
  });

  it("a client that leaves stops both calls", async () => {
    const leave = new AbortController();
    const engine = held({ sample: (index) => (index === 1 ? never : undefined), score: () => quiet().then(() => leave.abort()) });
    const unhandled = await unhandledRejections(() =>
      expect(run(engine, { signal: leave.signal })).rejects.toMatchObject({ code: "cancelled" }),
    );
    expect(unhandled).toEqual([]);
    expect(states(engine)).toEqual(["sample failed", "score failed"]);
  });

  it("an engine that says nothing of its contexts chooses the same", async () => {
    const { ranked, tokens } = await run(new ScriptedEngine({ ...script, cached: null }));
    const told = await run(new ScriptedEngine({ ...script, cached: () => 0 }));
    expect(ranked).toEqual(told.ranked);
    expect(tokens).toEqual(told.tokens);
    expect(tokens.cached).toBe(0);
  });
});

describe("hh-rlhf candidates", () => {
  const plain = policy({ score: { type: "none" }, candidates: 1, format: "hh-rlhf" });
  const answer = async (text: string, finish: "stop" | "length" = "stop") => {
    const streamed: string[] = [];
    const engine = new ScriptedEngine({ sample: () => ({ text, finish }) });
    const { ranked } = await icdpo(engine, plain, request({ onText: (_, piece) => void streamed.push(piece) }));
    expect(streamed.join("")).toBe(ranked[0]?.text);
    return ranked[0]?.text;
  };

  it("are sampled with the markers as stop strings, after the client's own", async () => {
    const engine = new ScriptedEngine();
    await icdpo(engine, plain, request({ sampling: { stop: ["END"] } }));
    expect(sampleCall(engine).request.stop).toEqual(["END", "##", "Human:", "human:", "Assistant:", "assistant:"]);
  });

  it("chat candidates have the client's stop strings only, and are not trimmed", async () => {
    const engine = new ScriptedEngine(says(" a ## Human: b\n"));
    const { ranked } = await icdpo(engine, policy({ score: { type: "none" }, candidates: 1 }), request({ sampling: { stop: ["END"] } }));
    expect(sampleCall(engine).request.stop).toEqual(["END"]);
    expect(ranked[0]?.text).toBe(" a ## Human: b\n");
  });

  it.each([
    ["a block", " Sure.\n\n##\n\nHuman: more", "Sure."],
    ["the user's turn", " Sure.\n\nHuman: more", "Sure."],
    ["the assistant's turn", " Sure.\r\n\r\nAssistant: more", "Sure."],
    ["a marker in lower case inside a line", " Sure, human: more", "Sure,"],
  ])("are cut before %s and trimmed", async (_, text, expected) => {
    expect(await answer(text)).toBe(expected);
  });

  it.each(["##", "Human:", "\n\nAssistant:", " \n\t "])("are empty where nothing but %j was sampled", async (text) => {
    expect(await answer(text)).toBe("");
  });

  it.each([
    ["Sure.\n\n#", "Sure."],
    ["Sure.\n\nHuman", "Sure."],
    ["Sure.\n\nH", "Sure."],
    ["Sure.\n\nassist", "Sure."],
    ["Sure.\r\n\r\nAssistant", "Sure."],
  ])("that ran into max_tokens in the middle of a marker (%j) lose the half marker", async (text, expected) => {
    expect(await answer(text, "length")).toBe(expected);
  });

  it.each(["Sure.\n\nHuman", "Sure.\n\nH", "Sure.\n#"])(
    "that the model closed itself keep what only looks like half a marker: %j",
    async (text) => {
      expect(await answer(text)).toBe(text);
    },
  );

  it.each(["Sure.\n\nHere", "C#", "I am human", "Sure.\nAssistants"])(
    "that ran into max_tokens keep words that no marker begins with: %j",
    async (text) => {
      expect(await answer(text, "length")).toBe(text);
    },
  );

  it("of one letter survive max_tokens: an answer A or H is no marker", async () => {
    expect(await answer("A", "length")).toBe("A");
    expect(await answer(" H", "length")).toBe("H");
  });

  it("stream as they are sampled, in pieces that make up the final text", async () => {
    const pieces: string[] = [];
    class PieceEngine extends ScriptedEngine {
      override async *sample(): AsyncGenerator<SampleEvent> {
        for (const text of ["\n", " Su", "re", ".\n", "\n", "H", "u", "m", "ble", " pie  ", "\n#", "1 ", "\n\nAss"])
          yield { type: "text", index: 0, text, tokens: text.length };
        const text = "\n Sure.\n\nHumble pie  \n#1 \n\nAss";
        yield { type: "done", index: 0, sample: { text, finish: "length", tokens: encode(text), logprobs: [], endLogprobs: [] } };
      }
    }
    const { ranked } = await icdpo(new PieceEngine(), plain, request({ onText: (_, piece) => void pieces.push(piece) }));
    expect(ranked[0]?.text).toBe("Sure.\n\nHumble pie  \n#1");
    expect(pieces.join("")).toBe("Sure.\n\nHumble pie  \n#1");
    expect(pieces.length).toBeGreaterThan(3);
    expect(pieces).not.toContain("");
  });

  it("stream every candidate under its own index", async () => {
    const streamed = new Map<number, string>();
    const engine = new ScriptedEngine(says(" one two", " three", " four five six"));
    const onText = (index: number, piece: string) => void streamed.set(index, (streamed.get(index) ?? "") + piece);
    await icdpo(engine, policy({ score: { type: "none" }, format: "hh-rlhf" }), request({ answers: 3, onText }));
    expect([...streamed]).toEqual([
      [0, "one two"],
      [1, "three"],
      [2, "four five six"],
    ]);
  });

  it("are closed by the end token when they ran into max_tokens, as any other", async () => {
    const engine = new ScriptedEngine({ sample: (index) => ({ text: ` ${index}x`, finish: "length" }) });
    const { ranked } = await icdpo(engine, policy({ score: sHat, format: "hh-rlhf", candidates: 2 }), request());
    expect(ranked[0]).toMatchObject({ text: "0x", finish: "length" });
    expect(ranked[0]?.idsWithEos).toEqual([32, 48, 120, 0]);
  });

  it("a client's stop string cuts before scoring, and the finish is stop", async () => {
    const engine = new ScriptedEngine({ ...says(" foxEND", " hen"), ...table({ fox: [-1, -9, 0], hen: [-1, -2, 0] }) });
    const options = request({ sampling: { stop: ["END"] } });
    const { ranked } = await icdpo(engine, policy({ score: sHat, format: "hh-rlhf", candidates: 2 }), options);
    expect(ranked[0]).toMatchObject({ text: "fox", finish: "stop", score: expect.closeTo(8) });
  });
});

describe("tokens counted", () => {
  const three = { ...says("aaa", "bb", "bb"), ...table({ aaa: [-1, -2, -3], bb: [-1, -3, -2] }) };
  const base = "<user>How do magnets work?</user><assistant>".length;
  const negative =
    "<system>BAD</system><user>ask-two</user><assistant>two-rrrr</assistant><user>ask-one</user><assistant>one-rrrr</assistant>".length +
    base;
  const positive = negative + 1;

  it("are those of C⁰ for the prompt, and the hidden work of both contexts, all samples and all scored tokens", async () => {
    const { basePromptTokens, tokens } = await icdpo(new ScriptedEngine(three), policy({ score: sHat }), request());
    expect(basePromptTokens).toBe(base);
    // Two distinct texts were scored, each closed: 4 + 3.
    expect(tokens).toEqual({ prompt: positive + negative, sampled: 3 + 2 + 2, scored: 4 + 3, cached: 0 });
  });

  it("say how many of all contexts' tokens were cached", async () => {
    const cached = (context: string) => ({ positive: 100, negative: 20, base: 3 })[signOf(context)];
    const cachedBy = async (score: unknown, format: PromptFormat = "chat") =>
      (await icdpo(new ScriptedEngine({ ...three, cached }), policy({ score, format }), request())).tokens.cached;
    expect(await cachedBy(sHat)).toBe(120);
    expect(await cachedBy(s)).toBe(103);
    expect(await cachedBy(likelihood)).toBe(100);
    expect(await cachedBy({ type: "none" })).toBe(100);
    // In hh-rlhf a text that lacks its space is fed after C⁺ again.
    expect(await cachedBy(sHat, "hh-rlhf")).toBe(220);
  });

  it("hold no scoring where nothing was scored", async () => {
    const { tokens } = await icdpo(new ScriptedEngine(three), policy({ score: { type: "none" } }), request());
    expect(tokens).toEqual({ prompt: positive, sampled: 7, scored: 0, cached: 0 });
  });

  it("of the returned text do not include its closing token", async () => {
    const { ranked } = await icdpo(new ScriptedEngine(three), policy({ score: sHat }), request());
    expect(ranked[0]?.text).toBe("bb");
    expect((ranked[0]?.idsWithEos.length ?? 0) - 1).toBe(2);
  });
});

describe("stages", () => {
  const prefill = () => [10, 20];
  const three = { ...says("aaa", "bb", "cccc"), ...table({ aaa: [-1, -2, -3], bb: [-1, -3, -2], cccc: [-5, -1, -1] }), prefill };
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
      measure(new ScriptedEngine(three), policy({ score: sHat }), { conversation, completions: ["aaa", "bb"], seed: 1, onStage }),
    );
    // Two parts of each of the three contexts, which are fed side by side.
    expect(stages).toEqual(["retrieve", "queue", ...Array(6).fill("prefill"), "score"]);
  });
});

describe("token usage", () => {
  const three = { ...says("aaa", "bb", "cccc"), ...table({ aaa: [-1, -2, -3], bb: [-1, -3, -2], cccc: [-5, -1, -1] }) };
  const length = (engine: ScriptedEngine, type: "sample" | "score"): number =>
    engine.calls.filter((call) => call.type === type).reduce((sum, { context }) => sum + context.length, 0);
  const failure = new GatewayError("engine_unavailable", "The engine died.");

  /** Waits to be cancelled. */
  const held = async (signal: AbortSignal | undefined): Promise<void> => {
    if (!signal?.aborted) await new Promise((resolve) => signal?.addEventListener("abort", resolve));
    throw cancelled(signal as AbortSignal);
  };

  /** The request fails; what has been counted then does not change any more. */
  async function counted(fails: (usage: TokenUsage) => Promise<unknown>, code: string): Promise<TokenUsage> {
    const usage = noUsage();
    await expect(fails(usage)).rejects.toMatchObject({ code });
    const then = { ...usage };
    await quiet();
    expect(usage).toEqual(then);
    return usage;
  }

  it("is the outcome's where all went well", async () => {
    const usage = noUsage();
    const { tokens } = await icdpo(new ScriptedEngine(three), policy({ score: sHat }), request({ usage }));
    expect(tokens).toEqual(usage);
    expect(usage).toMatchObject({ sampled: 9, scored: 4 + 3 + 5 });
  });

  it("is none where the engine had not begun", async () => {
    class WaitingEngine extends ScriptedEngine {
      override async *sample(_prompt: Prompt, _request: SampleRequest, signal?: AbortSignal): AsyncGenerator<SampleEvent> {
        await held(signal);
        yield { type: "prompt", cached: 0 };
      }
    }
    const leave = new AbortController();
    const usage = await counted((usage) => {
      setTimeout(() => leave.abort());
      return icdpo(new WaitingEngine(), policy({ score: sHat }), request({ usage, signal: leave.signal }));
    }, "cancelled");
    expect(usage).toEqual(noUsage());
  });

  it("is what had been fed where the client left during the prefill", async () => {
    const leave = new AbortController();
    function* prefill(): Generator<number> {
      yield 10;
      yield 20;
      leave.abort();
      yield 30;
    }
    const engine = new ScriptedEngine({ ...three, prefill });
    const usage = await counted((usage) => icdpo(engine, policy({ score: sHat }), request({ usage, signal: leave.signal })), "cancelled");
    expect(usage).toEqual({ prompt: 20, cached: 0, sampled: 0, scored: 0 });
  });

  it("is the same whether the engine tells of the prefill or not", async () => {
    const [told, untold] = [noUsage(), noUsage()];
    const prefill = () => [10, 20, 30];
    await icdpo(new ScriptedEngine({ ...three, prefill, cached: () => 5 }), policy({ score: sHat }), request({ usage: told }));
    await icdpo(new ScriptedEngine({ ...three, cached: () => 5 }), policy({ score: sHat }), request({ usage: untold }));
    expect(told).toEqual(untold);
  });

  it("is what had been shown where the client left in the middle of it", async () => {
    const leave = new AbortController();
    class BreakingEngine extends ScriptedEngine {
      override async *sample(_prompt: Prompt, _request: SampleRequest, signal?: AbortSignal): AsyncGenerator<SampleEvent> {
        yield { type: "prompt", cached: 30 };
        for (const [index, text] of ["Mag", "Th", "nets"].entries()) yield { type: "text", index: index % 2, text, tokens: text.length };
        leave.abort();
        await held(signal);
      }
    }
    const shown: string[] = [];
    const onText = (_: number, text: string) => void shown.push(text);
    const plain = policy({ score: { type: "none" }, candidates: 2, demonstrations: [], instructions: null });
    const usage = await counted(
      (usage) => icdpo(new BreakingEngine(), plain, request({ usage, signal: leave.signal, answers: 2, onText })),
      "cancelled",
    );
    expect(usage).toEqual({ prompt: "<user>How do magnets work?</user><assistant>".length, cached: 30, sampled: 9, scored: 0 });
    expect(shown.join("")).toHaveLength(9);
  });

  it("is every sample and the completions that had been scored where scoring fails", async () => {
    // The first completion is scored after C⁻ before the second fails; the third is never handed over.
    const pause = async (what: "sample" | "score", _: AbortSignal | undefined, index: number): Promise<void> => {
      if (what === "score" && index === 1) throw failure;
    };
    const engine = new ScriptedEngine({ ...three, pause });
    const usage = await counted((usage) => icdpo(engine, policy({ score: sHat }), request({ usage })), "engine_unavailable");
    expect(usage.prompt).toBe(length(engine, "sample") + length(engine, "score"));
    expect(usage.scored).toBe("aaa".length + 1);
    expect(usage.sampled).toBeGreaterThanOrEqual(5);
    expect(usage.sampled).toBeLessThanOrEqual(9);
  });

  it("adds up where a request is made once more with the same count", async () => {
    let died = false;
    const pause = async (): Promise<void> => {
      if (!died) {
        died = true;
        throw failure;
      }
    };
    const plain = policy({ score: { type: "none" }, candidates: 1 });
    const engine = new ScriptedEngine({ ...three, pause });
    const usage = await counted((usage) => icdpo(engine, plain, request({ usage })), "engine_unavailable");
    await icdpo(engine, plain, request({ usage }));
    expect(usage).toEqual({ prompt: length(engine, "sample"), cached: 0, sampled: 3, scored: 0 });
  });

  it("of blocks is that of all that were sampled and scored, and ends with the request", async () => {
    const { settings, ...rest } = policy({ score: sHat });
    const inBlocks = { ...rest, settings: { ...settings, block: { tokens: 4 } } };
    const usage = noUsage();
    const engine = new ScriptedEngine(three);
    const { tokens } = await icdpo(engine, inBlocks, request({ usage }));
    expect(tokens).toEqual(usage);
    expect(usage.sampled).toBe(9);
    let calls = 0;
    const failing = new ScriptedEngine({
      ...three,
      pause: async (what) => {
        if (what === "score" && calls++ === 0) throw failure;
      },
    });
    const failed = await counted((usage) => icdpo(failing, inBlocks, request({ usage })), "engine_unavailable");
    expect(failed).toMatchObject({ sampled: 9, scored: 0 });
    expect(states(failing)).not.toContain("score open");
  });

  it("of given completions is that of each context begun, and of each completion scored", async () => {
    const completions = ["aaa", "bb"];
    const measured = async (engine: ScriptedEngine, usage: TokenUsage) =>
      measure(engine, policy({ score: sHat }), { conversation, completions, seed: 1, usage });
    const whole = new ScriptedEngine(three);
    const usage = noUsage();
    await measured(whole, usage);
    expect(usage).toEqual({ prompt: length(whole, "score"), cached: 0, sampled: 0, scored: 3 * (4 + 3) });
    let scored = 0;
    const pause = async (what: "sample" | "score"): Promise<void> => {
      if (what === "score" && ++scored === 4) throw failure;
    };
    const failing = new ScriptedEngine({ ...three, pause });
    const failed = await counted((usage) => measured(failing, usage), "engine_unavailable");
    // The first completion after each of the three contexts, the second after two of them.
    expect(failed).toEqual({ prompt: length(failing, "score"), cached: 0, sampled: 0, scored: 3 * 4 + 2 * 3 });
    expect(states(failing).filter((state) => state.endsWith("open"))).toEqual([]);
    expect(failing.calls).toHaveLength(3);
  });
});

describe("a policy without demonstrations", () => {
  const alone = { score: { type: "none" }, candidates: 1, demonstrations: [], instructions: null } as const;

  it("nor instructions samples after the client's messages alone", async () => {
    const engine = new ScriptedEngine();
    const { demonstrations } = await icdpo(engine, policy(alone), request());
    expect(sampleCall(engine).context).toBe("<user>How do magnets work?</user><assistant>");
    expect(demonstrations).toEqual([]);
  });

  it("but with instructions contrasts them", async () => {
    const engine = new ScriptedEngine({ ...says("fox", "hen"), ...table({ fox: [-1, -2, 0], hen: [-1, -4, 0] }) });
    const { ranked } = await icdpo(engine, policy({ score: sHat, candidates: 2, demonstrations: [] }), request());
    expect(ranked[0]).toMatchObject({ text: "hen", score: expect.closeTo(3) });
  });
});

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
    expect(measured.map((completion) => completion.s)).toEqual([expect.closeTo(20), expect.closeTo(3), expect.closeTo(1)]);
    expect(chosen).toBe(0);
  });

  it("has C⁰ alone, and chooses nothing, without demonstrations and instructions", async () => {
    const { measured, chosen } = await given({ score: { type: "none" }, demonstrations: [], instructions: null });
    expect(measured[0]).toMatchObject({ positive: null, negative: null, base: expect.closeTo(-30), s: null, sHat: null });
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
    const { measured, chosen } = await measure(engine, policy({ score: sHat }), { conversation, completions: ["hen", "hen"], seed: 1 });
    expect(measured.map((completion) => completion.sHat)).toEqual([expect.closeTo(8), expect.closeTo(8)]);
    expect(chosen).toBe(0);
  });

  it("measures an empty completion as the closing token alone, and prefers any other", async () => {
    const engine = new ScriptedEngine(table({ "": [-1, -50, -3], fox: [-10, -11, -30] }));
    const { measured, chosen } = await measure(engine, policy({ score: sHat }), { conversation, completions: ["", "fox"], seed: 1 });
    expect(measured[0]).toMatchObject({ tokens: 1, positive: -1, negative: -50, base: -3 });
    expect(chosen).toBe(1);
  });

  it("drops demonstrations so that contexts and completions fit, and says so", async () => {
    const engine = new ScriptedEngine({ ...table(sums), contextSize: 1500 });
    const demonstrations = [demonstration("near", 1000), demonstration("far", 1000)];
    const { fallback } = await measure(engine, policy({ score: sHat }), { conversation, completions, seed: 1, demonstrations });
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
    const measurement = measure(engine, policy({ score: sHat }), { conversation, completions, seed: 1, signal: leave.signal });
    await expect(measurement).rejects.toMatchObject({ code: "cancelled" });
  });
});

describe("the text of an answer", () => {
  /** Words, white space, and what may begin a marker. */
  const texts = fc
    .array(fc.constantFrom("a", "word", " ", "\n", "\n\n", "#", "##", "H", "Human", "h", "Assis", "tant", "ant:", "As", "."))
    .map((parts) => parts.join(""));
  const formats = fc.constantFrom<PromptFormat>("chat", "hh-rlhf", "synthetic-gpt");
  const finishes = fc.constantFrom("stop" as const, "length" as const);
  const read = (format: PromptFormat, pieces: readonly string[], finish: "stop" | "length") => {
    const shown: string[] = [];
    const answer = new CandidateText(format, (text) => shown.push(text));
    for (const piece of pieces) answer.push(piece, []);
    return { shown, text: answer.end(finish).text };
  };

  it("is the same in whatever pieces it comes, and is what was shown of it", () => {
    fc.assert(
      fc.property(texts, fc.array(fc.nat(20)), formats, finishes, (text, lengths, format, finish) => {
        const pieces: string[] = [];
        let at = 0;
        for (const length of lengths) {
          pieces.push(text.slice(at, at + length));
          at += length;
        }
        const inPieces = read(format, [...pieces, text.slice(at)], finish);
        expect(inPieces.text).toBe(read(format, [text], finish).text);
        expect(inPieces.shown.join("")).toBe(inPieces.text);
        expect(inPieces.shown).not.toContain("");
      }),
    );
  });

  it.each(["chat", "hh-rlhf"] as const)("takes room for itself alone, not for itself at each of its pieces: %s", (format) => {
    const piece = `${"x".repeat(199)} `;
    const before = process.memoryUsage().heapUsed;
    const { shown, text } = read(
      format,
      Array.from({ length: 10_000 }, () => piece),
      "length",
    );
    expect(shown.length).toBeGreaterThan(9_000);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(100 * 2 ** 20);
    expect(text.length).toBeGreaterThan(1_999_000);
  });
});
