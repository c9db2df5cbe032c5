/**
 * @module The thread that writes records. What cannot be written now is tried again; how much may wait is the gateway's
 * to decide.
 */
import { parentPort, workerData } from "node:worker_threads";
import { inOrder } from "../../async/in-order.ts";
import { retry } from "../../async/retry.ts";
import { messageOf } from "../../types/error.ts";
import { Database } from "../libsql-records.ts";
import type { AnswerRow, CounterfactualRow } from "../record.ts";
import type { Call, FromWorker, RecordedRow, ToWorker, WorkerOptions } from "./thread-messages.ts";

const options = workerData as WorkerOptions;
const rowsAtOnce = 200;
const retryMs = 1_000;
const hourMs = 60 * 60 * 1_000;

const waiting: RecordedRow[] = [];
let database: Database | undefined;
/** One thing at a time. */
const inTurn = inOrder();
let isFlushing = false;

function tell(message: FromWorker): void {
  parentPort?.postMessage(message);
}

function notice(line: string): void {
  tell({ type: "notice", line });
}

async function opened(): Promise<Database> {
  database ??= await Database.open({ ...options, report: notice });
  return database;
}

/** Writes what is waiting. Throws what is in the way. */
async function flush(): Promise<void> {
  while (waiting.length > 0) {
    const rows = waiting.slice(0, rowsAtOnce);
    const answers = rows.flatMap((row): AnswerRow[] => ("answer" in row ? [row.answer] : []));
    const counterfactuals = rows.flatMap((row): CounterfactualRow[] =>
      "counterfactual" in row ? [row.counterfactual] : [],
    );
    await (await opened()).write(answers, counterfactuals);
    waiting.splice(0, rows.length);
    tell({ type: "written", count: rows.length });
  }
}

/** Until it is written; calls have their turns between attempts. */
function flushSoon(): void {
  if (isFlushing) return;
  isFlushing = true;
  const onFailure = (error: unknown): void => {
    tell({ type: "failing", error: messageOf(error) });
    // A connection that has seen an error may not recover: the next attempt makes a new one.
    database?.close();
    database = undefined;
  };
  const attempts = Number.POSITIVE_INFINITY;
  void retry(() => inTurn(flush), { attempts, pauseMs: () => retryMs, onFailure }).then(() => {
    isFlushing = false;
    if (waiting.length > 0) flushSoon();
  });
}

async function answer(call: Call): Promise<unknown> {
  await flush();
  if (call.name === "flush") return null;
  const [row, key, declared] = call.arguments;
  return (await opened()).feedback(row, key, options.feedbackDays, declared);
}

/** Work that can wait, a portion in each turn. */
async function inPortions(portion: (database: Database) => Promise<boolean>): Promise<void> {
  while (await inTurn(async () => portion(await opened())));
}

async function tidy(): Promise<void> {
  await inPortions((database) => database.count());
  await inTurn(async () => (await opened()).expireTexts(Date.now(), options.textDays));
  await inPortions((database) => database.expireRecords(Date.now(), options.recordDays));
  await inTurn(async () => (await opened()).purge()).catch((error: unknown) =>
    notice(`What was deleted may still stand in the database's files; this is tried again: ${messageOf(error)}`),
  );
}

function tidyUp(): void {
  tidy().catch((error: unknown) => tell({ type: "failing", error: messageOf(error) }));
}

parentPort?.on("message", (message: ToWorker) => {
  switch (message.type) {
    case "rows":
      waiting.push(...message.rows);
      flushSoon();
      return;
    case "call":
      inTurn(() => answer(message.call)).then(
        (result) => tell({ type: "result", id: message.id, result }),
        (error: unknown) => tell({ type: "error", id: message.id, error: messageOf(error) }),
      );
      return;
    case "close":
      inTurn(flush)
        .catch((error: unknown) => tell({ type: "failing", error: messageOf(error) }))
        .finally(() => {
          database?.close();
          process.exit(0);
        });
  }
});

tidyUp();
setInterval(tidyUp, hourMs).unref();
