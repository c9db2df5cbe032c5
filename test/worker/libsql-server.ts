/**
 * @module A libSQL server over HTTP: of its protocol (Hrana) what clients send to read and to write in transactions,
 * done by a real libSQL file.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type Client, createClient, type InValue, type ResultSet } from "@libsql/client";

interface Value {
  readonly type: "null" | "integer" | "float" | "text";
  readonly value?: string | number;
}

interface Stmt {
  readonly sql?: string;
  /** Of a text that was sent before. */
  readonly sql_id?: number;
  readonly args?: readonly Value[];
}

interface StreamRequest {
  readonly type: string;
  readonly sql?: string;
  readonly sql_id?: number;
  readonly stmt?: Stmt;
  readonly batch?: { readonly steps: readonly { readonly stmt: Stmt }[] };
}

export interface LibsqlServer {
  readonly url: string;
  readonly database: Client;
  close(): void;
}

/** `file:/path/records.db`. Callers must bring the token. */
export async function startLibsqlServer(file: string, token: string): Promise<LibsqlServer> {
  const database = createClient({ url: file });
  let turn: Promise<unknown> = Promise.resolve();
  const server = createServer(async (request, response) => {
    if (request.headers.authorization !== `Bearer ${token}`) return response.writeHead(401).end();
    if (request.method === "GET") return response.end();
    let text = "";
    for await (const piece of request) text += piece;
    const { requests } = JSON.parse(text) as { requests: readonly StreamRequest[] };
    const done = turn.then(async () => {
      const results: unknown[] = [];
      const texts: Texts = new Map();
      for (const one of requests) results.push(await serve(database, one, texts));
      return results;
    });
    turn = done;
    response.setHeader("content-type", "application/json");
    return response.end(JSON.stringify({ baton: null, base_url: null, results: await done }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, database, close: () => server.close(() => database.close()).closeAllConnections() };
}

type Texts = Map<number | undefined, string>;

async function serve(
  database: Client,
  { type, stmt, batch, sql, sql_id }: StreamRequest,
  texts: Texts,
): Promise<unknown> {
  const ok = (response: object) => ({ type: "ok", response: { type, ...response } });
  try {
    if (sql !== undefined) texts.set(sql_id, sql);
    if (stmt !== undefined) return ok({ result: wire(await database.execute(statementOf(stmt, texts))) });
    if (batch !== undefined)
      return ok({
        result: await transact(
          database,
          batch.steps.map((step) => statementOf(step.stmt, texts)),
        ),
      });
    return ok({});
  } catch (error) {
    return { type: "error", error: { message: String(error) } };
  }
}

/** Clients send BEGIN, their statements, COMMIT, and ROLLBACK for where one of them fails. */
async function transact(database: Client, steps: readonly Statement[]) {
  const isControl = ({ sql }: Statement): boolean => /^(?:BEGIN|COMMIT|ROLLBACK)/u.test(sql);
  const none = { cols: [], rows: [], affected_row_count: 0, last_insert_rowid: null };
  const found = await database
    .batch(
      steps.filter((step) => !isControl(step)),
      "write",
    )
    .catch((error: unknown) => String(error));
  if (typeof found === "string")
    return {
      step_results: steps.map(() => null),
      step_errors: steps.map((_, i) => (i === 1 ? { message: found } : null)),
    };
  const results = steps.map((step) => (isControl(step) ? none : wire(found.shift() as ResultSet)));
  return { step_results: results, step_errors: steps.map(() => null) };
}

interface Statement {
  readonly sql: string;
  readonly args: InValue[];
}

function statementOf({ sql, sql_id, args = [] }: Stmt, texts: Texts): Statement {
  return { sql: sql ?? texts.get(sql_id) ?? "", args: args.map(fromWire) };
}

function fromWire({ type, value }: Value): InValue {
  return type === "null" || value === undefined ? null : type === "integer" ? Number(value) : value;
}

function wire({ columns, rows, rowsAffected }: ResultSet) {
  const values = rows.map((row) => columns.map((_, i) => toWire(row[i])));
  return {
    cols: columns.map((name) => ({ name })),
    rows: values,
    affected_row_count: rowsAffected,
    last_insert_rowid: null,
  };
}

function toWire(value: unknown): Value {
  if (value === null || value === undefined) return { type: "null" };
  if (typeof value === "number")
    return Number.isInteger(value) ? { type: "integer", value: String(value) } : { type: "float", value };
  return { type: "text", value: String(value) };
}
