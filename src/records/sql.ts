/** @module A SQLite database, wherever it is: libSQL's client is one as it stands, and Cloudflare's D1 is made one. */

/**
 * Of a server's answer to one statement or batch: a report reads some thousand rows, and texts are asked for by the
 * hundred.
 */
export const mostAnswerBytes = 64 * 2 ** 20;

export type SqlValue = string | number | null;

export interface Statement {
  readonly sql: string;
  readonly args: SqlValue[];
}

export type Row = Readonly<Record<string, unknown>>;

export interface SqlResult {
  readonly rows: readonly Row[];
  readonly rowsAffected: number;
}

export interface SqlClient {
  execute(statement: Statement | string): Promise<SqlResult>;
  /** One transaction: all or none, or all of one moment. */
  batch(statements: (Statement | string)[], mode: "write" | "read"): Promise<SqlResult[]>;
  close(): void;
}
