/** @module Records in libSQL: a local file, or a server by URL. Runs wherever it may block: in the gateway that is a thread of its own. */
import { mkdir, open } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type Client, createClient } from "@libsql/client";
import { RecordDatabase } from "../../experiment/database.ts";

export interface DatabaseOptions {
  /** `file:/path/records.db`, `libsql://…`, `https://…`. */
  readonly url: string;
  readonly authToken?: string | undefined;
}

export class Database extends RecordDatabase {
  readonly #client: Client;
  readonly #isLocal: boolean;

  private constructor(client: Client, isLocal: boolean) {
    super(client);
    this.#client = client;
    this.#isLocal = isLocal;
  }

  /** Makes the file and its tables where there are none; what it makes is its owner's alone. Throws what libSQL throws. */
  static async open({ url, authToken }: DatabaseOptions): Promise<Database> {
    const isLocal = url.startsWith("file:");
    if (isLocal) await makeFile(fileOf(url));
    const client = createClient({ url, ...(authToken !== undefined && { authToken }) });
    try {
      if (isLocal) {
        await client.execute("PRAGMA busy_timeout = 2000");
        // Readers do not wait for the writer.
        await client.execute("PRAGMA journal_mode = WAL");
        await client.execute("PRAGMA synchronous = NORMAL");
        // What is deleted is overwritten.
        await client.execute("PRAGMA secure_delete = ON");
      }
      const database = new Database(client, isLocal);
      await database.migrate();
      return database;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /**
   * Leaves nothing of what was deleted in a local file's write-ahead log either. False where somebody was still reading what is older: it is gone
   * with a later purge, or when the last program closes the file. What a server keeps is its own affair.
   */
  async purge(): Promise<boolean> {
    if (!this.#isLocal) return true;
    const { rows } = await this.#client.execute("PRAGMA wal_checkpoint(TRUNCATE)");
    return Number(rows[0]?.["busy"]) === 0;
  }
}

/** The file's write-ahead log takes its mode. */
async function makeFile(file: string): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  await (await open(file, "a", 0o600)).close();
}

function fileOf(url: string): string {
  return url.startsWith("file://") ? fileURLToPath(url) : url.slice("file:".length);
}
