/** @module The thread that makes reports, by a connection of its own: whoever writes does not wait for them. */
import { parentPort, workerData } from "node:worker_threads";
import { inOrder } from "../../async/in-order.ts";
import type { ExperimentDescription } from "../../experiment/report.ts";
import { messageOf } from "../../types/error.ts";
import { Database, type DatabaseOptions } from "../libsql-records.ts";
import type { FromReader, ToReader } from "./thread-messages.ts";

const options = workerData as DatabaseOptions;
let database: Database | undefined;
const inTurn = inOrder();
/** Reports that are asked for, those that wait for their turn among them. */
const wanted = new Map<number, AbortController>();

function tell(message: FromReader): void {
  parentPort?.postMessage(message);
}

async function answer(id: number, experiment: ExperimentDescription, signal: AbortSignal): Promise<void> {
  try {
    if (signal.aborted) return;
    database ??= await Database.open(options);
    tell({ type: "result", id, result: await database.report(experiment, signal) });
  } catch (error) {
    if (signal.aborted) return;
    tell({ type: "error", id, error: messageOf(error) });
    // A connection that has seen an error may not recover.
    database?.close();
    database = undefined;
  } finally {
    wanted.delete(id);
  }
}

parentPort?.on("message", (message: ToReader) => {
  if (message.type === "cancel") return wanted.get(message.id)?.abort();
  const controller = new AbortController();
  wanted.set(message.id, controller);
  void inTurn(() => answer(message.id, message.experiment, controller.signal));
});
