/**
 * Feedback says what an answer's experiment has declared, within its range; the rest is refused by name, and counts
 * nowhere.
 */
import { createClient } from "@libsql/client";
import { describe, expect, it } from "vitest";
import { Shared } from "../../../../src/async/shared.ts";
import type { ExperimentDescription } from "../../../../src/experiment/report.ts";
import { parseRoutes } from "../../../../src/policy/routes.ts";
import { noStore } from "../../../../src/records/no-records.ts";
import type { AnswerRow, RecordStore } from "../../../../src/records/record.ts";
import { RecordDatabase } from "../../../../src/records/statements.ts";
import { gateway, json } from "../../scripted-gateway.ts";

const now = 1_700_000_000_000;

function row(id: string, experiment: string | null, more: Partial<AnswerRow> = {}): AnswerRow {
  const place = {
    route: "ab",
    policy: "p@1",
    experiment,
    arm: experiment && "treatment",
    unit: experiment && id,
    shares: { treatment: 0.5, control: 0.5 },
  };
  const cost = {
    latencyMs: 1,
    promptTokens: 1,
    completionTokens: 1,
    workTokens: 1,
    candidates: 1,
    score: null,
    margin: null,
  };
  return {
    id,
    at: now,
    ...place,
    user: null,
    key: null,
    ...cost,
    finish: "stop",
    fallback: null,
    error: null,
    texts: null,
    ...more,
  };
}

const metrics = "[rating, latency_ms, { name: stars, min: 1, max: 5, verdict: false }, solved]";
const routes = (declared = ""): string =>
  `routes: { ab: { experiment: { ${declared} arms: { treatment: { policy: scored }, control: { policy: plain } } } }, plain: { policy: plain } }\n`;

async function withAnswers(declared = `metrics: ${metrics},`) {
  const client = createClient({ url: ":memory:" });
  const database = new RecordDatabase(client);
  await database.migrate();
  await database.write([row("mine", "ab"), row("outside", null), row("ended", "gone")], []);
  const asked: AbortSignal[] = [];
  const records: RecordStore = {
    ...noStore,
    state: () => ({ status: "ok", error: null, written: 3, waiting: 0, lost: 0 }),
    feedback: (said, key, metricsOf) => database.feedback(said, key, 7, metricsOf),
    report: (experiment, signal) => {
      if (signal !== undefined) asked.push(signal);
      return database.report(experiment, signal);
    },
  };
  const { post, app } = await gateway({}, { records }, {}, routes(declared));
  const say = async (body: object) => {
    const response = await post("/v1/feedback", { id: "mine", ...body });
    return { status: response.status, body: await json(response) };
  };
  return { app, client, database, say, asked };
}

describe("POST /v1/feedback", () => {
  it.each([
    [{ rating: "up" }, "rating", 1],
    [{ rating: "down" }, "rating", 0],
    [{ value: 0.25 }, "rating", 0.25],
    [{ metric: "stars", value: 5 }, "stars", 5],
    [{ metric: "stars", value: 1 }, "stars", 1],
    [{ metric: "solved", rating: "up" }, "solved", 1],
  ])("takes %j", async (body, metric, value) => {
    const { say } = await withAnswers();
    expect(await say(body)).toEqual({ status: 200, body: { object: "feedback", id: "mine", metric, value } });
  });

  it.each([
    [{ metric: "rating", value: 1e6 }, "value"],
    [{ metric: "rating", value: -0.001 }, "value"],
    [{ value: 1.001 }, "value"],
    [{ metric: "stars", value: 0 }, "value"],
    [{ metric: "stars", rating: "down" }, "value"],
    [{ metric: "stars", value: 5.5 }, "value"],
    [{ metric: "star", value: 1 }, "metric"],
    [{ metric: "value", value: 1 }, "metric"],
    [{ metric: "constructor", value: 1 }, "metric"],
  ])("refuses %j, and says what is declared", async (body, param) => {
    const { say, client } = await withAnswers();
    const refused = await say(body);
    expect(refused).toMatchObject({ status: 400, body: { error: { param } } });
    expect(refused.body.error.message).toMatch(
      /"ab".*"rating" from 0 to 1, "stars" from 1 to 5, "solved" from 0 to 1/u,
    );
    expect((await client.execute("SELECT * FROM feedback")).rows).toEqual([]);
  });

  it.each([
    [{ metric: "latency_ms", value: 1 }, "metric"],
    [{ metric: "judge", value: 1 }, "metric"],
    [{ value: 1e308 }, "value"],
    [{ value: -1e308 }, "value"],
    [{}, "rating"],
  ])("refuses %j, which no experiment can declare", async (body, param) => {
    const { say } = await withAnswers();
    expect(await say(body)).toMatchObject({ status: 400, body: { error: { param } } });
  });

  it("takes ratings alone where nothing is declared: outside of experiments, and of one that has ended", async () => {
    const { say } = await withAnswers();
    for (const id of ["outside", "ended"]) {
      expect((await say({ id, rating: "up" })).status).toBe(200);
      expect(await say({ id, metric: "solved", value: 1 })).toMatchObject({
        status: 400,
        body: { error: { param: "metric" } },
      });
      expect(await say({ id, value: 2 })).toMatchObject({ status: 400, body: { error: { param: "value" } } });
    }
    const { say: sayByDefault } = await withAnswers("");
    expect((await sayByDefault({ rating: "up" })).status).toBe(200);
    expect((await sayByDefault({ metric: "stars", value: 1 })).body.error.message).toContain(
      'may say: "rating" from 0 to 1 (',
    );
  });

  it("takes 16 metrics of an answer, whatever was declared in between, and each as often as it is corrected", async () => {
    const { database } = await withAnswers();
    const said = { answer: "mine", value: 1, comment: null, at: now };
    for (let i = 0; i < 16; i++) expect(await database.feedback({ ...said, metric: `m${i}` }, null, 7)).toBe("kept");
    expect(await database.feedback({ ...said, metric: "m16" }, null, 7)).toMatchObject({ param: "metric" });
    expect(await database.feedback({ ...said, metric: "m3", value: 0 }, null, 7)).toBe("kept");
  });
});

describe("an experiment's metrics", () => {
  const policies = new Map(["scored", "plain"].map((name) => [name, ""]));
  const metric = (name: string): string => `{ name: ${name}, min: 0, max: 2 }`;

  it.each([
    ["[rating, rating]", "twice"],
    ["[{ name: stars, min: 5, max: 1 }]", "min is not less than max"],
    ["[{ name: stars, min: 1, max: 1 }]", "min is not less than max"],
    ["[{ name: stars, max: 1e16 }]", "metrics"],
    ["[{ name: stars, max: .inf }]", "metrics"],
    ["[{ name: latency_ms, max: 5 }]", "measured by the gateway"],
    ["[{ name: rating, min: 1, max: 5 }]", "must hold both"],
    ["[{ name: stars, verdict: false }]", "the verdict must be about one"],
    [`[${Array.from({ length: 16 }, (_, i) => metric(`m${i}`)).join(", ")}]`, "16 metrics at most"],
    ["[{ name: stars, most: 5 }]", "metrics"],
    ["[]", "metrics"],
  ])("are refused where they are wrong: %s", (declared, message) => {
    expect(() => parseRoutes(routes(`metrics: ${declared},`), policies)).toThrow(message);
  });

  it("are listed with their ranges", async () => {
    const { app } = await withAnswers();
    const { data } = await json(await app.request("/v1/experiments"));
    expect(data[0]).toMatchObject({
      metrics: ["rating", "latency_ms", "solved"],
      ranges: [
        { name: "rating", min: 0, max: 1 },
        { name: "stars", min: 1, max: 5 },
        { name: "solved", min: 0, max: 1 },
      ],
    });
  });
});

describe("reports of records from before", () => {
  const experiment: ExperimentDescription = {
    name: "ab",
    route: "ab",
    unit: "user",
    arms: ["treatment", "control"].map((name) => ({ name, policy: "p@1", weight: 1 })),
    control: "control",
    metrics: ["rating"],
    ranges: [{ name: "rating", min: 0, max: 1 }],
  };

  it("leave out what is out of range, and say how much that is: no value destroys a verdict or an interval", async () => {
    const { client, database, app } = await withAnswers("");
    const answers = Array.from({ length: 200 }, (_, i) =>
      row(`a${i}`, "ab", { arm: i % 2 === 0 ? "treatment" : "control" }),
    );
    await database.write(answers, []);
    const rate = (answer: string, metric: string, value: number) =>
      client.execute({ sql: "INSERT INTO feedback VALUES (?, ?, ?, NULL, 0)", args: [answer, metric, value] });
    for (let i = 0; i < 200; i++) await rate(`a${i}`, "rating", Number(i % 2 === 0 ? i % 10 !== 0 : i % 10 < 4));
    const clean = await database.report(experiment);
    expect(clean).toMatchObject({
      undeclared: [],
      metrics: [{ name: "rating", left_out: 0, differences: [{ verdict: "higher" }] }, {}, {}, {}, {}, {}],
    });
    const odd = [1e6, 1e308, -1e308, 1e15, -0.5];
    for (const [i, value] of odd.entries()) {
      const id = `odd${i}`;
      // Another answer of a unit that has said something sensible as well.
      await database.write([row(id, "ab", { unit: `a${i}`, arm: i % 2 === 0 ? "treatment" : "control" })], []);
      await rate(id, "rating", value);
      await rate(id, "stars", value);
    }
    const report = await database.report(experiment);
    const [before, after] = [clean.metrics[0], report.metrics[0]];
    expect(after?.means).toEqual(before?.means);
    expect(after?.differences[0]).toMatchObject({
      verdict: "higher",
      low: before?.differences[0]?.low,
      high: before?.differences[0]?.high,
    });
    expect(after?.left_out).toBe(odd.length);
    expect(report.undeclared).toEqual(["stars"]);
    expect(report.verdict).toContain("5 values of rating out of its range do not count.");
    const page = await (await app.request("/experiments/ab")).text();
    expect(page).toContain("5 values of rating out of its range do not count.");
    expect(page).toContain("not shown: stars");
    const api = await json(await app.request("/v1/experiments/ab"));
    expect(api).toMatchObject({ undeclared: ["stars"], verdict: report.verdict });
  });

  it("name some of very many metrics, and none of their values", async () => {
    const { client, database } = await withAnswers("");
    const names = JSON.stringify(Array.from({ length: 3_000 }, (_, i) => `m${i}`));
    await client.execute({
      sql: "INSERT INTO feedback SELECT 'mine', value, 1, NULL, 0 FROM json_each(?)",
      args: [names],
    });
    const report = await database.report(experiment);
    expect(report.undeclared).toHaveLength(16);
    expect(report.metrics.map(({ name }) => name)).toEqual([
      "rating",
      "completion_tokens",
      "error",
      "latency_ms",
      "left",
      "work_tokens",
    ]);
  });
});

function resolvers() {
  let resolve: (value: string) => void = () => {};
  const promise = new Promise<string>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

describe("reports nobody waits for", () => {
  it("are told that their reader has left", async () => {
    const { app, asked } = await withAnswers();
    for (const path of ["/v1/experiments/ab", "/experiments/ab"]) {
      const leaving = new AbortController();
      leaving.abort();
      expect((await app.request(path, { signal: leaving.signal })).status).not.toBe(200);
    }
    expect(asked.map(({ aborted }) => aborted)).toEqual([true, true]);
  });

  it("end when the last of those who wait has left, and not before", async () => {
    let abandoned: AbortSignal | undefined;
    let ends = 0;
    const { promise, resolve } = resolvers();
    const shared = new Shared(
      (signal) => {
        abandoned = signal;
        return promise;
      },
      () => {
        ends += 1;
      },
    );
    const [first, second] = [new AbortController(), new AbortController()];
    const waiting = [shared.join(first.signal), shared.join(second.signal)];
    first.abort();
    await expect(waiting[0]).rejects.toMatchObject({ code: "cancelled" });
    expect([abandoned?.aborted, ends]).toEqual([false, 0]);
    second.abort();
    await expect(waiting[1]).rejects.toMatchObject({ code: "cancelled" });
    expect([abandoned?.aborted, ends]).toEqual([true, 1]);
    resolve("late");
  });

  it("go on for who stays, whatever signal those who leave had", async () => {
    const { promise, resolve } = resolvers();
    const shared = new Shared(
      () => promise,
      () => {},
    );
    const leaving = new AbortController();
    const [gone, stays] = [shared.join(leaving.signal), shared.join()];
    leaving.abort();
    await expect(gone).rejects.toMatchObject({ code: "cancelled" });
    resolve("report");
    expect(await stays).toBe("report");
  });
});
