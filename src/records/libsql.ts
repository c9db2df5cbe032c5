/** @module libSQL databases: a local file, or a server by URL. */
import { fileURLToPath } from "node:url";
import { type Client, createClient } from "@libsql/client";
import { boundedFetch } from "../client/bounded-fetch.ts";
import { fetchUnmoved } from "../client/redirect.ts";
import { mostAnswerBytes } from "./sql.ts";

export interface DatabaseAddress {
  /** `file:/path/records.db`, `libsql://…`, `https://…`. */
  readonly url: string;
  readonly authToken?: string | undefined;
}

/** Its path; null where it is a server's. */
export function fileOf(url: string): string | null {
  if (!url.startsWith("file:")) return null;
  return url.startsWith("file://") ? fileURLToPath(url) : url.slice("file:".length);
}

/** `pragmas` are for a local file. Throws what libSQL throws. */
export async function openClient({ url, authToken }: DatabaseAddress, pragmas: readonly string[]): Promise<Client> {
  const isLocal = fileOf(url) !== null;
  const bounded = boundedFetch(fetchUnmoved, { name: "The database", most: mostAnswerBytes });
  // What is said to a local file is said to a connection: there is one.
  const client = createClient({
    url,
    fetch: bounded,
    ...(authToken !== undefined && { authToken }),
    ...(isLocal && { concurrency: 1 }),
  });
  try {
    if (isLocal) for (const pragma of pragmas) await client.execute(`PRAGMA ${pragma}`);
    return client;
  } catch (error) {
    client.close();
    throw error;
  }
}
