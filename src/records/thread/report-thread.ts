/** @module The gateway's side of the thread that makes reports. It is begun with the first one. */
import { Worker } from "node:worker_threads";
import type { ExperimentDescription, ExperimentReport } from "../../experiment/report.ts";
import { cancelled, messageOf } from "../../types/error.ts";
import type { DatabaseOptions } from "../libsql-records.ts";
import { PendingCalls, unavailable } from "./pending-calls.ts";
import type { FromReader, ToReader } from "./thread-messages.ts";

export class ReportThread {
  readonly #module: URL;
  readonly #options: DatabaseOptions;
  readonly #calls = new PendingCalls();
  #thread: Worker | undefined;
  #isClosed = false;

  constructor(module: URL, options: DatabaseOptions) {
    this.#module = module;
    this.#options = options;
  }

  /** Ends where nobody waits any more (`signal`), and where it takes too long: the thread does not go on for nobody. */
  async report(experiment: ExperimentDescription, signal: AbortSignal): Promise<ExperimentReport> {
    if (this.#isClosed) throw unavailable("the gateway ends");
    if (signal.aborted) throw cancelled(signal);
    this.#thread ??= this.#start();
    const thread = this.#thread;
    const send = (message: ToReader): void => thread.postMessage(message);
    const cancel = (id: number): void => send({ type: "cancel", id });
    const report = this.#calls.begin((id) => {
      send({ type: "report", id, experiment });
      signal.addEventListener("abort", () => {
        cancel(id);
        this.#calls.fail(id, "nobody waits for it");
      });
    }, cancel);
    return (await report) as ExperimentReport;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#thread?.terminate();
  }

  #start(): Worker {
    const thread = new Worker(this.#module, { workerData: this.#options });
    thread.on("message", (message: FromReader) => {
      if (message.type === "result") this.#calls.succeed(message.id, message.result);
      else this.#calls.fail(message.id, message.error);
    });
    // What went wrong is told to those who wait; the next report begins another thread.
    let reason = "the thread that reads them ended";
    thread.on("error", (error) => {
      reason = messageOf(error);
    });
    thread.once("exit", () => {
      this.#thread = undefined;
      this.#calls.failAll(reason);
    });
    thread.unref();
    return thread;
  }
}
