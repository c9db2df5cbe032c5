/**
 * @module Records in libSQL: a local file, or a server by URL. Runs wherever it may block: in the gateway that is a
 * thread of its own.
 */
import { chmod, mkdir, open, readdir, stat } from "node:fs/promises";
import path from "node:path";
import type { Client } from "@libsql/client";
import { type DatabaseAddress, fileOf, openClient } from "./libsql.ts";
import { RecordDatabase } from "./statements.ts";

export interface DatabaseOptions extends DatabaseAddress {
  /** A line for the log; absent: nowhere. */
  readonly report?: ((line: string) => void) | undefined;
}

const pragmas = [
  "busy_timeout = 2000",
  // Readers do not wait for the writer.
  "journal_mode = WAL",
  "synchronous = NORMAL",
  // What is deleted is overwritten.
  "secure_delete = ON",
];
/** `user_version` of a file in which nothing was ever deleted without being overwritten. */
const overwritten = 1;

export class Database extends RecordDatabase {
  readonly #client: Client;
  readonly #isLocal: boolean;

  private constructor(client: Client, isLocal: boolean) {
    super(client);
    this.#client = client;
    this.#isLocal = isLocal;
  }

  /**
   * Makes the file and its tables where there are none; the files are their owner's alone. Throws what libSQL throws.
   */
  static async open({ url, authToken, report = () => {} }: DatabaseOptions): Promise<Database> {
    const file = fileOf(url);
    const isNew = file !== null && (await makeFile(file, report));
    const client = await openClient(
      { url, authToken },
      isNew ? [...pragmas, `user_version = ${overwritten}`] : pragmas,
    );
    try {
      const database = new Database(client, file !== null);
      await database.migrate();
      return database;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /**
   * Leaves nothing of what was deleted in a local file's write-ahead log either. False where somebody was still reading
   * what is older: it is gone with a later purge, or when the last program closes the file. What a server keeps is its
   * own affair.
   */
  async purge(): Promise<boolean> {
    if (!this.#isLocal) return true;
    await this.#overwriteOnce();
    const { rows } = await this.#client.execute("PRAGMA wal_checkpoint(TRUNCATE)");
    return Number(rows[0]?.["busy"]) === 0;
  }

  /**
   * Earlier versions deleted without overwriting: a file of theirs is written anew, without what nobody can read any
   * more. Takes as long as reading it.
   */
  async #overwriteOnce(): Promise<void> {
    const { rows } = await this.#client.execute("PRAGMA user_version");
    if (Number(rows[0]?.["user_version"]) >= overwritten) return;
    await this.#client.execute("VACUUM");
    await this.#client.execute(`PRAGMA user_version = ${overwritten}`);
  }
}

const others = 0o077;

/**
 * Makes the file, or takes others' rights to it, its write-ahead log and a folder that holds nothing else. Whether it
 * is new.
 */
async function makeFile(file: string, report: (line: string) => void): Promise<boolean> {
  const folder = path.dirname(file);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const handle = await open(file, "a", 0o600);
  const { size } = await handle.stat();
  await handle.close();
  const names = await readdir(folder);
  const own = names.filter((name) =>
    [path.basename(file), `${path.basename(file)}-wal`, `${path.basename(file)}-shm`].includes(name),
  );
  const places = own.map((name): [string, number] => [path.join(folder, name), 0o600]);
  // A new database's first pages may stand in its log alone.
  const isNew = size === 0 && own.length === 1;
  if (own.length === names.length) places.push([folder, 0o700]);
  for (const [place, mode] of places)
    await restrict(place, mode).catch((error: Error) =>
      report(`Others may read ${place}, where answers are recorded: ${error.message}`),
    );
  return isNew;
}

async function restrict(place: string, mode: number): Promise<void> {
  const now = await stat(place).catch((error: NodeJS.ErrnoException) => {
    // Another program has just closed it.
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (now !== null && (now.mode & others) !== 0 && process.platform !== "win32") await chmod(place, mode);
}
