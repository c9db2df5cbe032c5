/**
 * @module The gateway's side of its records: a bounded queue to the thread that writes them. Recording never waits and
 * never fails.
 */
import { Worker } from "node:worker_threads";
import { inTime } from "../../async/pause.ts";
import { Shared } from "../../async/shared.ts";
import type { ExperimentDescription, ExperimentReport } from "../../experiment/report.ts";
import type { DeclaredMetrics } from "../../policy/feedback-metrics.ts";
import { messageOf } from "../../types/error.ts";
import type { AnswerRow, CounterfactualRow, FeedbackOutcome, FeedbackRow, RecordStore, StoreState } from "../record.ts";
import { PendingCalls, unavailable } from "./pending-calls.ts";
import { ReportThread } from "./report-thread.ts";
import type { Call, Calls, FromWorker, RecordedRow, ToWorker, WorkerOptions } from "./thread-messages.ts";

export interface StoreOptions extends WorkerOptions {
  readonly keepsText: boolean;
  readonly report: (line: string) => void;
  /** Where the threads' modules are, if elsewhere. */
  readonly modules?: URL;
  /** Rows that may wait. */
  readonly mostWaiting?: number;
}

const mostRows = 5_000;
/** Of texts that wait, in characters. */
const mostText = 50_000_000;
/** Rows are sent together, as many as come in this time: each message to the thread takes as long as a row. */
const gatherMs = 20;
const closeMs = 3_000;

export class ThreadedStore implements RecordStore {
  readonly keepsText: boolean;
  readonly #options: StoreOptions;
  readonly #calls = new PendingCalls();
  readonly #reports: ReportThread;
  /** Those under way, by what they are about. */
  readonly #reporting = new Map<string, Shared<ExperimentReport>>();
  /** Characters of each row that waits, in order. */
  readonly #sizes: number[] = [];
  #worker: Worker | undefined;
  /** Not sent to the thread yet; they count among those that wait. */
  #gathered: RecordedRow[] = [];
  #text = 0;
  #written = 0;
  #lost = 0;
  #error: string | null = null;
  #isClosed = false;

  constructor(options: StoreOptions) {
    this.#options = options;
    this.keepsText = options.keepsText;
    const { url, authToken } = options;
    this.#reports = new ReportThread(this.#moduleOf("report-reader.js"), { url, authToken });
    this.#worker = this.#start();
  }

  answer(row: AnswerRow): void {
    const size =
      row.texts === null ? 0 : row.texts.request.length + (row.texts.settings?.length ?? 0) + row.texts.answers.length;
    this.#record({ answer: row }, size);
  }

  counterfactual(row: CounterfactualRow): void {
    this.#record({ counterfactual: row }, row.text?.length ?? 0);
  }

  feedback(row: FeedbackRow, key: string | null, declared: DeclaredMetrics): Promise<FeedbackOutcome> {
    return this.#call("feedback", [row, key, declared]);
  }

  /** Whoever asks while the same report is made gets that one. When all have left, it is made no further. */
  report(experiment: ExperimentDescription, signal?: AbortSignal): Promise<ExperimentReport> {
    const about = JSON.stringify(experiment);
    const underWay = this.#reporting.get(about);
    if (underWay !== undefined) return underWay.join(signal);
    const report = new Shared(
      (abandoned) => this.#call("flush", []).then(() => this.#reports.report(experiment, abandoned)),
      () => {
        if (this.#reporting.get(about) === report) this.#reporting.delete(about);
      },
    );
    this.#reporting.set(about, report);
    return report.join(signal);
  }

  state(): StoreState {
    const status = this.#error === null ? "ok" : "failing";
    return { status, error: this.#error, written: this.#written, waiting: this.#sizes.length, lost: this.#lost };
  }

  /** Writes what is waiting, if that can be done soon. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#reports.close();
    const worker = this.#worker;
    if (worker === undefined) return;
    worker.ref();
    const exited = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
    this.#send();
    this.#post({ type: "close" });
    await inTime(exited, closeMs, () => {});
    await worker.terminate();
    if (this.#sizes.length > 0)
      this.#options.report(`${this.#sizes.length} records could not be written: ${this.#error ?? "no time left"}`);
  }

  #record(row: RecordedRow, size: number): void {
    const { mostWaiting = mostRows } = this.#options;
    if (this.#worker === undefined || this.#sizes.length >= mostWaiting || this.#text + size > mostText) {
      this.#lost += 1;
      return;
    }
    this.#sizes.push(size);
    this.#text += size;
    if (this.#gathered.length === 0) setTimeout(() => this.#send(), gatherMs).unref();
    this.#gathered.push(row);
  }

  #send(): void {
    if (this.#gathered.length > 0) this.#post({ type: "rows", rows: this.#gathered });
    this.#gathered = [];
  }

  async #call<Name extends keyof Calls>(name: Name, values: Calls[Name]["arguments"]): Promise<Calls[Name]["result"]> {
    if (this.#worker === undefined) throw unavailable(this.#error);
    const result = this.#calls.begin((id) => {
      this.#send();
      this.#post({ type: "call", id, call: { name, arguments: values } as Call });
    });
    return (await result) as Calls[Name]["result"];
  }

  #moduleOf(name: string): URL {
    return new URL(name, this.#options.modules ?? import.meta.url);
  }

  #post(message: ToWorker): void {
    this.#worker?.postMessage(message);
  }

  #start(): Worker {
    const { url, authToken, textDays, recordDays, feedbackDays } = this.#options;
    const workerData: WorkerOptions = { url, authToken, textDays, recordDays, feedbackDays };
    const worker = new Worker(this.#moduleOf("record-writer.js"), { workerData });
    worker.on("message", (message: FromWorker) => this.#receive(message));
    worker.on("error", (error) => this.#fail(messageOf(error)));
    worker.once("exit", () => this.#onExit());
    // Records alone do not keep the process alive.
    worker.unref();
    return worker;
  }

  #receive(message: FromWorker): void {
    switch (message.type) {
      case "written":
        for (const size of this.#sizes.splice(0, message.count)) this.#text -= size;
        this.#written += message.count;
        if (this.#error !== null) this.#options.report("Records are written again.");
        this.#error = null;
        return;
      case "failing":
        this.#fail(message.error);
        return;
      case "notice":
        this.#options.report(message.line);
        return;
      case "result":
        this.#calls.succeed(message.id, message.result);
        return;
      case "error":
        this.#calls.fail(message.id, message.error);
    }
  }

  #fail(error: string): void {
    if (this.#error === null) this.#options.report(`Records cannot be written, and wait: ${error}`);
    this.#error = error;
  }

  /** The thread itself has ended: what waited in it is gone; a new one is begun. */
  #onExit(): void {
    this.#calls.failAll("the thread that writes them ended");
    this.#worker = undefined;
    if (this.#isClosed) return;
    this.#lost += this.#sizes.length;
    this.#sizes.length = 0;
    this.#gathered = [];
    this.#text = 0;
    setTimeout(() => {
      if (!this.#isClosed) this.#worker = this.#start();
    }, 1_000).unref();
  }
}
