/** @module Rows of the database: how records become them, and what is read off them. */
import type { AnswerRow, CounterfactualRow } from "./record.ts";
import type { SqlValue, Statement } from "./sql.ts";

/** One statement for all, since preparing it takes longer than writing a row. */
export function insertAnswers(rows: readonly AnswerRow[]): Statement[] {
  if (rows.length === 0) return [];
  const values = rows.map(valuesOf);
  const list = values.map((row) => `(${row.map(() => "?").join(", ")})`).join(", ");
  const sql = `INSERT INTO answers (${columns.join(", ")}) VALUES ${list} ON CONFLICT (id) DO NOTHING`;
  const texts = rows.flatMap(({ id, at, texts: said }): Statement[] => {
    if (said === null) return [];
    const kept = { sql: "INSERT OR IGNORE INTO texts VALUES (?, ?, ?, ?)", args: [id, at, said.request, said.answers] };
    if (said.settings === undefined) return [kept];
    return [kept, { sql: "INSERT OR IGNORE INTO request_settings VALUES (?, ?, ?)", args: [id, at, said.settings] }];
  });
  return [{ sql, args: values.flat() }, ...texts];
}

const columns = [
  ...["id", "at", "route", "policy", "experiment", "arm", "unit", "shares", "user", "key"],
  ...[
    "latency_ms",
    "prompt_tokens",
    "completion_tokens",
    "work_tokens",
    "candidates",
    "score",
    "margin",
    "finish",
    "fallback",
    "error",
  ],
];

function valuesOf({ shares, ...row }: AnswerRow): SqlValue[] {
  const place = [
    row.id,
    row.at,
    row.route,
    row.policy,
    row.experiment,
    row.arm,
    row.unit,
    shares === null ? null : JSON.stringify(shares),
  ];
  const cost = [row.latencyMs, row.promptTokens, row.completionTokens, row.workTokens, row.candidates];
  return [
    ...place,
    row.user,
    row.key,
    ...cost,
    finite(row.score),
    finite(row.margin),
    row.finish,
    row.fallback,
    row.error,
  ];
}

/** Databases know no infinity: one score that is not a number must not keep all else from being written. */
function finite(value: number | null): number | null {
  return value !== null && Number.isFinite(value) ? value : null;
}

/** None where there is no comparison: a score that is not finite. */
export function insertCounterfactual({ answer, at, score, chosenScore, text: said }: CounterfactualRow): Statement[] {
  if (!Number.isFinite(score) || !Number.isFinite(chosenScore)) return [];
  const sql = "INSERT INTO counterfactuals VALUES (?, ?, ?, ?, ?) ON CONFLICT (answer) DO NOTHING";
  return [{ sql, args: [answer, at, score, chosenScore, said] }];
}

export function text(value: unknown): string | null {
  return value === null || value === undefined ? null : String(value);
}

export function parsed(value: unknown): unknown {
  return typeof value === "string" ? JSON.parse(value) : (value ?? null);
}
