/** Records of answers: written in a thread, or waiting, or counted as lost; never in an answer's way. */
import { execFileSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createClient } from "@libsql/client";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { pseudonym } from "../../src/experiment/assign.ts";
import type { AnswerRow } from "../../src/experiment/record.ts";
import { Database } from "../../src/node/store/database.ts";
import { ThreadedStore } from "../../src/node/store/store.ts";

const modules = new URL("../../dist/node/store/", import.meta.url);
const day = 24 * 60 * 60 * 1000;

let folder: string;
let stores: ThreadedStore[];
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "icdpo-records-"));
  stores = [];
});
afterEach(async () => {
  await Promise.all(stores.map((store) => store.close()));
  await rm(folder, { recursive: true, force: true });
});

const row = (id: string, more: Partial<AnswerRow> = {}): AnswerRow => ({
  id,
  at: Date.now(),
  route: "ab",
  policy: "everyday@1",
  experiment: "ab",
  arm: "treatment",
  unit: "u1",
  shares: { treatment: 0.5, control: 0.5 },
  user: null,
  key: null,
  latencyMs: 12.5,
  promptTokens: 10,
  completionTokens: 5,
  workTokens: 100,
  candidates: 3,
  score: 1.5,
  margin: 0.5,
  finish: "stop",
  fallback: null,
  error: null,
  texts: null,
  ...more,
});

const experiment = {
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

function open(url: string, more: { mostWaiting?: number } = {}): { store: ThreadedStore; said: string[] } {
  const said: string[] = [];
  const options = {
    url,
    keepsText: true,
    textDays: 30,
    recordDays: 365,
    feedbackDays: 7,
    modules,
    report: (line: string) => said.push(line),
  };
  const store = new ThreadedStore({ ...options, ...more });
  stores.push(store);
  return { store, said };
}

const inFolder = (name: string): string => `file:${path.join(folder, name)}`;

describe("records", () => {
  it("are written by a thread, and read back in a report", async () => {
    const { store } = open(inFolder("deep/in/records.db"));
    for (let i = 0; i < 1_000; i++) store.answer(row(`a${i}`, { unit: `u${i}`, arm: i % 2 === 0 ? "treatment" : "control" }));
    expect(store.state().waiting).toBeGreaterThan(0);
    const feedback = { metric: "rating", comment: null, at: Date.now() };
    for (let i = 0; i < 60; i++) expect(await store.feedback({ ...feedback, answer: `a${i}`, value: (i + 1) % 2 }, null)).toBe("kept");
    const report = await store.report(experiment);
    expect(report.arms.map(({ answers }) => answers)).toEqual([500, 500]);
    expect(report.metrics.map(({ name }) => name)).toEqual([
      "rating",
      "completion_tokens",
      "error",
      "latency_ms",
      "left",
      "score",
      "work_tokens",
    ]);
    expect(report.metrics[0]?.differences[0]?.difference).toBe(1);
    expect(store.state()).toMatchObject({ status: "ok", written: 1_000, waiting: 0, lost: 0 });
  });

  it("are reported as they were at one moment to all who ask while a report is made, and to each experiment's own", async () => {
    const { store } = open(inFolder("records.db"));
    for (let i = 0; i < 300; i++) store.answer(row(`a${i}`, { unit: `u${i}` }));
    const [first, second, other] = [
      store.report(experiment),
      store.report({ ...experiment }),
      store.report({ ...experiment, name: "none" }),
    ];
    expect(second).toBe(first);
    expect((await first).arms[0]?.answers).toBe(300);
    expect((await other).arms[0]?.answers).toBe(0);
    store.answer(row("later"));
    expect((await store.report(experiment)).arms[0]?.answers).toBe(301);
    await store.close();
    await expect(store.report(experiment)).rejects.toMatchObject({ code: "records_unavailable" });
  });

  it("tell what failed from what its client left, and take neither's time, length and score for an answer's", async () => {
    const { store } = open(inFolder("records.db"));
    const unwell = { latencyMs: 90_000, completionTokens: 0, workTokens: 9, score: null };
    for (const [i, error] of [null, null, "engine_failure", "request_cancelled"].entries())
      store.answer(row(`a${i}`, { unit: `u${i}`, error, ...(error !== null && unwell) }));
    const { metrics } = await store.report(experiment);
    const means = metrics.flatMap(({ name, means }) => means.map(({ units, mean }) => [name, units, mean]));
    expect(means).toEqual([
      ["completion_tokens", 2, 5],
      ["error", 4, 0.25],
      ["latency_ms", 2, 12.5],
      ["left", 4, 0.25],
      ["score", 2, 1.5],
      ["work_tokens", 2, 100],
    ]);
  });

  it("take feedback of an answer once, by whom it was given to, for some days", async () => {
    const { store } = open(inFolder("records.db"));
    store.answer(row("mine", { key: "team" }));
    store.answer(row("old", { at: Date.now() - 8 * day }));
    const feedback = { metric: "rating", value: 1, comment: "good", at: Date.now() };
    expect(await store.feedback({ ...feedback, answer: "mine" }, "team")).toBe("kept");
    expect(await store.feedback({ ...feedback, answer: "mine" }, "team")).toBe("kept");
    expect(await store.feedback({ ...feedback, answer: "mine", value: 0 }, "team")).toBe("kept");
    expect(await store.feedback({ ...feedback, answer: "mine" }, "others")).toBe("unknown");
    expect(await store.feedback({ ...feedback, answer: "old" }, null)).toBe("expired");
    expect(await store.feedback({ ...feedback, answer: "gone" }, null)).toBe("unknown");
    const client = createClient({ url: inFolder("records.db") });
    expect((await client.execute("SELECT answer, value, comment FROM feedback")).rows).toMatchObject([
      { answer: "mine", value: 0, comment: "good" },
    ]);
    client.close();
  });

  it("lose their texts and then themselves with time, and at a user's wish", async () => {
    const database = await Database.open({ url: inFolder("records.db") });
    const texts = { request: '[{"role":"user","content":"Hi"}]', settings: '{"seed":1}', answers: '[{"content":"Hello"}]' };
    const user = pseudonym("user", "ann");
    const now = Date.now();
    await database.write(
      [
        row("new", { texts, user }),
        row("middle", { texts, at: now - 40 * day, user }),
        row("old", { texts, at: now - 400 * day }),
        row("other", { texts }),
      ],
      [{ answer: "new", at: now, score: 1, chosenScore: 2, text: "plainly" }],
    );
    await database.feedback({ answer: "new", metric: "rating", value: 0, comment: null, at: now }, null, 7);
    await database.expireTexts(now, 30);
    expect(await database.expireRecords(now, 365)).toBe(false);
    const kept = async () => (await database.texts({ since: 0, limit: 10 })).map(({ id }) => id).toSorted();
    expect(await kept()).toEqual(["new", "other"]);
    const client = createClient({ url: inFolder("records.db") });
    const settings = async () =>
      (await client.execute("SELECT answer FROM request_settings ORDER BY answer")).rows.map((one) => one["answer"]);
    expect(await settings()).toEqual(["new", "other"]);
    const ids = async () => {
      const found: unknown[] = [];
      for await (const answer of database.answers("ab")) found.push(answer["id"]);
      return found.toSorted();
    };
    expect(await ids()).toEqual(["middle", "new", "other"]);
    expect(await database.texts({ since: 0, ratingAtMost: 0.4, limit: 10 })).toMatchObject([
      {
        id: "new",
        rating: 0,
        counterfactual: "plainly",
        request: [{ role: "user", content: "Hi" }],
        settings: { seed: 1 },
        answers: [{ content: "Hello" }],
      },
    ]);
    expect(await database.forget(user)).toBe(2);
    expect(await ids()).toEqual(["other"]);
    expect(await kept()).toEqual(["other"]);
    expect(await settings()).toEqual(["other"]);
    client.close();
    expect(await database.forget(user)).toBe(0);
    database.close();
  });

  it("leave nothing in the files when they are forgotten, and the files are their owner's alone", async () => {
    const database = await Database.open({ url: inFolder("own/records.db") });
    const [ann, bob] = [pseudonym("user", "ann"), pseudonym("user", "bob")];
    const now = Date.now();
    const said = (word: string) => ({
      request: `"${`${word}-asks `.repeat(900)}"`,
      settings: `"${word}-sets"`,
      answers: `"${word}-hears"`,
    });
    for (let i = 0; i < 40; i++) {
      const [user, word] = i % 2 === 0 ? [ann, "SECRET"] : [bob, "PUBLIC"];
      const counterfactual = { answer: `a${i}`, at: now, score: 1, chosenScore: 2, text: `${word}-plainly` };
      await database.write([row(`a${i}`, { user, texts: said(word) })], [counterfactual]);
      await database.feedback({ answer: `a${i}`, metric: "rating", value: 1, comment: `${word}-says`, at: now }, null, 7);
      // Some of it has reached the file itself, some is in the log beside it.
      if (i === 20) expect(await database.purge()).toBe(true);
    }
    const files = async () => {
      const names = await readdir(path.join(folder, "own"));
      return (await Promise.all(names.map((name) => readFile(path.join(folder, "own", name), "latin1")))).join("");
    };
    expect(await files()).toContain("SECRET");
    expect(await database.forget(ann)).toBe(20);
    expect(await database.purge()).toBe(true);
    expect(await files()).not.toContain("SECRET");
    expect(await files()).toContain("PUBLIC");
    for (const [name, mode] of [
      ["own", 0o700],
      ["own/records.db", 0o600],
      ["own/records.db-wal", 0o600],
    ] as const)
      expect((await stat(path.join(folder, name))).mode & 0o777).toBe(mode);
    database.close();
  });

  it("survive that the gateway ends, and a new one begins", async () => {
    const { store } = open(inFolder("records.db"));
    for (let i = 0; i < 500; i++) store.answer(row(`a${i}`));
    await store.close();
    const database = await Database.open({ url: inFolder("records.db") });
    expect((await database.report(experiment)).arms[0]?.answers).toBe(500);
    expect(await database.experiments()).toEqual(["ab"]);
    database.close();
  });
});

describe("records that cannot be written", () => {
  it("wait while the database is locked, and are written when it is not", async () => {
    const { store, said } = open(inFolder("records.db"));
    store.answer(row("first"));
    await expect.poll(() => store.state().written).toBe(1);
    const other = createClient({ url: inFolder("records.db") });
    const lock = await other.transaction("write");
    // Returns at once: nothing waits for the lock, which this test gives back later.
    for (let i = 0; i < 50; i++) store.answer(row(`a${i}`));
    expect(store.state().waiting).toBe(50);
    await expect.poll(() => store.state().status).toBe("failing");
    expect(store.state()).toMatchObject({ waiting: 50, lost: 0, error: expect.stringMatching(/locked|busy/iu) });
    await lock.rollback();
    other.close();
    await expect.poll(() => store.state()).toMatchObject({ status: "ok", written: 51, waiting: 0, lost: 0 });
    expect(said).toEqual([expect.stringContaining("cannot be written"), "Records are written again."]);
  });

  it("are counted as lost beyond what may wait, where the place cannot be written at all", async () => {
    await writeFile(path.join(folder, "file"), "");
    const { store, said } = open(inFolder("file/records.db"), { mostWaiting: 10 });
    for (let i = 0; i < 25; i++) store.answer(row(`a${i}`));
    await expect.poll(() => store.state().status).toBe("failing");
    expect(store.state()).toMatchObject({ waiting: 10, lost: 15, written: 0 });
    await expect(store.feedback({ answer: "a1", metric: "rating", value: 1, comment: null, at: 0 }, null)).rejects.toMatchObject({
      code: "records_unavailable",
    });
    expect(said).toHaveLength(1);
  });

  it("wait while the disk is full", async ({ skip }) => {
    const disk = path.join(folder, "disk");
    try {
      execFileSync("mkdir", [disk]);
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], { stdio: "pipe" });
    } catch {
      skip("a small disk cannot be mounted here");
    }
    try {
      const { store } = open(`file:${path.join(disk, "records.db")}`);
      const texts = { request: "x".repeat(100_000), answers: "y".repeat(100_000) };
      for (let i = 0; i < 30; i++) store.answer(row(`a${i}`, { texts }));
      await expect.poll(() => store.state().status).toBe("failing");
      expect(store.state().error).toMatch(/full|disk|i\/o/iu);
      execFileSync("mount", ["-o", "remount,size=64m", disk]);
      await expect.poll(() => store.state()).toMatchObject({ status: "ok", written: 30, lost: 0 });
      await store.close();
    } finally {
      execFileSync("umount", ["-l", disk]);
    }
  });
});
