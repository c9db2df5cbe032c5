/**
 * @module A worker's records: written after the answer has gone out, by the isolate that gave it. No promise is shared among requests: one that began in
 * a request ends with it.
 */
import { createClient } from "@libsql/client/web";
import { boundedFetch } from "../engine/bounded-fetch.ts";
import { RecordDatabase } from "../experiment/database.ts";
import { withoutRecords } from "../experiment/no-store.ts";
import type { AnswerRow, CounterfactualRow, FeedbackOutcome, FeedbackRow, RecordStore, StoreState } from "../experiment/record.ts";
import type { ExperimentDescription, ExperimentReport } from "../experiment/report.ts";
import { mostAnswerBytes, type SqlClient } from "../experiment/sql.ts";
import type { DeclaredMetrics } from "../policy/metrics.ts";
import { GatewayError, isCancellation } from "../types/error.ts";
import { fetchUnmoved } from "../types/redirect.ts";
import type { Bindings } from "./bindings.ts";
import { d1Client } from "./d1.ts";
import type { WorkerSettings } from "./settings.ts";

export interface RecordsWorld {
  /** Lets work go on after the answer has gone out. */
  readonly waitUntil: (work: Promise<unknown>) => void;
  readonly report: (line: string) => void;
}

/** Before each further attempt. */
const pausesMs = [100, 1_000, 5_000];
/** An answer's record may be on its way while its feedback is here already. */
const onItsWayMs = 500;

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
  return new WorkerStore(new RecordDatabase(client), settings, world);
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

class WorkerStore implements RecordStore {
  readonly keepsText: boolean;
  readonly #database: RecordDatabase;
  readonly #feedbackDays: number;
  readonly #world: RecordsWorld;
  /** Answers that are being written, each in its own request. */
  readonly #underWay = new Map<string, Promise<void>>();
  #isPrepared = false;
  #written = 0;
  #waiting = 0;
  #lost = 0;
  #error: string | null = null;

  constructor(database: RecordDatabase, settings: WorkerSettings, world: RecordsWorld) {
    this.#database = database;
    this.#feedbackDays = settings.ICDPO_FEEDBACK_DAYS;
    this.#world = world;
    this.keepsText = settings.ICDPO_KEEP_TEXT;
  }

  answer(row: AnswerRow): void {
    const written = this.#record((database) => database.write([row], []));
    this.#underWay.set(row.id, written);
    const forget = (): void => void this.#underWay.delete(row.id);
    written.then(forget, forget);
  }

  /** After its answer, in whose request it is made: of what is not there nothing is taken. */
  counterfactual(row: CounterfactualRow): void {
    void this.#record((database) => database.write([], [row]), this.#underWay.get(row.answer));
  }

  async feedback(row: FeedbackRow, key: string | null, declared: DeclaredMetrics): Promise<FeedbackOutcome> {
    const give = () => this.#call((database) => database.feedback(row, key, this.#feedbackDays, declared));
    const outcome = await give();
    if (outcome !== "unknown") return outcome;
    await pause(onItsWayMs);
    return give();
  }

  report(experiment: ExperimentDescription, signal?: AbortSignal): Promise<ExperimentReport> {
    return this.#call((database) => database.report(experiment, signal));
  }

  state(): StoreState {
    const status = this.#error === null ? "ok" : "failing";
    return { status, error: this.#error, written: this.#written, waiting: this.#waiting, lost: this.#lost };
  }

  #record(write: (database: RecordDatabase) => Promise<void>, after: Promise<void> = Promise.resolve()): Promise<void> {
    this.#waiting += 1;
    const written = after
      .then(() => this.#write(write))
      .finally(() => {
        this.#waiting -= 1;
      });
    this.#world.waitUntil(written);
    return written;
  }

  async #write(write: (database: RecordDatabase) => Promise<void>): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      try {
        await write(await this.#prepared());
        this.#written += 1;
        this.#error = null;
        return;
      } catch (error) {
        this.#error = reasonOf(error);
        const wait = pausesMs[attempt];
        if (wait !== undefined) {
          await pause(wait);
          continue;
        }
        this.#lost += 1;
        return this.#world.report(`A record could not be written: ${this.#error}`);
      }
    }
  }

  async #call<Result>(ask: (database: RecordDatabase) => Promise<Result>): Promise<Result> {
    try {
      return await ask(await this.#prepared());
    } catch (error) {
      if (isCancellation(error)) throw error;
      throw new GatewayError("records_unavailable", `Records cannot be had now: ${reasonOf(error)}. Retry later.`, { cause: error });
    }
  }

  /** The tables are there. */
  async #prepared(): Promise<RecordDatabase> {
    if (!this.#isPrepared) await this.#database.migrate();
    this.#isPrepared = true;
    return this.#database;
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
