/** @module Where a worker keeps its records: in the D1 that is bound, or on a libSQL server. */
import { createClient } from "@libsql/client/web";
import { boundedFetch } from "../client/bounded-fetch.ts";
import { fetchUnmoved } from "../client/redirect.ts";
import { d1Client } from "../records/d1.ts";
import { IsolateRecords, type RecordsWorld } from "../records/isolate-records.ts";
import { withoutRecords } from "../records/no-records.ts";
import type { RecordStore } from "../records/record.ts";
import { mostAnswerBytes, type SqlClient } from "../records/sql.ts";
import { RecordDatabase } from "../records/statements.ts";
import type { Bindings } from "./bindings.ts";
import type { WorkerSettings } from "./variables.ts";

/** Null where nothing is recorded. A libSQL server that the settings name goes before the D1 that is bound. */
export function recordsClient(
  { ICDPO_DATABASE: url, ICDPO_DATABASE_TOKEN: authToken }: WorkerSettings,
  { RECORDS }: Bindings,
): SqlClient | null {
  if (url === "off") return null;
  if (url !== undefined) return libsqlClient({ url, ...(authToken !== undefined && { authToken }) });
  return RECORDS === undefined ? null : d1Client(RECORDS);
}

/** A client for each call: one client's calls wait for each other, and a request must not wait for another's. */
function libsqlClient(server: { readonly url: string; readonly authToken?: string }): SqlClient {
  const bounded = boundedFetch(fetchUnmoved, { name: "The database", most: mostAnswerBytes });
  const client = () => createClient({ ...server, fetch: bounded });
  return {
    execute: (statement) => client().execute(statement),
    batch: (statements, mode) => client().batch(statements, mode),
    close() {},
  };
}

export function openRecords(settings: WorkerSettings, bindings: Bindings, world: RecordsWorld): RecordStore {
  const client = recordsClient(settings, bindings);
  if (client === null) return withoutRecords("bind a D1 database as RECORDS, or set ICDPO_DATABASE");
  const { ICDPO_FEEDBACK_DAYS: feedbackDays, ICDPO_KEEP_TEXT: keepsText } = settings;
  return new IsolateRecords(new RecordDatabase(client), { feedbackDays, keepsText }, world);
}

/** Texts and records that are too old go; for a cron trigger. */
export async function expireRecords(settings: WorkerSettings, bindings: Bindings): Promise<void> {
  const client = recordsClient(settings, bindings);
  if (client === null) return;
  const database = new RecordDatabase(client);
  await database.migrate();
  await database.expireTexts(Date.now(), settings.ICDPO_TEXT_DAYS);
  while (await database.expireRecords(Date.now(), settings.ICDPO_RECORD_DAYS));
}
