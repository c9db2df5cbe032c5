/** @module Reports of an experiment with many recorded answers, and what reading them costs those who write. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type AnswerRow, type ExperimentDescription, ThreadedStore } from "icdpo-gateway/laboratory";
import { type BenchCase, type Measurement, quantile } from "./figures.ts";

const reports = 100;
/** An answer and what somebody thinks of it, one after another. */
const writes = 1_000;
const sampleMs = 5;

const experiment: ExperimentDescription = {
  name: "ab",
  route: "ab",
  unit: "user",
  arms: ["treatment", "control"].map((name) => ({ name, policy: `${name}@1`, weight: 1 })),
  control: "control",
  metrics: ["rating"],
};
const shares = { treatment: 0.5, control: 0.5 };

export interface ReportsBench {
  readonly benchCase: BenchCase;
  close(): Promise<void>;
}

export interface ReportsBenchOptions {
  /** Each another user's, every tenth of them rated. */
  readonly answers: number;
  readonly report: (line: string) => void;
  readonly signal: AbortSignal;
  /** Where the program that records them is, if elsewhere. */
  readonly recorder?: URL;
  /** Where the threads of the records are, if elsewhere. */
  readonly threads?: URL;
}

export async function reportsBench(options: ReportsBenchOptions): Promise<ReportsBench> {
  const { answers, report, signal, recorder = new URL("recorded-answers.js", import.meta.url), threads } = options;
  const folder = await mkdtemp(path.join(tmpdir(), "icdpo-bench-"));
  const url = `file:${path.join(folder, "records.db")}`;
  try {
    await record(recorder, url, answers, report, signal);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
  const kept = { textDays: 30, recordDays: 36_500, feedbackDays: 36_500, keepsText: false };
  const store = new ThreadedStore({ url, ...kept, report, ...(threads !== undefined && { modules: threads }) });
  const name = `${answers.toLocaleString("en")} answers`;
  return {
    benchCase: { name: "reports", run: (round) => measure(store, name, round, signal) },
    async close() {
      await store.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** In a process of its own: what that leaves of its memory would hide what reports take. */
async function record(
  program: URL,
  url: string,
  answers: number,
  report: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const args = [fileURLToPath(program), url, String(answers)];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"], signal });
  child.stdout.setEncoding("utf8").on("data", (text: string) => report(text.trimEnd()));
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`Answers could not be recorded (${code}).`);
}

async function measure(store: ThreadedStore, name: string, round: number, signal: AbortSignal): Promise<Measurement[]> {
  const alone = await written(store, `${round}-alone`, signal);
  // In the first round with the thread that makes them.
  const before = process.memoryUsage().rss;
  let most = before;
  const sampling = setInterval(() => {
    most = Math.max(most, process.memoryUsage().rss);
  }, sampleMs);
  const times: number[] = [];
  await store.report(experiment);
  for (let i = 0; i < reports; i++) times.push(await timed(() => store.report(experiment)));
  const over = new AbortController();
  const reading = (async () => {
    while (!over.signal.aborted) await store.report(experiment);
  })();
  const beside = await written(store, `${round}-beside`, signal).finally(() => over.abort());
  await reading;
  clearInterval(sampling);
  const sorted = times.toSorted((a, b) => a - b);
  const write = "an answer and its rating on the disk";
  return [
    { name: `a report of ${name}`, unit: "ms", value: quantile(sorted, 0.5) },
    { name: `a report of ${name}, the longest of ${reports}`, unit: "ms", value: sorted.at(-1) as number },
    {
      name: `${write}, reports read all the time`,
      unit: "ms",
      value: quantile(beside, 0.5),
      against: { name: "none read", value: quantile(alone, 0.5) },
    },
    {
      name: `${write}, 99th percentile, reports read all the time`,
      unit: "ms",
      value: quantile(beside, 0.99),
      against: { name: "none read", value: quantile(alone, 0.99) },
    },
    { name: "memory that reports take at most", unit: "MB", value: (most - before) / 1e6 },
  ];
}

/** Milliseconds of each write, ascending. */
async function written(store: ThreadedStore, label: string, signal: AbortSignal): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < writes; i++) {
    signal.throwIfAborted();
    const answer = `bench-${label}-${i}`;
    times.push(
      await timed(async () => {
        store.answer(rowOf(answer, i));
        await store.feedback(
          { answer, metric: "rating", value: i % 2, comment: null, at: Date.now() },
          null,
          new Map(),
        );
      }),
    );
  }
  return times.sort((a, b) => a - b);
}

function rowOf(id: string, i: number): AnswerRow {
  const arm = i % 2 === 0 ? "treatment" : "control";
  const cost = {
    latencyMs: 900 + i,
    promptTokens: 100,
    completionTokens: 30,
    workTokens: 700,
    candidates: 3,
    score: 1.5,
    margin: 0.5,
  };
  const place = { route: "ab", policy: `${arm}@1`, experiment: "ab", arm, unit: id, shares, user: null, key: null };
  return { id, at: Date.now(), ...place, ...cost, finish: "stop", fallback: null, error: null, texts: null };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
