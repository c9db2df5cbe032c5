/** @module Cloudflare's D1 as a SQL client. */
import type { D1Database, D1PreparedStatement, D1Result } from "@cloudflare/workers-types";
import type { Row, SqlClient, SqlResult, Statement } from "./sql.ts";

export function d1Client(database: D1Database): SqlClient {
  const prepared = (statement: Statement | string): D1PreparedStatement =>
    typeof statement === "string"
      ? database.prepare(statement)
      : database.prepare(statement.sql).bind(...statement.args);
  return {
    execute: async (statement) => resultOf(await prepared(statement).all<Row>()),
    batch: async (statements) => (await database.batch<Row>(statements.map(prepared))).map(resultOf),
    close() {},
  };
}

function resultOf({ results, meta }: D1Result<Row>): SqlResult {
  return { rows: results, rowsAffected: meta.changes };
}
