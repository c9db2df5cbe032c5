/**
 * @module What each key has used in a minute, counted in one libSQL database for several gateways. Where it is away,
 * each counts by itself.
 */
import { mkdir, open } from "node:fs/promises";
import path from "node:path";
import type { Client, ResultSet } from "@libsql/client";
import { inTime } from "../async/pause.ts";
import { type DatabaseAddress, fileOf, openClient } from "../records/libsql.ts";
import type { Report } from "../types/operator.ts";
import type { Count, LimitKind, UsageCounts, Uses } from "./key-limits.ts";
import { MemoryCounts } from "./minute-counts.ts";

export interface SharedCountsOptions extends DatabaseAddress {
  /**
   * Milliseconds: a gateway may end without saying that its requests have. None is taken to be under way for longer.
   */
  readonly longestMs: number;
  readonly report: Report;
}

export type Counts = { readonly [Kind in LimitKind]?: Count };

const minuteMs = 60_000;
/** Whoever waits longer for a count is better off with a gateway's own. */
const patienceMs = 1_000;
/** A local file that another program holds stops all requests meanwhile. */
const busyMs = 200;
/** A database that failed is asked again after this. */
const pauseMs = 5_000;

/** A lost minute's counts are not worth waiting for the disk. */
const pragmas = [`busy_timeout = ${busyMs}`, "journal_mode = WAL", "synchronous = OFF"];

/** The database's own clock, in milliseconds: those of gateways differ. */
const now = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";
const tables = [
  "CREATE TABLE IF NOT EXISTS key_usage (name TEXT NOT NULL, kind TEXT NOT NULL, used INTEGER NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (name, kind))",
  "CREATE TABLE IF NOT EXISTS key_requests (name TEXT NOT NULL, request TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (name, request))",
];

class DatabaseCounts implements UsageCounts {
  readonly #client: Client;
  readonly #longestMs: number;

  constructor(client: Client, longestMs: number) {
    this.#client = client;
    this.#longestMs = longestMs;
  }

  async add(name: string, uses: Uses): Promise<Counts> {
    const kinds = (["requests", "tokens"] as const).filter((kind) => uses[kind] !== undefined);
    const statements = kinds.map((kind) => ({
      sql: `INSERT INTO key_usage VALUES (?, ?, ?, ${now} + ${minuteMs}) ON CONFLICT (name, kind) DO UPDATE SET
        used = CASE WHEN until <= ${now} THEN excluded.used ELSE used + excluded.used END,
        until = CASE WHEN until <= ${now} THEN excluded.until ELSE until END
        RETURNING used, until, until - ${now} AS left`,
      args: [name, kind, uses[kind] ?? 0],
    }));
    const results = await this.#client.batch(statements, "write");
    return Object.fromEntries(kinds.map((kind, i) => [kind, countOf(results[i] as ResultSet)]));
  }

  async giveBack(name: string, tokens: number, minute: number): Promise<void> {
    const sql = `UPDATE key_usage SET used = used - ? WHERE name = ? AND kind = 'tokens' AND until = ? AND until > ${now}`;
    await this.#client.execute({ sql, args: [tokens, name, minute] });
  }

  async enter(name: string, request: string, most: number): Promise<boolean> {
    const sql = `INSERT INTO key_requests SELECT ?, ?, ${now} + ? WHERE (SELECT count(*) FROM key_requests WHERE name = ?) < ?`;
    const old = { sql: `DELETE FROM key_requests WHERE name = ? AND until <= ${now}`, args: [name] };
    const [, entered] = await this.#client.batch(
      [old, { sql, args: [name, request, this.#longestMs, name, most] }],
      "write",
    );
    return entered?.rowsAffected === 1;
  }

  async leave(name: string, request: string): Promise<void> {
    await this.#client.execute({
      sql: "DELETE FROM key_requests WHERE name = ? AND request = ?",
      args: [name, request],
    });
  }
}

function countOf({ rows }: ResultSet): Count {
  const [row] = rows;
  if (row === undefined) throw new Error("the database told no count");
  return { used: Number(row["used"]), minute: Number(row["until"]), msLeft: Math.max(0, Number(row["left"])) };
}

/**
 * Neither lets everything through nor nothing while the database is away: each gateway counts by itself then, as
 * without it. What was counted in one place is given back there only.
 */
export class SharedCounts implements UsageCounts {
  readonly #client: Client;
  readonly #shared: UsageCounts;
  readonly #own = new MemoryCounts();
  readonly #report: Report;
  /** Requests under way that only this gateway counts. */
  readonly #ownRequests = new Set<string>();
  #isPrepared = false;
  #failedAt: number | null = null;

  private constructor(client: Client, { longestMs, report }: SharedCountsOptions) {
    this.#client = client;
    this.#shared = new DatabaseCounts(client, longestMs);
    this.#report = report;
  }

  /**
   * Makes a file where there is none; throws what libSQL throws where it cannot be had. A server that is away is asked
   * again, as later on.
   */
  static async open(options: SharedCountsOptions): Promise<SharedCounts> {
    const file = fileOf(options.url);
    if (file !== null) await makeFile(file);
    const client = await openClient(options, pragmas);
    const counts = new SharedCounts(client, options);
    try {
      if (file !== null) await counts.#prepare();
      else await counts.#ask(async () => {});
      return counts;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  async add(name: string, uses: Uses): Promise<Counts> {
    const shared = await this.#ask((counts) => counts.add(name, uses));
    return shared ?? ownMinutes(await this.#own.add(name, uses));
  }

  async giveBack(name: string, tokens: number, minute: number): Promise<void> {
    if (minute < 0) await this.#own.giveBack(name, tokens, -minute);
    else await this.#ask((counts) => counts.giveBack(name, tokens, minute));
  }

  async enter(name: string, request: string, most: number): Promise<boolean> {
    const shared = await this.#ask((counts) => counts.enter(name, request, most));
    if (shared !== undefined) return shared;
    this.#ownRequests.add(request);
    return this.#own.enter(name, request, most);
  }

  async leave(name: string, request: string): Promise<void> {
    if (this.#ownRequests.delete(request)) await this.#own.leave(name, request);
    // Also where this gateway counted: the database may have taken it down after all, too late to say so.
    await this.#ask((counts) => counts.leave(name, request));
  }

  close(): void {
    this.#client.close();
  }

  /** Makes the tables where there are none. */
  async #prepare(): Promise<void> {
    if (this.#isPrepared) return;
    for (const table of tables) await this.#client.execute(table);
    this.#isPrepared = true;
  }

  /** Undefined where the database cannot be asked now. Never throws. */
  async #ask<Result>(question: (counts: UsageCounts) => Promise<Result>): Promise<Result | undefined> {
    if (this.#failedAt !== null && performance.now() - this.#failedAt < pauseMs) return undefined;
    try {
      const answer = await inTime(
        this.#prepare().then(() => question(this.#shared)),
        patienceMs,
        tooLate,
      );
      if (this.#failedAt !== null) this.#report("limits: the database answers again; all gateways count together");
      this.#failedAt = null;
      return answer;
    } catch (error) {
      if (this.#failedAt === null)
        this.#report(`limits: the database cannot be asked, and each gateway counts by itself: ${error}`);
      this.#failedAt = performance.now();
      return undefined;
    }
  }
}

/** Minutes of this gateway's own have negative names, so that they are told from the database's. */
function ownMinutes(counts: Counts): Counts {
  return Object.fromEntries(Object.entries(counts).map(([kind, count]) => [kind, { ...count, minute: -count.minute }]));
}

function tooLate(): never {
  throw new Error(`no answer within ${patienceMs} ms`);
}

/** Its owner's alone. */
async function makeFile(file: string): Promise<void> {
  await mkdir(path.dirname(path.resolve(file)), { recursive: true, mode: 0o700 });
  await (await open(file, "a", 0o600)).close();
}
