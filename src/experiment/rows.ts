/** @module Rows of the database: how records become them, and what is read off them. */
import type { AnswerRow, CounterfactualRow } from "./record.ts";
import type { Arrival, Observation } from "./report.ts";
import type { Row, SqlValue, Statement } from "./sql.ts";

export function insertAnswer(row: AnswerRow): Statement[] {
  const { texts, shares, ...columns } = row;
  const values: SqlValue[] = [
    columns.id,
    columns.at,
    columns.route,
    columns.policy,
    columns.experiment,
    columns.arm,
    columns.unit,
    shares === null ? null : JSON.stringify(shares),
    columns.user,
    columns.key,
    columns.latencyMs,
    columns.promptTokens,
    columns.completionTokens,
    columns.workTokens,
    columns.candidates,
    columns.score,
    columns.margin,
    columns.finish,
    columns.fallback,
    columns.error,
  ];
  return [
    { sql: `INSERT OR IGNORE INTO answers VALUES (${values.map(() => "?").join(", ")})`, args: values },
    ...(texts === null
      ? []
      : [
          { sql: "INSERT OR IGNORE INTO texts VALUES (?, ?, ?, ?)", args: [row.id, row.at, texts.request, texts.answers] },
          ...(texts.settings === undefined
            ? []
            : [{ sql: "INSERT OR IGNORE INTO request_settings VALUES (?, ?, ?)", args: [row.id, row.at, texts.settings] }]),
        ]),
  ];
}

export function insertCounterfactual({ answer, at, score, chosenScore, text: said }: CounterfactualRow): Statement {
  return { sql: "INSERT OR IGNORE INTO counterfactuals VALUES (?, ?, ?, ?, ?)", args: [answer, at, score, chosenScore, said] };
}

export function arrival(row: Row): Arrival {
  return {
    at: Number(row["at"]),
    unit: String(row["unit"]),
    arm: String(row["arm"]),
    policy: String(row["policy"]),
    shares: parsed(row["shares"]) as Record<string, number>,
  };
}

/** The error of an answer for which its client did not wait. */
const leftCode = "request_cancelled";

/** What every answer tells by itself. A client that leaves is no failure. Of what failed, or was left, neither time nor length nor score is known. */
export function measured(row: Row): Observation[] {
  const { error } = row;
  const ends = [
    observation(row, "error", error === null || error === leftCode ? 0 : 1),
    observation(row, "left", error === leftCode ? 1 : 0),
  ];
  if (error !== null) return ends;
  const score = row["score"] === null ? [] : [observation(row, "score", Number(row["score"]))];
  const costs = ["latency_ms", "completion_tokens", "work_tokens"].map((column) => observation(row, column, Number(row[column])));
  return [...ends, ...costs, ...score];
}

export function observation(row: Row, metric: string, value: number): Observation {
  const at = Number(row["at"]);
  return { at, answeredAt: Number(row["answered_at"] ?? at), unit: String(row["unit"]), arm: String(row["arm"]), metric, value };
}

export function text(value: unknown): string | null {
  return value === null || value === undefined ? null : String(value);
}

export function parsed(value: unknown): unknown {
  return typeof value === "string" ? JSON.parse(value) : (value ?? null);
}
