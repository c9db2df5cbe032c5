/** @module The thread that makes reports, by a connection of its own: whoever writes does not wait for them. */
import { parentPort, workerData } from "node:worker_threads";
import { Database, type DatabaseOptions } from "./database.ts";
import { type FromReader, reasonOf, type ToReader } from "./protocol.ts";

const options = workerData as DatabaseOptions;
let database: Database | undefined;
let turn: Promise<unknown> = Promise.resolve();

function tell(message: FromReader): void {
  parentPort?.postMessage(message);
}

async function answer({ id, experiment }: ToReader): Promise<void> {
  try {
    database ??= await Database.open(options);
    tell({ type: "result", id, result: await database.report(experiment) });
  } catch (error) {
    tell({ type: "error", id, error: reasonOf(error) });
    // A connection that has seen an error may not recover.
    database?.close();
    database = undefined;
  }
}

parentPort?.on("message", (message: ToReader) => {
  turn = turn.then(() => answer(message));
});
