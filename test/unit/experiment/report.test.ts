/**
 * Whether what experiments say may be believed, by simulation: 2,000 experiments, looked at after each of 1,000
 * observations.
 */
import { createClient } from "@libsql/client";
import { describe, expect, it } from "vitest";
import { type ExperimentDescription, type ExperimentReport, reportExperiment } from "../../../src/experiment/report.ts";
import {
  criticalValue,
  differenceSequence,
  meanSequence,
  sampleRatioEvidence,
} from "../../../src/experiment/sequence.ts";
import type { AnswerRow } from "../../../src/records/record.ts";
import { RecordDatabase } from "../../../src/records/statements.ts";
import { UnitSample } from "../records/row-by-row.ts";

const experiments = 2_000;
const looks = 1_000;

/** Uniform in [0, 1), the same in each run. */
function uniformFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const random = uniformFrom(11);
const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

interface World {
  /** The treatment's share. */
  readonly share?: number;
  /** Users that share the observations; absent: each observation is another user's. */
  readonly users?: number;
  /** What is observed of a user with a character of their own, N(0, 1), at a time in [0, 1). */
  readonly value: (arm: number, character: number, time: number) => number;
  /** The share of users that take part at a time. */
  readonly ramp?: (time: number) => number;
  readonly effect?: number;
}

/**
 * How many experiments found a difference at some look, had an interval without the true one at some look, and found
 * one at the end.
 */
function simulate({ share = 0.5, users, value, ramp = () => 1, effect = 0 }: World) {
  let [called, missed, atTheEnd] = [0, 0, 0];
  for (let experiment = 0; experiment < experiments; experiment++) {
    const arms = [new UnitSample(), new UnitSample()] as const;
    const people = new Map<string, { arm: number; character: number; place: number }>();
    let [isCalled, isMissed, isFound] = [false, false, false];
    for (let look = 0; look < looks; look++) {
      const time = look / looks;
      const name = String(users === undefined ? look : Math.floor(random() * users));
      const person = people.get(name) ?? { arm: Number(random() < share), character: normal(), place: random() };
      people.set(name, person);
      if (person.place >= ramp(time)) continue;
      arms[person.arm as 0 | 1].add(name, value(person.arm, person.character, time));
      const estimate = differenceSequence(arms[1], arms[0], 0.05);
      if (estimate === null) continue;
      isFound = estimate.low > 0 || estimate.high < 0;
      isCalled ||= isFound;
      isMissed ||= estimate.low > effect || estimate.high < effect;
    }
    called += Number(isCalled);
    missed += Number(isMissed);
    atTheEnd += Number(isFound);
  }
  return { called: called / experiments, missed: missed / experiments, atTheEnd: atTheEnd / experiments };
}

/** An arm, by shares. */
function drawn(shares: Readonly<Record<string, number>>): string {
  let at = random();
  for (const [arm, share] of Object.entries(shares)) {
    if (at < share) return arm;
    at -= share;
  }
  return Object.keys(shares)[0] as string;
}

const thumbs = (chance: number) => (): number => Number(random() < chance);

describe("with no difference, at most 6 % of experiments that are looked at all the time ever find one", () => {
  const timeout = 300_000;

  it.each<[string, World]>([
    ["numbers", { value: normal }],
    ["thumbs", { value: thumbs(0.7) }],
    ["rare thumbs", { value: thumbs(0.05) }],
    ["latencies, which are skewed", { value: () => Math.exp(normal()) }],
    ["one unit in ten in the treatment", { value: thumbs(0.3), share: 0.1 }],
    ["100 users who send many requests", { value: (_, character) => character + normal(), users: 100 }],
    ["300 users who differ in their thumbs", { value: (_, character) => Number(character + normal() > 0), users: 300 }],
    [
      "a ramp from a fifth to all halfway, while times change",
      { value: (_, __, time) => normal() + 2 * time, ramp: (t) => (t < 0.5 ? 0.2 : 1) },
    ],
    [
      "a ramp halfway with users who come again",
      { value: (_, character, time) => character + normal() + time, users: 300, ramp: (t) => (t < 0.5 ? 0.2 : 1) },
    ],
  ])(
    "%s",
    (_, world) => {
      expect(simulate(world).called).toBeLessThanOrEqual(0.06);
    },
    timeout,
  );

  it("of the sample-ratio alarm too", () => {
    for (const shares of [
      { a: 0.5, b: 0.5 },
      { a: 0.9, b: 0.1 },
      { a: 0.2, b: 0.3, c: 0.5 },
    ]) {
      let alarms = 0;
      for (let experiment = 0; experiment < experiments; experiment++) {
        const counts = Object.fromEntries(Object.keys(shares).map((arm) => [arm, 0]));
        let isRaised = false;
        for (let look = 0; look < looks; look++) {
          const arm = drawn(shares);
          counts[arm] = (counts[arm] ?? 0) + 1;
          isRaised ||= sampleRatioEvidence(shares, counts) >= 20;
        }
        alarms += Number(isRaised);
      }
      // Held against 20 here, which is 5 %; the reports raise it at 100.
      expect(alarms / experiments).toBeLessThanOrEqual(0.06);
    }
  });
});

describe("with a real difference, the interval holds it at all looks at once in at least 94 %", () => {
  it.each<[string, World, number]>([
    ["numbers", { value: (arm) => normal() + 0.3 * arm, effect: 0.3 }, 0.8],
    ["thumbs", { value: (arm) => Number(random() < 0.6 + 0.15 * arm), effect: 0.15 }, 0.8],
    ["one unit in ten", { value: (arm) => Number(random() < 0.6 + 0.1 * arm), effect: 0.1, share: 0.1 }, 0],
    [
      "users who send many requests",
      { value: (arm, character) => character / 2 + normal() + 0.5 * arm, users: 300, effect: 0.5 },
      0.8,
    ],
  ])("%s", { timeout: 300_000 }, (_, world, power) => {
    const { missed, called } = simulate(world);
    expect(1 - missed).toBeGreaterThanOrEqual(0.94);
    expect(called).toBeGreaterThanOrEqual(power);
  });

  it("and units that fall to the arms unevenly raise the alarm", () => {
    expect(sampleRatioEvidence({ a: 0.5, b: 0.5 }, { a: 600, b: 400 })).toBeGreaterThan(100);
    expect(sampleRatioEvidence({ a: 0.5, b: 0.5 }, { a: 1_000_600, b: 1_000_400 })).toBeLessThan(1);
    expect(sampleRatioEvidence({ a: 0.5, b: 0.5 }, { a: 600, b: 400, "nobody's": 1 })).toBe(Number.MAX_VALUE);
  });
});

describe("an interval", () => {
  it("is the closed form of the mixture: at its edge the evidence is 1/α", () => {
    const [effective, degrees, alpha, precision] = [80, 150, 0.05, 12];
    const t = criticalValue(effective, degrees, alpha);
    const r = precision / (precision + effective);
    const evidence = Math.sqrt(r) * ((1 + t ** 2 / degrees) / (1 + (r * t ** 2) / degrees)) ** ((degrees + 1) / 2);
    expect(evidence).toBeCloseTo(1 / alpha, 6);
  });

  it("is unbounded while there are too few units, and while they are all alike", () => {
    const sample = new UnitSample();
    for (let i = 0; i < 19; i++) sample.add(`${i}`, 1);
    expect(meanSequence(sample, 0.05)).toEqual({
      value: 1,
      low: Number.NEGATIVE_INFINITY,
      high: Number.POSITIVE_INFINITY,
    });
    expect(meanSequence(new UnitSample(), 0.05)).toBeNull();
    // More units, all alike: of their spread nothing is known.
    for (let i = 19; i < 100; i++) sample.add(`${i}`, 1);
    expect(meanSequence(sample, 0.05)?.high).toBe(Number.POSITIVE_INFINITY);
    expect(differenceSequence(sample, sample, 0.05)?.low).toBe(Number.NEGATIVE_INFINITY);
  });
});

describe("a report", () => {
  const experiment: ExperimentDescription = {
    name: "ab",
    route: "ab",
    unit: "user",
    arms: [
      { name: "treatment", policy: "everyday@1", weight: 1 },
      { name: "control", policy: "plain@1", weight: 1 },
    ],
    control: "control",
    metrics: ["rating"],
  };
  const even = { treatment: 0.5, control: 0.5 };
  interface Arrival {
    readonly at: number;
    readonly unit: string;
    readonly arm: string;
    readonly shares: Record<string, number>;
  }
  const arrival = (at: number, arm: string, unit = `u${at}`, shares: Record<string, number> = even): Arrival => ({
    at,
    unit,
    arm,
    shares,
  });

  /** Of answers in that order, each with a rating. */
  async function reportOf(
    description: ExperimentDescription,
    arrivals: readonly Arrival[],
    ratings: readonly number[],
  ): Promise<ExperimentReport> {
    const client = createClient({ url: ":memory:" });
    const database = new RecordDatabase(client);
    await database.migrate();
    const costs = {
      latencyMs: 1,
      promptTokens: 1,
      completionTokens: 1,
      workTokens: 1,
      candidates: 1,
      score: null,
      margin: null,
    };
    const rest = {
      ...costs,
      route: "ab",
      experiment: "ab",
      user: null,
      key: null,
      finish: "stop",
      fallback: null,
      error: null,
      texts: null,
    };
    const rows = arrivals.map(
      (one, i): AnswerRow => ({
        ...rest,
        ...one,
        id: `a${i}`,
        policy: one.arm === "control" ? "plain@1" : "everyday@1",
      }),
    );
    await database.write(rows, []);
    const said = JSON.stringify(ratings.map((value, i) => [`a${i}`, value]));
    await client.execute({
      sql: "INSERT INTO feedback SELECT value ->> 0, 'rating', value ->> 1, NULL, 0 FROM json_each(?)",
      args: [said],
    });
    const report = await database.report(description);
    database.close();
    return report;
  }

  it("says who is better, by how much, in a sentence", async () => {
    const arrivals = Array.from({ length: 400 }, (_, i) => arrival(i, i % 2 === 0 ? "treatment" : "control"));
    const ratings = arrivals.map((_, i) => Number(i % 2 === 0 ? i % 10 !== 0 : i % 10 < 4));
    const report = await reportOf(experiment, arrivals, ratings);
    expect(report.metrics[0]).toMatchObject({ name: "rating", in_verdict: true, alpha: 0.05 });
    expect(report.metrics[0]?.means).toMatchObject([
      { arm: "treatment", units: 200, mean: 0.8 },
      { arm: "control", units: 200, mean: 0.4 },
    ]);
    const [difference] = report.metrics[0]?.differences ?? [];
    expect(difference).toMatchObject({ arm: "treatment", verdict: "higher" });
    expect(difference?.over_time.length).toBeGreaterThan(40);
    expect(report.verdict).toMatch(
      /^treatment is better than control on rating, by \+0\.400 \(between \+0\.2\d+ and \+0\.5\d+\)\. The interval holds/u,
    );
    expect(report.sample_ratio.alarm).toBe(false);
  });

  it("counts a user who sends many requests once", async () => {
    const arrivals = Array.from({ length: 1_000 }, (_, i) =>
      arrival(i, i % 2 === 0 ? "treatment" : "control", `u${i % 4}`),
    );
    const report = await reportOf(
      experiment,
      arrivals,
      arrivals.map((_, i) => i % 2),
    );
    expect(report.arms.map(({ units, answers }) => [units, answers])).toEqual([
      [2, 500],
      [2, 500],
    ]);
    expect(report.metrics[0]?.differences[0]).toMatchObject({ low: null, high: null, verdict: "undecided" });
    expect(report.verdict).toContain("An interval needs at least 20 units in each arm.");
  });

  it("says loudly that nobody is compared where many answers are one unit's", async () => {
    const arrivals = Array.from({ length: 60 }, (_, i) => arrival(i, "control", "only"));
    const report = await reportOf(experiment, arrivals, []);
    expect(report.single_unit).toBe(true);
    expect(report.verdict).toMatch(/^Nothing can be compared: all 60 answers are of one unit.*ICDPO_USER_HEADERS/u);
    expect((await reportOf(experiment, arrivals.slice(0, 40), [])).single_unit).toBe(false);
    expect((await reportOf({ ...experiment, unit: "key" }, arrivals, [])).single_unit).toBe(false);
    const two = [...arrivals, arrival(60, "treatment", "other")];
    expect((await reportOf(experiment, two, [])).single_unit).toBe(false);
  });

  it("says that several comparisons are several, and widens their intervals", async () => {
    const arms = [...experiment.arms, { name: "third", policy: "third@1", weight: 1 }];
    const arrivals = Array.from({ length: 300 }, (_, i) =>
      arrival(i, ["treatment", "control", "third"][i % 3] as string, `u${i}`, {
        treatment: 1 / 3,
        control: 1 / 3,
        third: 1 / 3,
      }),
    );
    const report = await reportOf(
      { ...experiment, arms, metrics: ["rating", "judge"] },
      arrivals,
      arrivals.map((_, i) => i % 2),
    );
    expect(report.metrics[0]?.alpha).toBeCloseTo(0.05 / 4, 10);
    expect(report.verdict).toContain("4 comparisons are made");
  });

  it("begins anew when weights change, and keeps those who came before in the count of what is left out", async () => {
    const before = Array.from({ length: 100 }, (_, i) =>
      arrival(i, i % 10 === 0 ? "treatment" : "control", `u${i}`, { treatment: 0.1, control: 0.9 }),
    );
    const after = Array.from({ length: 60 }, (_, i) =>
      arrival(100 + i, i % 2 === 0 ? "treatment" : "control", `u${i}`),
    );
    const all = [...before, ...after];
    const report = await reportOf(
      experiment,
      all,
      all.map(({ at }) => (at < 100 ? 0 : 1)),
    );
    expect(report).toMatchObject({ since: 100, earlier_answers: 100 });
    expect(report.metrics[0]?.means.map(({ units, mean }) => [units, mean])).toEqual([
      [30, 1],
      [30, 1],
    ]);
  });

  it("raises the alarm before any verdict where units fall to the arms unevenly", async () => {
    const arrivals = Array.from({ length: 400 }, (_, i) => arrival(i, i % 4 === 0 ? "treatment" : "control"));
    const report = await reportOf(experiment, arrivals, []);
    expect(report.sample_ratio).toMatchObject({
      alarm: true,
      observed: { treatment: 100, control: 300 },
      expected: { treatment: 200, control: 200 },
    });
    expect(report.verdict).toContain("Do not trust");
  });

  it("has nothing to say of nothing", () => {
    expect(reportExperiment(experiment, null).verdict).toBe(
      "Nothing can be said yet: there is no rating from two arms so far.",
    );
  });
});
