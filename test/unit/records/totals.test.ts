/**
 * Sums that the database keeps say what all rows say, whatever is written, said later, corrected, forgotten or expires,
 * in whatever order.
 */
import { createClient } from "@libsql/client";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ExperimentDescription, ExperimentReport } from "../../../src/experiment/report.ts";
import type { AnswerRow } from "../../../src/records/record.ts";
import { migrations, RecordDatabase } from "../../../src/records/statements.ts";
import { RowByRow } from "./row-by-row.ts";

const day = 24 * 60 * 60 * 1000;
const start = 1_000 * day;
const experiment: ExperimentDescription = {
  name: "ab",
  route: "ab",
  unit: "user",
  arms: ["treatment", "other", "control"].map((name) => ({ name, policy: `${name}@1`, weight: 1 })),
  control: "control",
  metrics: ["rating", "judge"],
};
/** An arm has gone from the description since. */
const weights = [
  { treatment: 0.25, other: 0.25, control: 0.25, gone: 0.25 },
  { treatment: 0.375, other: 0.25, control: 0.25, gone: 0.125 },
] as const;
const users = 60;
/** Of stars nothing is declared; of ratings much is out of range. */
const ranges = [{ name: "rating", min: 0, max: 45 }];

type Step =
  | {
      readonly type: "answer";
      readonly answer: number;
      readonly user: number;
      readonly late: number;
      readonly value: number;
      readonly error: string | null;
    }
  | { readonly type: "weights" }
  | { readonly type: "feedback"; readonly answer: number; readonly metric: string; readonly value: number }
  | { readonly type: "counterfactual"; readonly answer: number; readonly value: number }
  | { readonly type: "judge"; readonly answer: number; readonly other: number; readonly value: number }
  | { readonly type: "forget"; readonly user: number }
  | { readonly type: "expire"; readonly answers: number };

const answer = fc.nat({ max: 200 });
const user = fc.nat({ max: users - 1 });
const value = fc.oneof(
  fc.integer({ min: 0, max: 90 }),
  fc.double({ min: -1e4, max: 1e4, noNaN: true }),
  fc.constantFrom(Number.POSITIVE_INFINITY, 1e300, 1e-300),
);
const error = fc.constantFrom(null, null, null, "timeout", "request_cancelled");
const steps = fc.array(
  fc.oneof(
    {
      weight: 40,
      arbitrary: fc.record({ type: fc.constant("answer"), answer, user, late: fc.nat({ max: 20 }), value, error }),
    },
    { weight: 1, arbitrary: fc.constant({ type: "weights" }) },
    {
      weight: 15,
      arbitrary: fc.record({
        type: fc.constant("feedback"),
        answer,
        metric: fc.constantFrom("rating", "stars", "latency_ms"),
        value,
      }),
    },
    { weight: 5, arbitrary: fc.record({ type: fc.constant("counterfactual"), answer, value }) },
    {
      weight: 5,
      arbitrary: fc.record({
        type: fc.constant("judge"),
        answer,
        other: fc.nat({ max: 2 }),
        value: fc.constantFrom(0, 0.5, 1),
      }),
    },
    { weight: 2, arbitrary: fc.record({ type: fc.constant("forget"), user }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant("expire"), answers: fc.nat({ max: 30 }) }) },
  ) as fc.Arbitrary<Step>,
  { minLength: 100, maxLength: 400, size: "max" },
);

const counts = (value: number): boolean => Math.abs(value) <= 1e15;

/** Does every step twice: in the database, and to the rows. */
class World {
  readonly rows = new RowByRow();
  readonly #database: RecordDatabase;
  #time = start;
  #weights = 0;

  constructor(database: RecordDatabase) {
    this.#database = database;
  }

  async take(step: Step): Promise<void> {
    this.#time += 1_000;
    const at = this.#time;
    switch (step.type) {
      case "answer": {
        const row = this.#row(step);
        this.rows.answer(row);
        return this.#database.write([row], []);
      }
      case "weights":
        this.#weights = 1 - this.#weights;
        return;
      case "feedback": {
        if (!Number.isFinite(step.value)) return;
        const row = { answer: `a${step.answer}`, metric: step.metric, value: step.value, comment: null, at };
        await this.#database.feedback(row, null, 7_000);
        return this.rows.feedback(row);
      }
      case "counterfactual": {
        if (!Number.isFinite(step.value)) return;
        const row = { answer: `a${step.answer}`, at, score: 1, chosenScore: 1 + step.value, text: null };
        this.rows.counterfactual(row);
        return this.#database.write([], [row]);
      }
      case "judge": {
        const row = {
          answer: `a${step.answer}`,
          judge: "gpt",
          experiment: "ab",
          arm: "",
          other: `o${step.other}`,
          value: step.value,
          at,
        };
        this.rows.judgement(row);
        return this.#database.judgement(row);
      }
      case "forget":
        this.rows.forget(`u${step.user}`, at);
        await this.#database.forget(`u${step.user}`, at);
        return;
      case "expire":
        this.rows.expire(start + step.answers * 1_000 - day);
        while (await this.#database.expireRecords(start + step.answers * 1_000, 1));
    }
  }

  #row({
    answer: number,
    user: of,
    late,
    value: measured,
    error: failure,
  }: Extract<Step, { type: "answer" }>): AnswerRow {
    const arm = (["control", "treatment", "other", "gone"] as const)[of % 4] as string;
    // Some users' requests are all one unit's: of a unit, some may be forgotten.
    const unit = of < 20 ? `key${of % 4}` : `u${of}`;
    const cost = {
      latencyMs: Math.abs(counts(measured) ? measured : 7),
      promptTokens: 5,
      completionTokens: of,
      workTokens: 30,
      candidates: 1,
    };
    // Begun under the weights before.
    const shares = weights[late > 15 ? 1 - this.#weights : this.#weights] as Record<string, number>;
    const place = {
      route: "ab",
      policy: `${arm}@${number % 3}`,
      experiment: of === 59 ? null : "ab",
      arm: of === 59 ? null : arm,
      unit,
    };
    const rest = {
      user: `u${of}`,
      key: null,
      margin: null,
      finish: "stop",
      fallback: null,
      error: failure,
      texts: null,
    };
    const score = number % 5 === 0 ? null : measured;
    return {
      id: `a${number}`,
      at: this.#time - late * 700,
      ...place,
      shares,
      ...cost,
      ...rest,
      score,
    };
  }
}

async function opened(): Promise<{ database: RecordDatabase }> {
  const database = new RecordDatabase(createClient({ url: ":memory:" }));
  await database.migrate();
  return { database };
}

/** Numbers alike to nine digits, of what is beyond rounding. */
function expectAlike(report: ExperimentReport, rows: RowByRow, description = experiment): void {
  const plain = {
    ...report,
    arms: report.arms.map((arm) => ({ ...arm, policies: arm.policies.toSorted() })),
    metrics: report.metrics.map(({ differences, ...metric }) => ({
      ...metric,
      differences: differences.map(({ verdict, over_time: _, ...difference }) => difference),
    })),
  };
  const { name, route, unit, control, verdict, sample_ratio: ratio, ...rest } = plain;
  const { alarm, ...plainRatio } = ratio;
  alike({ ...rest, sample_ratio: plainRatio }, rows.report(description), "report");
}

function alike(found: unknown, wanted: unknown, path: string): void {
  if (typeof found === "number" && typeof wanted === "number") {
    const near = Math.abs(found - wanted) <= 1e-9 * Math.max(1e-3, Math.abs(found), Math.abs(wanted));
    if (!near) expect.fail(`${path}: ${found} instead of ${wanted}`);
  } else if (typeof found === "object" && found !== null && typeof wanted === "object" && wanted !== null) {
    expect(Object.keys(found).toSorted(), path).toEqual(Object.keys(wanted).toSorted());
    for (const [key, inner] of Object.entries(found))
      alike(inner, (wanted as Record<string, unknown>)[key], `${path}.${key}`);
  } else expect(found, path).toEqual(wanted);
}

describe("sums", () => {
  it("say what all rows say", { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (taken) => {
        const { database } = await opened();
        const world = new World(database);
        for (const [i, step] of taken.entries()) {
          await world.take(step);
          if (i % 50 !== 0 && i !== taken.length - 1) continue;
          for (const description of [experiment, { ...experiment, ranges }])
            expectAlike(await database.report(description), world.rows, description);
        }
        database.close();
      }),
      { numRuns: 12 },
    );
  });

  it("keep no trace of a number beside which the others are nothing, once it is taken back", async () => {
    const { database } = await opened();
    const world = new World(database);
    for (let i = 0; i < 500; i++)
      await world.take({ type: "answer", answer: i, user: 60 + (i % 250), late: 0, value: i % 13, error: null });
    const rate = (answer: number, value: number) => world.take({ type: "feedback", answer, metric: "rating", value });
    for (let i = 0; i < 450; i++) await rate(i, (i % 7) + 0.1);
    await rate(200, 1e15);
    await rate(201, -1e15);
    for (let i = 450; i < 480; i++) await rate(i, (i % 7) + 0.1);
    await rate(200, 1);
    await rate(202, 1e300);
    await world.take({ type: "forget", user: 60 + 201 });
    expectAlike(await database.report(experiment), world.rows);
    database.close();
  });

  it("show how a difference came about as units came, each with what is known of it now", async () => {
    const { database } = await opened();
    const world = new World(database);
    const came: number[] = [];
    const values = new Map<number, number[]>();
    for (let i = 0; i < 900; i++) {
      const of = 20 + ((i * i + 7 * i) % 39);
      const who = i < 300 ? of : of * 100 + i;
      const value = (who % 97) + (i % 3);
      if (!values.has(who)) came.push(who);
      values.set(who, [...(values.get(who) ?? []), value]);
      await world.take({ type: "answer", answer: 1_000 + i, user: who, late: 0, value, error: null });
    }
    const armOf = (who: number) => ["control", "treatment", "other", "gone"][who % 4];
    const mean = (numbers: readonly number[]): number => numbers.reduce((sum, one) => sum + one, 0) / numbers.length;
    const { metrics } = await database.report(experiment);
    for (const difference of metrics.find(({ name }) => name === "latency_ms")?.differences ?? []) {
      expect(difference.over_time.length).toBeGreaterThan(30);
      expect(difference.over_time.length).toBeLessThanOrEqual(61);
      expect(difference.over_time.at(-1)).toMatchObject({
        difference: difference.difference,
        low: difference.low,
        high: difference.high,
      });
      for (const point of difference.over_time) {
        const first = came
          .filter((who) => [difference.arm, "control"].includes(armOf(who) as string))
          .slice(0, point.units);
        const ofArm = (arm: string) =>
          mean(first.filter((who) => armOf(who) === arm).map((who) => mean(values.get(who) ?? [])));
        expect(point.difference).toBeCloseTo(ofArm(difference.arm) - ofArm("control"), 9);
      }
    }
    database.close();
  });

  it("are made of what was recorded before there were any, while more is recorded", async () => {
    const client = createClient({ url: ":memory:" });
    for (const sql of [
      "CREATE TABLE migrations (number INTEGER PRIMARY KEY)",
      ...(migrations[0] ?? []),
      "INSERT INTO migrations VALUES (0)",
    ])
      await client.execute(sql);
    const database = new RecordDatabase(client);
    const world = new World(database);
    const take = (from: number, to: number) =>
      Promise.all(
        Array.from({ length: to - from }, async (_, i) => {
          const step = {
            type: "answer",
            answer: from + i,
            user: (i * 11) % users,
            late: i % 3,
            value: i % 17,
            error: null,
          } as const;
          await world.take(step);
          await world.take({ type: "feedback", answer: from + i, metric: "rating", value: i % 2 });
        }),
      );
    // Weights there and back again: the first answers do not count.
    await take(0, 300);
    await world.take({ type: "weights" });
    await take(300, 600);
    await world.take({ type: "weights" });
    await take(600, 1_200);
    await database.migrate();
    await take(1_200, 1_250);
    expect(await database.count()).toBe(true);
    await take(1_250, 1_300);
    await world.take({ type: "forget", user: 33 });
    const report = await database.report(experiment);
    expect(report.earlier_answers).toBeGreaterThan(500);
    expectAlike(report, world.rows);
    expect(await database.count()).toBe(false);
    expect(
      (await client.execute("SELECT count(*) AS n FROM answers WHERE experiment = 'ab' AND member IS NULL")).rows[0]?.[
        "n"
      ],
    ).toBe(0);
    database.close();
  });

  it("keep nothing of who is forgotten", async () => {
    const client = createClient({ url: ":memory:" });
    const database = new RecordDatabase(client);
    await database.migrate();
    const world = new World(database);
    for (let i = 0; i < 100; i++) {
      await world.take({ type: "answer", answer: i, user: i % 10, late: 0, value: i / 7, error: null });
      await world.take({ type: "feedback", answer: i, metric: "rating", value: i / 3 });
      await world.take({ type: "judge", answer: i, other: 1, value: 1 });
      await world.take({ type: "counterfactual", answer: i, value: i / 9 });
    }
    for (let user = 0; user < 10; user++) await world.take({ type: "forget", user });
    for (const table of [
      "answers",
      "feedback",
      "judgements",
      "counterfactuals",
      "units",
      "sums",
      "moments",
      "extents",
      "arm_policies",
    ])
      expect([table, (await client.execute(`SELECT * FROM ${table}`)).rows]).toEqual([table, []]);
    database.close();
  });
});
