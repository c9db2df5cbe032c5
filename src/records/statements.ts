/**
 * @module The statements by which records are kept and read, in SQLite's words. Where the database is, is its client's
 * concern.
 */
import { type ExperimentDescription, type ExperimentReport, reportExperiment } from "../experiment/report.ts";
import { type DeclaredMetrics, mostMetrics, refusalOf } from "../policy/feedback-metrics.ts";
import { GatewayError } from "../types/error.ts";
import { deleteStatements, forgottenTables, forgottenTriggers, tombstone } from "./forget.ts";
import { readTotals } from "./read-totals.ts";
import type { AnswerRow, CounterfactualRow, FeedbackOutcome, FeedbackRow } from "./record.ts";
import { insertAnswers, insertCounterfactual, parsed, text } from "./rows.ts";
import type { SqlClient } from "./sql.ts";
import { countUncounted, totalsTables, totalsTriggers } from "./totals.ts";

const dayMs = 24 * 60 * 60 * 1000;
/** What is on its way when a user is forgotten has come by then, or never will. */
const rememberedDays = 7;
/** Answers deleted at once: others may write in between. */
const portion = 500;

/** Each is run once, in order; the table `migrations` counts them. */
export const migrations: readonly (readonly string[])[] = [
  [
    `CREATE TABLE answers (
      id TEXT PRIMARY KEY, at INTEGER NOT NULL, route TEXT NOT NULL, policy TEXT NOT NULL,
      experiment TEXT, arm TEXT, unit TEXT, shares TEXT, user TEXT, key TEXT,
      latency_ms REAL NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, work_tokens INTEGER NOT NULL,
      candidates INTEGER NOT NULL, score REAL, margin REAL, finish TEXT, fallback TEXT, error TEXT)`,
    "CREATE INDEX answers_by_experiment ON answers (experiment, at)",
    "CREATE INDEX answers_by_time ON answers (at)",
    "CREATE INDEX answers_by_user ON answers (user)",
    "CREATE TABLE texts (answer TEXT PRIMARY KEY, at INTEGER NOT NULL, request TEXT NOT NULL, answers TEXT NOT NULL)",
    "CREATE INDEX texts_by_time ON texts (at)",
    `CREATE TABLE feedback (answer TEXT NOT NULL, metric TEXT NOT NULL, value REAL NOT NULL, comment TEXT, at INTEGER NOT NULL,
      PRIMARY KEY (answer, metric))`,
    "CREATE TABLE counterfactuals (answer TEXT PRIMARY KEY, at INTEGER NOT NULL, score REAL NOT NULL, chosen_score REAL NOT NULL, text TEXT)",
    `CREATE TABLE judgements (answer TEXT NOT NULL, judge TEXT NOT NULL, experiment TEXT NOT NULL, arm TEXT NOT NULL, other TEXT NOT NULL,
      value REAL NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (answer, judge, other))`,
  ],
  [...totalsTables, ...totalsTriggers],
  // A table of its own: gateways of the version before may still be writing to the others.
  [
    "CREATE TABLE request_settings (answer TEXT PRIMARY KEY, at INTEGER NOT NULL, settings TEXT NOT NULL)",
    "CREATE INDEX request_settings_by_time ON request_settings (at)",
  ],
  [...forgottenTables, ...forgottenTriggers],
  // Values out of a metric's range are found without looking at all.
  ["CREATE INDEX feedback_by_value ON feedback (metric, value)"],
];

/** A judge's opinion of an answer beside another arm's to the same request: 1 win, 0.5 tie, 0 lose. */
export interface JudgementRow {
  readonly answer: string;
  readonly judge: string;
  readonly experiment: string;
  readonly arm: string;
  readonly other: string;
  readonly value: number;
  readonly at: number;
}

/** An answer with its texts and what was said of it. */
export interface RecordedAnswer {
  readonly id: string;
  readonly at: number;
  readonly route: string;
  readonly policy: string;
  readonly experiment: string | null;
  readonly arm: string | null;
  readonly unit: string | null;
  readonly request: unknown;
  /** What the request says beside its messages; null where that was not recorded. */
  readonly settings: unknown;
  readonly answers: unknown;
  readonly rating: number | null;
  readonly counterfactual: string | null;
}

export class RecordDatabase {
  readonly #client: SqlClient;

  constructor(client: SqlClient) {
    this.#client = client;
  }

  /**
   * Makes the tables where there are none; somebody else may be making them at the same time. Throws what the client
   * throws.
   */
  async migrate(): Promise<void> {
    await this.#client.execute("CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY)");
    for (let number = await this.#migrated(); number < migrations.length; number++) {
      const statements = [...(migrations[number] ?? []), { sql: "INSERT INTO migrations VALUES (?)", args: [number] }];
      await this.#client.batch(statements, "write").catch(async (error: unknown) => {
        if ((await this.#migrated()) <= number) throw error;
      });
    }
  }

  async #migrated(): Promise<number> {
    const { rows } = await this.#client.execute("SELECT count(*) AS done FROM migrations");
    return Number(rows[0]?.["done"] ?? 0);
  }

  /** All or none. */
  async write(answers: readonly AnswerRow[], counterfactuals: readonly CounterfactualRow[]): Promise<void> {
    const statements = [...insertAnswers(answers), ...counterfactuals.flatMap(insertCounterfactual)];
    if (statements.length > 0) await this.#client.batch(statements, "write");
  }

  /**
   * For answers that are not older than `days`, and were given to the same key. `declared`: what may be said; null: the
   * caller has seen to that.
   */
  async feedback(
    row: FeedbackRow,
    key: string | null,
    days: number,
    declared: DeclaredMetrics | null = null,
  ): Promise<FeedbackOutcome> {
    // Of what was declared once and is no more there may be rows.
    const others = "(SELECT count(*) FROM feedback WHERE answer = ?1 AND metric <> ?2)";
    const { rows } = await this.#client.execute({
      sql: `SELECT at, key, experiment, ${others} AS others FROM answers WHERE id = ?1`,
      args: [row.answer, row.metric],
    });
    const [answer] = rows;
    if (answer === undefined || text(answer["key"]) !== key) return "unknown";
    if (Number(answer["at"]) < row.at - days * dayMs) return "expired";
    const refusal = declared && refusalOf(declared, text(answer["experiment"]), row);
    if (refusal !== null) return refusal;
    if (Number(answer["others"]) >= mostMetrics)
      return {
        param: "metric",
        message: `Feedback says ${mostMetrics} other things of this answer already, and there are no more.`,
      };
    await this.#client.execute({
      sql: `INSERT INTO feedback SELECT ?1, ?2, ?3, ?4, ?5 WHERE ${others} < ${mostMetrics}
        ON CONFLICT (answer, metric) DO UPDATE SET value = excluded.value, comment = excluded.comment, at = excluded.at
        WHERE value <> excluded.value OR comment IS NOT excluded.comment`,
      args: [row.answer, row.metric, row.value, row.comment, row.at],
    });
    return "kept";
  }

  async judgement(row: JudgementRow): Promise<void> {
    await this.#client.execute({
      sql: `INSERT INTO judgements VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (answer, judge, other) DO UPDATE SET experiment = excluded.experiment, arm = excluded.arm, value = excluded.value, at = excluded.at`,
      args: [row.answer, row.judge, row.experiment, row.arm, row.other, row.value, row.at],
    });
  }

  async judgements(
    experiment: string,
    judge?: string,
  ): Promise<(JudgementRow & { readonly unit: string; readonly answeredAt: number })[]> {
    const { rows } = await this.#client.execute({
      sql: `SELECT j.*, a.unit, a.at AS answered_at FROM judgements j JOIN answers a ON a.id = j.answer
        WHERE j.experiment = ? AND (? IS NULL OR j.judge = ?) ORDER BY j.at, j.rowid`,
      args: [experiment, judge ?? null, judge ?? null],
    });
    return rows.map((row) => ({
      answer: String(row["answer"]),
      judge: String(row["judge"]),
      experiment,
      arm: String(row["arm"]),
      other: String(row["other"]),
      value: Number(row["value"]),
      at: Number(row["at"]),
      unit: String(row["unit"]),
      answeredAt: Number(row["answered_at"]),
    }));
  }

  /**
   * What was recorded before there were totals is counted first. Throws "cancelled" between two steps where nobody
   * waits any more.
   */
  async report(experiment: ExperimentDescription, signal?: AbortSignal): Promise<ExperimentReport> {
    const stopIfAbandoned = (): void => {
      if (signal?.aborted) throw new GatewayError("cancelled", "Nobody waits for the report any more.");
    };
    stopIfAbandoned();
    while (await this.count()) stopIfAbandoned();
    return reportExperiment(
      experiment,
      await readTotals(this.#client, experiment.name, experiment.ranges, stopIfAbandoned),
    );
  }

  /** Counts some of what was recorded before there were totals. Whether some is left. */
  count(): Promise<boolean> {
    return countUncounted(this.#client);
  }

  /** Experiments that have records, whether or not a route still has them. */
  async experiments(): Promise<string[]> {
    const { rows } = await this.#client.execute(
      "SELECT DISTINCT experiment FROM answers WHERE experiment IS NOT NULL ORDER BY experiment",
    );
    return rows.map((row) => String(row["experiment"]));
  }

  /** Rows of an experiment as they were written, in portions, oldest first. */
  async *answers(experiment: string): AsyncGenerator<Readonly<Record<string, unknown>>> {
    const portion = 1_000;
    for (let last = 0; ; ) {
      const { rows } = await this.#client.execute({
        sql: `SELECT a.rowid AS number, a.*, (SELECT json_group_object(metric, value) FROM feedback WHERE answer = a.id) AS feedback,
          c.score AS counterfactual_score FROM answers a LEFT JOIN counterfactuals c ON c.answer = a.id
          WHERE a.experiment = ? AND a.rowid > ? ORDER BY a.rowid LIMIT ?`,
        args: [experiment, last, portion],
      });
      for (const row of rows) {
        const { number, member, shares, feedback, ...rest } = { ...row } as Record<string, unknown>;
        yield { ...rest, shares: parsed(shares), feedback: parsed(feedback) };
      }
      if (rows.length < portion) return;
      last = Number(rows.at(-1)?.["number"]);
    }
  }

  /** Answers whose texts were kept, newest first. */
  async texts(filter: {
    readonly since: number;
    readonly ratingAtMost?: number;
    readonly experiment?: string;
    readonly limit: number;
  }) {
    const { rows } = await this.#client.execute({
      sql: `SELECT a.id, a.at, a.route, a.policy, a.experiment, a.arm, a.unit, t.request, s.settings, t.answers, f.value AS rating, c.text AS counterfactual
        FROM answers a JOIN texts t ON t.answer = a.id LEFT JOIN request_settings s ON s.answer = a.id
        LEFT JOIN feedback f ON f.answer = a.id AND f.metric = 'rating' LEFT JOIN counterfactuals c ON c.answer = a.id
        WHERE a.at >= ?1 AND a.error IS NULL AND (?2 IS NULL OR f.value <= ?2) AND (?3 IS NULL OR (a.experiment = ?3 AND a.arm IS NOT NULL))
        ORDER BY a.at DESC LIMIT ?4`,
      args: [filter.since, filter.ratingAtMost ?? null, filter.experiment ?? null, filter.limit],
    });
    return rows.map(
      (row): RecordedAnswer => ({
        id: String(row["id"]),
        at: Number(row["at"]),
        route: String(row["route"]),
        policy: String(row["policy"]),
        experiment: text(row["experiment"]),
        arm: text(row["arm"]),
        unit: text(row["unit"]),
        request: parsed(row["request"]),
        settings: parsed(row["settings"]),
        answers: parsed(row["answers"]),
        rating: row["rating"] === null ? null : Number(row["rating"]),
        counterfactual: text(row["counterfactual"]),
      }),
    );
  }

  /** Texts that are older go. */
  async expireTexts(now: number, days: number): Promise<void> {
    const before = now - days * dayMs;
    await this.#client.batch(
      [
        { sql: "DELETE FROM texts WHERE at < ?", args: [before] },
        { sql: "DELETE FROM request_settings WHERE at < ?", args: [before] },
        { sql: "UPDATE counterfactuals SET text = NULL WHERE at < ? AND text IS NOT NULL", args: [before] },
        { sql: "UPDATE feedback SET comment = NULL WHERE at < ? AND comment IS NOT NULL", args: [before] },
      ],
      "write",
    );
  }

  /** Some of the records that are older go. Whether more may be left. */
  async expireRecords(now: number, days: number): Promise<boolean> {
    const before = now - days * dayMs;
    await this.#client.batch(
      [
        { sql: "UPDATE periods SET since = ? WHERE since < ?", args: [before, before] },
        { sql: "DELETE FROM forgotten WHERE at < ?", args: [now - rememberedDays * dayMs] },
      ],
      "write",
    );
    return (await this.#delete("at < ? ORDER BY at", before)) === portion;
  }

  /**
   * Everything of one user, by pseudonym, whose request began at `now` or before: what is still on its way, in whatever
   * gateway, is not taken any more. Returns how many answers there were.
   */
  async forget(user: string, now: number): Promise<number> {
    await this.#client.execute({ sql: tombstone("?1", "?2"), args: [user, now] });
    let deleted = 0;
    for (let last = portion; last === portion; deleted += last) last = await this.#delete("user = ?", user);
    return deleted;
  }

  /** Some answers with all that belongs to them. Returns how many. */
  async #delete(which: string, value: string | number): Promise<number> {
    const statements = deleteStatements(`SELECT id FROM answers WHERE ${which} LIMIT ${portion}`);
    const results = await this.#client.batch(
      statements.map((sql) => ({ sql, args: [value] })),
      "write",
    );
    return results.at(-1)?.rowsAffected ?? 0;
  }

  close(): void {
    this.#client.close();
  }
}
