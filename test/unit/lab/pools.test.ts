import { describe, expect, it } from "vitest";
import { answerMeasures } from "../../../lab/answer-measures.ts";
import type { Arm } from "../../../lab/arms.ts";
import type { CacheEntry } from "../../../lab/cache.ts";
import { cosinesOf, nearestDemonstrations } from "../../../lab/cosines.ts";
import { judgeOdds } from "../../../lab/judge-odds.ts";
import type { Candidate, Cost, PoolRow } from "../../../lab/measured-pool.ts";
import { poolArms } from "../../../lab/pool-arms.ts";
import { armsFigure, gainFigure, poolReport } from "../../../lab/pool-report.ts";
import { type AskedPrompt, poolRow, poolSources } from "../../../lab/pool-rows.ts";
import { armOfScore, choosingArms, optionalArms, slopesOf } from "../../../lab/pool-rules.ts";
import { armValue, everyPrompt, type Hypothesis, summarize } from "../../../lab/pool-summary.ts";
import { samplesOf, sumsOf } from "../../../lab/pools.ts";
import { verdictOf } from "../../../lab/verdict.ts";
import type { ScoreEvent } from "../../../src/engine/engine.ts";
import type { Embedder } from "../../../src/retrieval/retriever.ts";
import type { Demonstration } from "../../../src/types/conversation.ts";
import { decode, ScriptedEngine } from "../scripted-engine.ts";
import { armWith, memory, scored } from "./scripted-arm.ts";

const { signal } = new AbortController();

const demonstrations: readonly Demonstration[] = [
  { id: "tea", messages: [{ role: "user", content: "tea?" }], chosen: "let it steep for five minutes", rejected: "no" },
  { id: "rice", messages: [{ role: "user", content: "rice?" }], chosen: "boil it", rejected: "ask others" },
];

/** Embeds a text by its first letter. */
const letters: Embedder = {
  model: "letters",
  embed: async (texts) =>
    texts.map((text) => Float32Array.of(Number(text.startsWith("a")), Number(!text.startsWith("a")))),
  embedKept: (texts) => letters.embed(texts),
};

const said = ["a long answer", "b", "", "bb let it steep for five minutes"];

function engineOf() {
  return new ScriptedEngine({
    sample: (index, _, { temperature }) =>
      temperature === 0
        ? { text: "greedy" }
        : { text: said[index] ?? `more ${index}`, finish: index === 1 ? "length" : "stop" },
    sum: (context, response) => {
      const closed = response.length + 1;
      if (context.includes("politely")) return -2 * closed;
      return context.includes("offensively") ? -5 * closed : -3 * closed;
    },
  });
}

const prompt: AskedPrompt = {
  set: "own",
  id: "soup",
  seed: 7,
  messages: [{ role: "user", content: "soup?" }],
  kind: "verifiable",
  checks: [
    { type: "words", max: 2 },
    { type: "contains", any: ["b"] },
  ],
  reference: "a broth",
};

let clock = 0;
const now = (): number => ++clock;

async function rowOf(engine: ScriptedEngine, added: readonly CacheEntry[] = [], yaml = scored) {
  const policy = await armWith(engine, yaml, demonstrations);
  const plain = { ...(await armWith(engine, "candidates: 1\nscore: { type: none }\n", demonstrations)), name: "other" };
  const { cache, added: noted } = memory(added);
  const sources = await poolSources(policy, [plain], optionalArms);
  const measures = await answerMeasures({
    prompts: [prompt],
    embedder: async () => letters,
    rewards: new Map([["length", { id: "length", reward: async (_, text) => text.length, close: async () => {} }]]),
    judge: engine,
    cache,
  });
  const options = { sources, pool: 4, plain: 2, measures, embedder: letters, cache, now };
  return { row: await poolRow(prompt, options, signal), noted };
}

describe("a pool", () => {
  it("has the seeds that requests have, whatever the context, and those of a smaller one first", async () => {
    const engine = engineOf();
    const sources = await poolSources(await armWith(engine, scored, demonstrations), [], optionalArms);
    const { cache } = memory();
    await samplesOf(sources.pool, cache, prompt, 4, now, signal);
    await samplesOf(sources.plain, cache, prompt, 2, now, signal);
    await samplesOf(sources.instructions as Arm, cache, prompt, 2, now, signal);
    const [pool, plain, instructions] = engine.calls.map((call) => {
      if (call.type !== "sample") throw new Error("an unscored pool was scored");
      return { context: call.context, seeds: call.request.seeds };
    });
    expect(pool?.seeds).toHaveLength(4);
    expect(plain?.seeds).toEqual(pool?.seeds.slice(0, 2));
    expect(instructions?.seeds).toEqual(plain?.seeds);
    expect(pool?.context).toMatch(/politely.*(?:tea|rice)\?.*soup\?/u);
    expect(plain?.context).toBe("<user>soup?</user><assistant>");
    expect(instructions?.context).toMatch(/^<system>[^<]*politely[^<]*<\/system><user>soup\?<\/user>/u);
  });

  it("keeps what was sampled and measured, in the order of its seeds", async () => {
    const engine = engineOf();
    const arm = await armWith(engine, scored, demonstrations);
    const { pool } = await poolSources(arm, [], optionalArms);
    const { cache, added } = memory();
    const samples = await samplesOf(pool, cache, prompt, 4, now, signal);
    expect(samples.answers).toEqual([
      { text: "a long answer", finish: "stop", tokens: 13 },
      { text: "b", finish: "length", tokens: 1 },
      { text: "", finish: "stop", tokens: 0 },
      { text: said[3], finish: "stop", tokens: said[3]?.length },
    ]);
    expect(samples.demonstrations).toHaveLength(1);
    const one = { answers: samples.answers.slice(1, 2), demonstrations: ["rice"] };
    const { sums } = await sumsOf(arm, cache, prompt, one, now, signal);
    expect(sums).toEqual([{ positive: -4, negative: -10, base: -6, tokens: 2 }]);
    const fed = engine.calls.flatMap((call) => (call.type === "score" ? [call.context] : []));
    expect(fed.map((context) => [context.includes("boil it"), context.includes("ask others")])).toEqual(
      expect.arrayContaining([
        [true, false],
        [false, true],
        [false, false],
      ]),
    );
    expect(fed.some((context) => context.includes("steep"))).toBe(false);
    const calls = engine.calls.length;
    const later = memory(JSON.parse(JSON.stringify(added)) as CacheEntry[]).cache;
    expect(await samplesOf(pool, later, prompt, 4, now, signal)).toEqual(samples);
    expect((await sumsOf(arm, later, prompt, one, now, signal)).sums).toEqual(sums);
    expect(engine.calls).toHaveLength(calls);
  });
});

describe("a prompt's row", () => {
  it("has every arm's answers with all that is measured of them", async () => {
    const { row } = await rowOf(engineOf(), [], scored.replace("shots: 1", "shots: 2"));
    expect(row.pool.map(({ rewards }) => rewards["checks passed"])).toEqual([0, 1, 0, 0.5]);
    expect(row.pool.map(({ rewards }) => rewards["cosine to the reference"])).toEqual([1, 0, 0, 0]);
    expect(row.pool.map(({ rewards }) => rewards["reward length"])).toEqual([13, 1, 0, 32]);
    expect(row.pool[0]?.sums).toEqual({ positive: -28, negative: -70, base: -42, tokens: 14 });
    expect(row.cosines[1]).toEqual([0, 1, 1, 1]);
    expect([row.plain.length, row.instructions.length]).toEqual([2, 2]);
    expect([row.greedy?.text, row.plainGreedy?.text]).toEqual(["greedy", "greedy"]);
    expect(row.policies).toMatchObject({ other: { text: "a long answer" } });
    // "let it steep for five" and "it steep for five minutes", of three.
    expect(row.pool.map(({ copied }) => copied)).toEqual([0, 0, 0, 2 / 3]);
    // Its share of the pool's time by tokens, the closing ones among them.
    const [first, second] = row.pool.map(({ cost }) => cost.seconds);
    expect((first ?? 0) / (second ?? 1)).toBeCloseTo(14 / 2, 9);
  });

  it("is the same when it is taken up, and nothing is sampled or measured again", async () => {
    const first = await rowOf(engineOf());
    const engine = engineOf();
    const again = await rowOf(engine, JSON.parse(JSON.stringify(first.noted)) as CacheEntry[]);
    expect(again.row).toEqual(first.row);
    expect(engine.calls).toEqual([]);
  });

  it("does without instructions where the policy has nothing but them", async () => {
    const yaml = "instructions: {}\nscore: { type: contrast, negative: base }\n";
    const { row } = await rowOf(engineOf(), [], yaml);
    expect(row.instructions).toEqual([]);
    expect(row.pool[0]?.sums.positive).toBe(-28);
  });
});

const noCost: Cost = { sampled: 10, scored: 0, seconds: 1 };

/** A candidate of so many tokens (with the closing one) and sums; its reward. */
function candidate(tokens: number, sums: readonly [number, number, number], reward: number, text = "x"): Candidate {
  const [positive, negative, base] = sums;
  return {
    text,
    finish: "stop",
    tokens: tokens - 1,
    rewards: { r: reward },
    copied: 0,
    cost: noCost,
    sums: { positive, negative, base, tokens },
    scoring: { scored: tokens, seconds: 0.5 },
  };
}

function row(id: string, pool: readonly Candidate[], plain: readonly number[], set = "own"): PoolRow {
  return {
    set,
    id,
    demonstrations: [],
    pool,
    cosines: pool.map((_, i) => pool.map((_other, j) => 1 - Math.abs(i - j) / 10)),
    plain: plain.map((reward) => candidate(5, [0, 0, 0], reward)),
    instructions: [],
    greedy: candidate(5, [0, 0, 0], 9),
    plainGreedy: null,
    policies: {},
  };
}

/*
 * Ŝ: 4, 6.5, 7; per token 1, 0.81, 0.7. S: 1, 6, 2; per token 0.25, 0.75, 0.2. log π(y ∣ C⁺): −4, −12, −8; per token
 * −1, −1.5, −0.8.
 */
const first = row(
  "first",
  [candidate(4, [-4, -8, -5], 1), candidate(8, [-12, -18.5, -18], 2), candidate(10, [-8, -15, -10], 6)],
  [1, 3],
);
/** Ŝ: 2, 2 and 0.5 of nine tokens: β of the first row is 0.5. The third is empty. */
const second = row(
  "second",
  [candidate(4, [-4, -6, -4], 5), candidate(4, [-4, -6, -4], 1), candidate(1, [-1, -1.5, -1], 0, "")],
  [2],
);

describe("arms from a pool", () => {
  const options = { sizes: [3, 2], chosen: "Ŝ", families: optionalArms, rewards: ["r"] };
  const arms = poolArms([first, second], options);
  const arm = (name: string) => {
    const found = arms.find((one) => one.name === name);
    if (found === undefined) throw new Error(`no arm ${name}`);
    return found;
  };

  it.each([
    ["plain", 2],
    ["greedy", 9],
    ["random pick of 3", 3],
    ["Ŝ", 6],
    ["Ŝ per token", 1],
    // β = 4.5 / 9 nats per token, of the other row: 4 − 2, 6.5 − 4, 7 − 5.
    ["Ŝ less β·tokens", 2],
    ["S", 2],
    ["S per token", 2],
    ["likelihood", 1],
    ["likelihood per token", 6],
    // The mean cosines to the others are 0.85, 0.9 and 0.85.
    ["consensus", 2],
    ["chosen by r", 6],
    ["longest", 6],
    ["shortest", 1],
    ["best of 3", 6],
    ["random pick of 2", 1.5],
    ["Ŝ, of 2", 2],
    ["best of 2", 2],
  ])("%s has %d", (name, expected) => {
    expect(armValue(arm(name), first, "r")).toBe(expected);
  });

  it("take the lower index of equals, and an empty answer only if all are", () => {
    expect(armValue(arm("Ŝ"), second, "r")).toBe(5);
    expect(armValue(arm("likelihood"), second, "r")).toBe(5);
    expect(armValue(arm("shortest"), second, "r")).toBe(5);
    expect(armValue(arm("consensus"), { ...second, pool: [second.pool[0] as Candidate] }, "r")).toBeNull();
    const empty = { ...second, pool: [second.pool[2] as Candidate, second.pool[2] as Candidate] };
    expect(armValue(arm("longest"), empty, "r")).toBe(0);
  });

  it("have no score where the policy has no such context", () => {
    const unpaired = {
      ...first,
      pool: first.pool.map((one) => ({ ...one, sums: { ...one.sums, negative: null } })),
    };
    expect(armValue(arm("Ŝ"), unpaired, "r")).toBeNull();
    expect(armValue(arm("S"), unpaired, "r")).toBe(2);
    expect(slopesOf([unpaired, unpaired], "Ŝ").get(unpaired)).toBeNull();
  });

  it("take β from the other prompts alone", () => {
    expect(slopesOf([first, second], "Ŝ").get(second)).toBeCloseTo(17.5 / 22, 12);
    expect(slopesOf([first, second], "Ŝ").get(first)).toBeCloseTo(0.5, 12);
    expect(slopesOf([first], "Ŝ").get(first)).toBeNull();
  });

  it("cost what they were chosen from", () => {
    expect(arm("plain").cost(first)).toEqual(noCost);
    expect(arm("random pick of 3").cost(first)).toEqual(noCost);
    expect(arm("longest").cost(first)).toEqual({ sampled: 30, scored: 0, seconds: 3 });
    expect(arm("likelihood").cost(first)).toEqual({ sampled: 30, scored: 0, seconds: 3 });
    expect(arm("Ŝ").cost(first)).toEqual({ sampled: 30, scored: 22, seconds: 4.5 });
    expect(arm("Ŝ, of 2").cost(first)).toEqual({ sampled: 20, scored: 12, seconds: 3 });
    expect(arm("plain").cost({ ...first, plain: [] })).toBeNull();
  });

  it("can be left out, but for those that hypotheses need", () => {
    const names = poolArms([first], { ...options, sizes: [3], families: [], rewards: [] }).map(({ name }) => name);
    expect(names).toEqual(["plain", "random pick of 3", "Ŝ", "longest", "shortest", "best of 3"]);
  });

  it("include the policy's own choice, by name", () => {
    expect(armOfScore({ type: "contrast", negative: "rejected", normalize: "sum" })).toBe("Ŝ");
    expect(armOfScore({ type: "contrast", negative: "base", normalize: "token" })).toBe("S per token");
    expect(armOfScore({ type: "likelihood", normalize: "sum" })).toBe("likelihood");
    expect(armOfScore({ type: "contrast", negative: "near", normalize: "token" })).toBe("Ŝ per token");
    expect(armOfScore({ type: "contrast", negative: "rejected", normalize: "length" })).toBe("Ŝ less β·tokens");
    for (const more of [{ consensus: 1 }, { unfinished: "last" }, { copied: "last" }] as const)
      expect(armOfScore({ type: "contrast", negative: "rejected", normalize: "sum", ...more })).toBeNull();
    expect(armOfScore({ type: "none", pick: "first" })).toBeNull();
    expect(armOfScore({ type: "contrast", negative: "reference", normalize: "sum" })).toBeNull();
    const inPool = arms.map(({ name }) => name);
    expect(choosingArms(["r"]).filter((name) => !inPool.includes(name))).toEqual([]);
  });
});

/** Prompts whose Ŝ chooses what gains `gain` over the pool's others, which are as good as plain answers. */
function rowsOf(count: number, gain: (i: number) => number, set = "own"): PoolRow[] {
  return Array.from({ length: count }, (_, i) =>
    row(
      `${set}-${i}`,
      [candidate(4, [-4, -9, -4], gain(i)), candidate(9, [-9, -10, -9], 0), candidate(5, [-5, -6, -5], i % 2)],
      [0],
      set,
    ),
  );
}

describe("a summary", () => {
  const rows = [...rowsOf(30, (i) => 1 + (i % 3)), ...rowsOf(10, () => 1, "other")];
  const arms = poolArms(rows, { sizes: [3, 2], chosen: "Ŝ", families: optionalArms, rewards: [] });
  const slices = summarize(rows, arms, { chosen: "Ŝ", size: 3, measures: ["r", "absent"] });
  const report = { title: "Answers", chosen: "Ŝ", slices, notes: ["pool: 3"] };

  it("pools the sets, and shows each", () => {
    expect(slices.map(({ name, prompts }) => [name, prompts])).toEqual([
      [everyPrompt, 40],
      ["own", 30],
      ["other", 10],
    ]);
    expect(slices[0]?.measures.map(({ measure }) => measure)).toEqual(["r"]);
  });

  it("compares arms on the same prompts", () => {
    const chosen = slices[2]?.measures[0]?.arms.find(({ arm }) => arm === "Ŝ");
    // Of ten: 1 against a plain 0; against the mean of 1, 0 and 0 or 1.
    expect(chosen?.mean).toEqual({ value: 1, low: 1, high: 1 });
    expect(chosen?.lessPlain).toEqual({ prompts: 10, estimate: { value: 1, low: 1, high: 1 }, p: 2 / 1024 });
    expect(chosen?.lessRandom?.estimate.value).toBeCloseTo(0.5, 12);
    expect(chosen?.gain?.value).toBeCloseTo(1, 12);
    const oracle = slices[0]?.measures[0]?.arms.find(({ arm }) => arm === "best of 3");
    expect(oracle?.gain).toEqual({ value: 1, low: 1, high: 1 });
    // Of two, the other candidate has 0: a random pick has half of what the chosen one has.
    const two = slices[2]?.measures[0]?.arms.find(({ arm }) => arm === "Ŝ, of 2");
    expect(two?.lessRandom?.estimate).toEqual({ value: 0.5, low: 0.5, high: 0.5 });
    expect(two?.gain).toEqual({ value: 1, low: 1, high: 1 });
  });

  it("tests the three hypotheses together", () => {
    const hypotheses = slices[0]?.measures[0]?.hypotheses ?? [];
    expect(hypotheses.map(({ name, than, holds }) => [name, than, holds])).toEqual([
      ["H1", "plain", true],
      ["H2", "random pick of 3", true],
      ["H3", "longest", true],
    ]);
    for (const { p, adjusted, sd, needed, detectable, prompts } of hypotheses) {
      expect(adjusted).toBeCloseTo(3 * p, 12);
      expect(prompts).toBe(40);
      expect(sd).toBeGreaterThan(0);
      expect(needed).toBeLessThan(40);
      expect(detectable).toBeCloseTo((2.8016 * sd) / Math.sqrt(40), 3);
    }
  });

  it("tells lengths, what was cut off and copied, and costs", () => {
    const chosen = slices[0]?.work.find(({ arm }) => arm === "Ŝ");
    expect(chosen).toMatchObject({ tokens: 3, cutOff: 0, copied: 0, sampled: 30, scored: 18, seconds: 4.5 });
  });

  it("becomes a page and two figures", () => {
    const page = poolReport(report);
    expect(page).toContain("# Answers\n");
    expect(page).toContain("H1 holds");
    expect(page).toContain("- all prompts: 40 prompts");
    expect(page).toContain("Fewer than 20 prompts (other)");
    expect(page).toMatch(/\| H1: Ŝ > plain \| [\d.]+ \([\d.]+ … [\d.]+\) \| < 0\.001 \| < 0\.001 \| yes \|/u);
    expect(page).toContain("## other: lengths and costs");
    for (const svg of [armsFigure(report), gainFigure(report, ["plain", "Ŝ"])]) {
      expect(svg).toMatch(/^<svg /u);
      expect(svg).toContain("Ŝ");
      expect(svg).not.toContain("NaN");
    }
    expect(gainFigure(report, ["plain"])).not.toContain("longest");
  });

  it("bears a single prompt, and no answer at all", () => {
    const one = rowsOf(1, () => 1);
    const single = summarize(one, poolArms(one, { sizes: [3], chosen: "Ŝ", families: [], rewards: [] }), {
      chosen: "Ŝ",
      size: 3,
      measures: ["r"],
    });
    const page = poolReport({ ...report, slices: single });
    expect(page).not.toContain("NaN");
    expect(page).toContain("Nothing is decided by 1 prompts: 20 are the least.");
    expect(poolReport({ ...report, slices: [] })).toContain("No answer has a measure.");
  });
});

describe("the verdict", () => {
  const hypothesis = (name: Hypothesis["name"], holds: boolean, value = holds ? 0.1 : 0): Hypothesis => ({
    name,
    arm: "Ŝ",
    than: "plain",
    prompts: 100,
    estimate: { value, low: value - 0.05, high: value + 0.05 },
    p: holds ? 0.001 : 0.5,
    adjusted: holds ? 0.003 : 1,
    holds,
    sd: 0.2,
    detectable: 0.05,
    needed: 100,
  });
  const verdict = (holds: readonly [boolean, boolean, boolean], gain = 0.3, h1?: number): string => {
    const hypotheses = (["H1", "H2", "H3"] as const).map((name, i) =>
      hypothesis(name, holds[i] as boolean, i === 0 ? h1 : undefined),
    );
    const arm = { arm: "Ŝ", mean: null, lessPlain: null, lessRandom: null, gain: { value: gain, low: 0, high: 1 } };
    return verdictOf({ measure: "r", arms: [arm], hypotheses }, "Ŝ").join(" ");
  };

  it.each([
    ["all three", [true, true, true], 0.3, "the default stays scored"],
    ["too little of what could be gained", [true, true, true], 0.1, "by too little for its price"],
    ["not beyond the longest", [true, true, false], 0.3, "Normalisation by length becomes the default"],
    ["demonstrations alone", [true, false, false], 0.3, "The default is the cheaper form that helps"],
    ["nothing", [false, false, false], 0.3, "Nothing is found to beat plain"],
    ["the score, of worse answers", [false, true, true], 0.3, "H1 is not shown"],
  ] as const)("of %s", (_, holds, gain, words) => {
    expect(verdict(holds, gain)).toContain(words);
  });

  it("says what is worse than plain, and what cannot be decided", () => {
    expect(verdict([false, false, false], 0, -0.2)).toContain("It is worse.");
    expect(verdict([false, false, false], 0, 0)).not.toContain("It is worse.");
    expect(verdict([false, false, false], 0, 0)).toContain(
      "H1 is not shown: the chosen answer is not found better than a plain one (of 100 samples of 100 prompts, 80 find a difference of 0.050).",
    );
    expect(verdictOf({ measure: "r", arms: [], hypotheses: [] }, "Ŝ")).toEqual([
      'Nothing is decided: the arm "Ŝ" has no answers to compare.',
    ]);
  });
});

/** Knows the log-probability of a letter, and of nothing that follows. */
class LetterEngine extends ScriptedEngine {
  readonly #logprob: (context: string, letter: string) => number;

  constructor(logprob: (context: string, letter: string) => number) {
    super();
    this.#logprob = logprob;
  }

  override async *score(...[{ tokens }, completions]: Parameters<ScriptedEngine["score"]>): AsyncGenerator<ScoreEvent> {
    let index = 0;
    for await (const completion of completions)
      yield { type: "scored", index: index++, logprobs: [this.#logprob(decode(tokens), decode(completion))] };
  }
}

describe("a judge by log-odds", () => {
  const conversation = [{ role: "user", content: "soup?" }] as const;

  it("is asked in both orders, and what it leans to cancels out", async () => {
    // Two nats for the letter A, and one for the answer that says "hot", whichever it is.
    const engine = new LetterEngine((context, letter) => {
      const isHot = context.includes(`# Answer ${letter}\n\nhot`);
      return (letter === "A" ? 2 : 0) + (isHot ? 1 : 0);
    });
    const judge = await judgeOdds(engine, "cold");
    expect(await judge.reward(conversation, "hot", signal)).toBeCloseTo(1, 9);
    expect(await (await judgeOdds(engine, "hot")).reward(conversation, "cold", signal)).toBeCloseTo(-1, 9);
    expect(await judge.reward(conversation, "tepid", signal)).toBeCloseTo(0, 9);
    expect(judge.id).not.toBe((await judgeOdds(engine, "hot")).id);
  });

  it("needs a chat template and log-probabilities", async () => {
    const capabilities = { chat: true, text: true, score: false, grammar: true, tools: null };
    await expect(judgeOdds(new ScriptedEngine({ capabilities }), "cold")).rejects.toMatchObject({
      code: "invalid_request",
      message: expect.stringContaining("name another engine"),
    });
  });
});

describe("prompts and demonstrations", () => {
  it("are held beside each other by their last questions", async () => {
    const prompts = [
      {
        id: "one",
        messages: [
          { role: "user", content: "b" },
          { role: "assistant", content: "b" },
          { role: "user", content: "ask" },
        ],
      },
      { id: "two", messages: [{ role: "user", content: "soup" }] },
    ] as const;
    const own = [
      { id: "x", messages: [{ role: "user", content: "any" }], chosen: "1" },
      { id: "y", messages: [{ role: "user", content: "some" }], chosen: "2" },
    ] as const;
    expect(await nearestDemonstrations(letters, prompts, own, signal)).toEqual([
      { prompt: "one", demonstration: "x", cosine: 1 },
      { prompt: "two", demonstration: "y", cosine: 1 },
    ]);
    expect(await nearestDemonstrations(letters, prompts, [], signal)).toEqual([]);
    expect(await cosinesOf(letters, ["a", "b"], signal)).toEqual([
      [1, 0],
      [0, 1],
    ]);
  });
});
