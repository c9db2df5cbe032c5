/** Records of answers: written in a thread, or waiting, or counted as lost; never in an answer's way. */
import { execFileSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createClient } from "@libsql/client";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { pseudonym } from "../../../src/experiment/assign.ts";
import { forgetSql } from "../../../src/records/forget.ts";
import { Database } from "../../../src/records/libsql-records.ts";
import type { AnswerRow } from "../../../src/records/record.ts";
import { RecordDatabase } from "../../../src/records/statements.ts";
import { ThreadedStore } from "../../../src/records/thread/threaded-records.ts";

const modules = new URL("../../../dist/records/thread/", import.meta.url);
/** No experiment declares anything: thumbs are taken. */
const undeclared = new Map();
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

/** Of all files, whatever they are called. */
async function everyByteOf(place: string): Promise<string> {
  const names = await readdir(place);
  return (await Promise.all(names.map((name) => readFile(path.join(place, name), "latin1")))).join("");
}

const inFolder = (name: string): string => `file:${path.join(folder, name)}`;

describe("records", () => {
  it("are written by a thread, and read back in a report", async () => {
    const { store } = open(inFolder("deep/in/records.db"));
    for (let i = 0; i < 1_000; i++)
      store.answer(row(`a${i}`, { unit: `u${i}`, arm: i % 2 === 0 ? "treatment" : "control" }));
    expect(store.state().waiting).toBeGreaterThan(0);
    const feedback = { metric: "rating", comment: null, at: Date.now() };
    for (let i = 0; i < 60; i++)
      expect(await store.feedback({ ...feedback, answer: `a${i}`, value: (i + 1) % 2 }, null, undeclared)).toBe("kept");
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
    expect(await store.feedback({ ...feedback, answer: "mine" }, "team", undeclared)).toBe("kept");
    expect(await store.feedback({ ...feedback, answer: "mine" }, "team", undeclared)).toBe("kept");
    expect(await store.feedback({ ...feedback, answer: "mine", value: 0 }, "team", undeclared)).toBe("kept");
    expect(await store.feedback({ ...feedback, answer: "mine" }, "others", undeclared)).toBe("unknown");
    expect(await store.feedback({ ...feedback, answer: "old" }, null, undeclared)).toBe("expired");
    expect(await store.feedback({ ...feedback, answer: "gone" }, null, undeclared)).toBe("unknown");
    const client = createClient({ url: inFolder("records.db") });
    expect((await client.execute("SELECT answer, value, comment FROM feedback")).rows).toMatchObject([
      { answer: "mine", value: 0, comment: "good" },
    ]);
    client.close();
  });

  it("lose their texts and then themselves with time, and at a user's wish", async () => {
    const database = await Database.open({ url: inFolder("records.db") });
    const texts = {
      request: '[{"role":"user","content":"Hi"}]',
      settings: '{"seed":1}',
      answers: '[{"content":"Hello"}]',
    };
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
    expect(await database.forget(user, now)).toBe(2);
    expect(await ids()).toEqual(["other"]);
    expect(await kept()).toEqual(["other"]);
    expect(await settings()).toEqual(["other"]);
    client.close();
    expect(await database.forget(user, now)).toBe(0);
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
      await database.feedback(
        { answer: `a${i}`, metric: "rating", value: 1, comment: `${word}-says`, at: now },
        null,
        7,
      );
      // Some of it has reached the file itself, some is in the log beside it.
      if (i === 20) expect(await database.purge()).toBe(true);
    }
    const files = () => everyByteOf(path.join(folder, "own"));
    expect(await files()).toContain("SECRET");
    expect(await database.forget(ann, now)).toBe(20);
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

  it("keep nothing of who is forgotten, though it waits in two gateways, and requests are under way", async () => {
    const url = inFolder("own/records.db");
    const [first, second] = [open(url).store, open(url).store];
    const ann = pseudonym("user", "ann");
    const texts = { request: '"SECRET-asks"', settings: '"SECRET-sets"', answers: '"SECRET-hears"' };
    const plain = { score: 1, chosenScore: 2, text: "SECRET-plainly" };
    const now = Date.now();
    for (const [i, store] of [first, second].entries()) {
      store.answer(row(`written${i}`, { user: ann, unit: ann, texts }));
      store.answer(
        row(`bob${i}`, { user: pseudonym("user", "bob"), texts: { request: '"PUBLIC"', answers: '"PUBLIC"' } }),
      );
      await expect.poll(() => store.state().written).toBe(2);
      // In the gateway's queue while the user is forgotten.
      store.answer(row(`queued${i}`, { user: ann, unit: ann, texts }));
      store.counterfactual({ answer: `written${i}`, at: now, ...plain });
    }
    const database = await Database.open({ url });
    const forgotten = Date.now();
    await database.forget(ann, forgotten);
    for (const [i, store] of [first, second].entries()) {
      // Begun before that, and ended after it.
      store.answer(row(`late${i}`, { user: ann, unit: ann, at: forgotten - 5_000, texts }));
      for (const answer of [`late${i}`, `queued${i}`]) store.counterfactual({ answer, at: forgotten + 1, ...plain });
      await database.judgement({
        answer: `written${i}`,
        judge: ann,
        experiment: "ab",
        arm: "",
        other: "",
        value: 1,
        at: forgotten,
      });
      const said = { answer: `queued${i}`, metric: "rating", value: 1, comment: "SECRET-says", at: forgotten };
      expect(await store.feedback(said, null, undeclared)).toBe("unknown");
    }
    expect(await database.purge()).toBe(true);
    const all = await everyByteOf(path.join(folder, "own"));
    for (const gone of ["SECRET", ann]) expect(all).not.toContain(gone);
    expect(all).toContain("PUBLIC");
    // Whoever is forgotten may come again.
    first.answer(row("again", { user: ann, unit: ann, at: forgotten + 1 }));
    await first.report(experiment);
    const ids: unknown[] = [];
    for await (const { id } of database.answers("ab")) ids.push(id);
    expect(ids.toSorted()).toEqual(["again", "bob0", "bob1"]);
    // In time nothing is left that somebody was forgotten.
    await database.expireRecords(forgotten + 8 * day, 365);
    const client = createClient({ url });
    expect((await client.execute("SELECT * FROM forgotten")).rows).toEqual([]);
    client.close();
    database.close();
  });

  it("of earlier versions lose what those had deleted, and others their rights to the files", async () => {
    const url = inFolder("own/records.db");
    await mkdir(path.join(folder, "own"));
    const old = createClient({ url });
    await old.execute("PRAGMA journal_mode = WAL");
    const before = new RecordDatabase(old);
    await before.migrate();
    const texts = { request: `"${"SECRET ".repeat(2_000)}"`, answers: '"SECRET"' };
    for (let i = 0; i < 20; i++) await before.write([row(`a${i}`, { user: "ann", texts }), row(`b${i}`)], []);
    await old.execute("PRAGMA wal_checkpoint(TRUNCATE)");
    await before.forget("ann", Date.now());
    await old.execute("PRAGMA wal_checkpoint(TRUNCATE)");
    expect(await everyByteOf(path.join(folder, "own"))).toContain("SECRET");
    for (const name of ["records.db", "records.db-wal", "records.db-shm"])
      await chmod(path.join(folder, "own", name), 0o644);
    await chmod(path.join(folder, "own"), 0o755);
    const said: string[] = [];
    const database = await Database.open({ url, report: (line) => said.push(line) });
    const modes = async () =>
      Promise.all(
        ["", "records.db", "records.db-wal", "records.db-shm"].map(
          async (name) => (await stat(path.join(folder, "own", name))).mode & 0o777,
        ),
      );
    expect(await modes()).toEqual([0o700, 0o600, 0o600, 0o600]);
    expect(await database.purge()).toBe(true);
    expect(await everyByteOf(path.join(folder, "own"))).not.toContain("SECRET");
    const ids: unknown[] = [];
    for await (const { id } of database.answers("ab")) ids.push(id);
    expect(ids).toEqual(Array.from({ length: 20 }, (_, i) => `b${i}`));
    expect(await modes()).toEqual([0o700, 0o600, 0o600, 0o600]);
    expect(said).toEqual([]);
    database.close();
    old.close();
  });

  it("in a folder that holds other things leave that to whoever owns it", async () => {
    await mkdir(path.join(folder, "shared"), { mode: 0o755 });
    await writeFile(path.join(folder, "shared/other"), "");
    (await Database.open({ url: inFolder("shared/records.db") })).close();
    expect((await stat(path.join(folder, "shared"))).mode & 0o777).toBe(0o755);
    expect((await stat(path.join(folder, "shared/records.db"))).mode & 0o777).toBe(0o600);
  });

  it("are forgotten by SQL as well, where no program of ours reaches them", async () => {
    const database = await Database.open({ url: inFolder("records.db") });
    const [ann, bob] = [pseudonym("user", "ann"), pseudonym("user", "bob")];
    const now = Date.now();
    const texts = { request: '"SECRET"', settings: '"SECRET"', answers: '"SECRET"' };
    for (const [id, user] of [
      ["a", ann],
      ["b", bob],
    ] as const) {
      await database.write(
        [row(id, { user, unit: user, texts })],
        [{ answer: id, at: now, score: 1, chosenScore: 2, text: "SECRET" }],
      );
      await database.feedback({ answer: id, metric: "rating", value: 1, comment: "SECRET", at: now }, null, 7);
      await database.judgement({ answer: id, judge: "gpt", experiment: "ab", arm: "", other: "", value: 1, at: now });
    }
    const client = createClient({ url: inFolder("records.db") });
    await client.executeMultiple(forgetSql(ann));
    await database.write([row("late", { user: ann, at: now, texts })], []);
    for (const table of ["texts", "request_settings", "feedback", "counterfactuals", "judgements"])
      expect(
        (await client.execute(`SELECT answer FROM ${table}`)).rows.map((one) => one["answer"]),
        table,
      ).toEqual(["b"]);
    expect((await client.execute("SELECT id FROM answers")).rows.map((one) => one["id"])).toEqual(["b"]);
    client.close();
    database.close();
  });

  it("are reported no further when all have left who waited for it, and as ever to the next one", async () => {
    const { store } = open(inFolder("records.db"));
    for (let i = 0; i < 200; i++) store.answer(row(`a${i}`, { unit: `u${i}` }));
    const [first, second] = [new AbortController(), new AbortController()];
    const waiting = [store.report(experiment, first.signal), store.report(experiment, second.signal)];
    first.abort();
    await expect(waiting[0]).rejects.toMatchObject({ code: "cancelled" });
    second.abort();
    await expect(waiting[1]).rejects.toMatchObject({ code: "cancelled" });
    expect((await store.report(experiment)).arms[0]?.answers).toBe(200);
    const { signal } = new AbortController();
    expect((await store.report(experiment, signal)).arms[0]?.answers).toBe(200);
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
    // The thread may be tidying up at first.
    const other = createClient({ url: inFolder("records.db"), timeout: 60_000 });
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
    await expect(
      store.feedback({ answer: "a1", metric: "rating", value: 1, comment: null, at: 0 }, null, undeclared),
    ).rejects.toMatchObject({
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
