/** @module Records in libSQL: a local file, or a server by URL. Runs wherever it may block: in the gateway that is a thread of its own. */
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { createClient } from "@libsql/client";
import { RecordDatabase } from "../../experiment/database.ts";

export interface DatabaseOptions {
  /** `file:/path/records.db`, `libsql://…`, `https://…`. */
  readonly url: string;
  readonly authToken?: string | undefined;
}

export class Database extends RecordDatabase {
  /** Makes the file and its tables where there are none. Throws what libSQL throws. */
  static async open({ url, authToken }: DatabaseOptions): Promise<Database> {
    const isLocal = url.startsWith("file:");
    if (isLocal) await mkdir(path.dirname(fileOf(url)), { recursive: true });
    const client = createClient({ url, ...(authToken !== undefined && { authToken }) });
    try {
      if (isLocal) {
        await client.execute("PRAGMA busy_timeout = 2000");
        // Readers do not wait for the writer.
        await client.execute("PRAGMA journal_mode = WAL");
        await client.execute("PRAGMA synchronous = NORMAL");
      }
      const database = new Database(client);
      await database.migrate();
      return database;
    } catch (error) {
      client.close();
      throw error;
    }
  }
}

function fileOf(url: string): string {
  return url.startsWith("file://") ? fileURLToPath(url) : url.slice("file:".length);
}
