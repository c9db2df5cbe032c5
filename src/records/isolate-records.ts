/**
 * @module A worker's records: written after the answer has gone out, by the isolate that gave it. No promise is shared
 * among requests: one that began in a request ends with it.
 */
import { pause } from "../async/pause.ts";
import { retry } from "../async/retry.ts";
import type { ExperimentDescription, ExperimentReport } from "../experiment/report.ts";
import type { DeclaredMetrics } from "../policy/feedback-metrics.ts";
import { GatewayError, isCancellation, messageOf } from "../types/error.ts";
import type { AnswerRow, CounterfactualRow, FeedbackOutcome, FeedbackRow, RecordStore, StoreState } from "./record.ts";
import type { RecordDatabase } from "./statements.ts";

export interface RecordsWorld {
  /** Lets work go on after the answer has gone out. */
  readonly waitUntil: (work: Promise<unknown>) => void;
  readonly report: (line: string) => void;
}

/** Before each further attempt. */
const pausesMs = [100, 1_000, 5_000];
/** An answer's record may be on its way while its feedback is here already. */
const onItsWayMs = 500;

/** How long feedback is taken, in days, and whether texts are kept. */
export interface IsolateRecordsSettings {
  readonly feedbackDays: number;
  readonly keepsText: boolean;
}

/** Records of one isolate. */
export class IsolateRecords implements RecordStore {
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

  constructor(database: RecordDatabase, { feedbackDays, keepsText }: IsolateRecordsSettings, world: RecordsWorld) {
    this.#database = database;
    this.#feedbackDays = feedbackDays;
    this.#world = world;
    this.keepsText = keepsText;
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
    const attempt = async (): Promise<void> => write(await this.#prepared());
    const onFailure = (error: unknown): void => {
      this.#error = messageOf(error);
    };
    const pauseMs = (failures: number): number => pausesMs[failures - 1] ?? 0;
    try {
      await retry(attempt, { attempts: 1 + pausesMs.length, pauseMs, onFailure });
      this.#written += 1;
      this.#error = null;
    } catch (error) {
      this.#error = messageOf(error);
      this.#lost += 1;
      this.#world.report(`A record could not be written: ${this.#error}`);
    }
  }

  async #call<Result>(ask: (database: RecordDatabase) => Promise<Result>): Promise<Result> {
    try {
      return await ask(await this.#prepared());
    } catch (error) {
      if (isCancellation(error)) throw error;
      throw new GatewayError("records_unavailable", `Records cannot be had now: ${messageOf(error)}. Retry later.`, {
        cause: error,
      });
    }
  }

  /** The tables are there. */
  async #prepared(): Promise<RecordDatabase> {
    if (!this.#isPrepared) await this.#database.migrate();
    this.#isPrepared = true;
    return this.#database;
  }
}
