/** Pruning told from whole pools: as the gateway itself would have done it. */
import { describe, expect, it } from "vitest";
import { checkRaces, racesOf } from "../../../lab/commands/prune-command.ts";
import { pruneReport, pruneSummary } from "../../../lab/prune-report.ts";
import { fullRanking, ownScore, type PooledAnswer, simulateRace } from "../../../lab/simulated-race.ts";
import { tokenValuesOf } from "../../../lab/token-values.ts";
import { randomFrom } from "../../../src/icdpo/seed.ts";
import { type Letter, writing } from "../icdpo/lettered-answers.ts";
import { icdpo, policy, request, sHat } from "../icdpo/scripted-policy.ts";
import { ScriptedEngine } from "../scripted-engine.ts";
import { armWith, memory, scored } from "./scripted-arm.ts";

const most = 20;

/** What the letters write to their ends, and what each of their tokens adds. */
function poolOf(letters: Readonly<Record<string, Letter>>): PooledAnswer[] {
  return Object.entries(letters).map(([name, { gain, length = 10 }]) => {
    const text = name.repeat(Math.min(length, most));
    const values = (value: number) => Array.from({ length: text.length + 1 }, () => value);
    const finish = length < most ? "stop" : "length";
    return { text, finish, positive: values(-1), negative: values(-1 - gain) };
  });
}

/** Letters of any gain, some of which end soon, some not at all. */
function lettersOf(seed: number, count: number): Record<string, Letter> {
  const random = randomFrom(seed);
  const letters = Array.from({ length: count }, (_, i) => {
    const gain = Math.round(random() * 100) / 100;
    return [String.fromCharCode(97 + i), { gain, length: Math.floor(random() * 26) }] as const;
  });
  return Object.fromEntries(letters);
}

describe("a simulated race", () => {
  const settings = [
    { every: 4, keep: 0.5 },
    { every: 2, keep: 0.75 },
    { every: 7, keep: 0.25 },
  ];
  const cases = settings.flatMap((prune) =>
    ["sum", "token", "length"].flatMap((normalize) => [1, 2, 3, 4].map((seed) => [prune, normalize, seed] as const)),
  );

  it.each(cases)("is the race that is run, by %o and normalize: %s, seed %i", async (prune, normalize, seed) => {
    const letters = lettersOf(seed, 5);
    const pruning = policy({ score: { ...sHat, normalize }, candidates: 5, prune, maxTokens: most });
    const { ranked, tokens } = await icdpo(new ScriptedEngine(writing(letters)), pruning, request());
    const pool = poolOf(letters);
    const race = simulateRace(pool, pruning, prune);
    expect(pool[race.chosen]?.text).toBe(ranked[0]?.text);
    expect({ sampled: race.sampled, scored: race.scored }).toEqual({ sampled: tokens.sampled, scored: tokens.scored });
  });

  it("knows the choice without pruning", async () => {
    const letters = lettersOf(9, 6);
    const whole = policy({ score: sHat, candidates: 6, maxTokens: most });
    const { ranked } = await icdpo(new ScriptedEngine(writing(letters)), whole, request());
    const pool = poolOf(letters);
    expect(fullRanking(pool, whole)).toEqual(ranked.map(({ index }) => index));
    for (const { index, score } of ranked) {
      const own = ownScore(pool[index] as PooledAnswer, whole);
      if (score === null) expect(own).toBeNull();
      else expect(own).toBeCloseTo(score);
    }
  });
});

describe("what tokens add", () => {
  const prompt = { messages: [{ role: "user", content: "soup?" }] as const, seed: 7 };
  const samples = { answers: [{ text: "broth", finish: "stop" as const, tokens: 5 }], demonstrations: ["tea"] };

  it("is that of the policy's two contexts, by token, and is kept", async () => {
    const engine = new ScriptedEngine({
      sum: (context, response) => (context.includes("steep it") ? -1 : -3) * (response.length + 1),
    });
    const { cache, added } = memory();
    const arm = await armWith(engine);
    const values = await tokenValuesOf(arm, cache, prompt, samples, new AbortController().signal);
    expect(values).toEqual([{ positive: Array(6).fill(-1), negative: Array(6).fill(-3) }]);
    expect(engine.calls.map(({ type }) => type)).toEqual(["score", "score"]);
    const again = await tokenValuesOf(arm, memory(added).cache, prompt, samples, new AbortController().signal);
    expect(again).toEqual(values);
    expect(engine.calls).toHaveLength(2);
  });

  it("must be finite", async () => {
    const engine = new ScriptedEngine({ sum: () => Number.NEGATIVE_INFINITY });
    const values = tokenValuesOf(await armWith(engine), memory().cache, prompt, samples, new AbortController().signal);
    await expect(values).rejects.toMatchObject({ code: "engine_failure" });
  });
});

describe("the report on pruning", () => {
  it("says how often the choice is the same, and what was saved", async () => {
    const arm = { name: "p", policy: policy({ score: sHat, candidates: 3 }) };
    // b is the best at its end; a leads until it has ended.
    const letters = { a: { gain: 0.5, length: 4 }, b: { gain: 0.4, length: 10 }, c: { gain: 0.1, length: 10 } };
    const settings = [
      { every: 4, keep: 0.3 },
      { every: 4, keep: 0.5 },
    ];
    const row = { set: "own", id: "soup", ...racesOf(poolOf(letters), arm, settings, 1) };
    expect(row).toMatchObject({
      all: { chosen: 1, place: 1, sampled: 24, scored: 27 },
      fewer: { chosen: 0, place: 2, sampled: 4, scored: 5 },
      pruned: [
        { chosen: 0, place: 2, sampled: 12, scored: 13 },
        { chosen: 1, place: 1 },
      ],
    });
    const terms = { title: "Pruning p", pool: 3, fewer: 1, settings, notes: ["a note"] };
    const [all, fewer, hard, soft] = pruneSummary([row], terms);
    expect([all?.same?.value, fewer?.same?.value, hard?.same?.value, soft?.same?.value]).toEqual([1, 0, 0, 1]);
    expect([hard?.amongTwo?.value, hard?.sampled?.value]).toEqual([1, 0.5]);
    const page = pruneReport([row], terms);
    expect(page).toContain("| every 4, keep 0.3 | 0.0");
    expect(page).toContain("- 1 prompts\n- a note");
  });

  it("counts answers that are the same as one", () => {
    const arm = { name: "p", policy: policy({ score: sHat, candidates: 2 }) };
    const [one] = poolOf({ a: { gain: 0.1 } }) as [PooledAnswer];
    const pool = [one, { ...one }];
    expect(racesOf([...pool].toReversed(), arm, [{ every: 4, keep: 0.5 }], 1).pruned[0]?.place).toBe(1);
  });

  it.each([
    ["a reward", "score: { type: none }\n", {}, "cannot be told from pools: its score"],
    ["what goes last", scored.replace("rejected }", "rejected, copied: last }"), {}, "cannot be told from pools"],
    ["another model that scores", `${scored}scorer: { adapter: other }\n`, {}, "another model scores"],
    ["a pool of one", scored, { pool: 1, fewer: 1 }, "none can be dropped"],
    ["more than the pool", scored, { fewer: 9 }, "a pool of 8 has no 9 candidates"],
  ])("refuses %s", async (_, yaml, sizes, message) => {
    const arm = yaml.includes("scorer")
      ? withScorer(await armWith(new ScriptedEngine()))
      : await armWith(new ScriptedEngine(), yaml);
    expect(() => checkRaces(arm, { pool: 8, fewer: 3, ...sizes })).toThrow(message);
  });
});

function withScorer({ name, policy: own }: Awaited<ReturnType<typeof armWith>>) {
  return { name, policy: { ...own, settings: { ...own.settings, scorer: { adapter: "other" } } } };
}
