/** @module What wrangler.toml binds to the worker. Strings among it are settings. */
import type { D1Database, KVNamespace, R2Bucket } from "@cloudflare/workers-types";
import type { KeyUsageStub } from "./key-usage.ts";

export interface Bindings {
  /** Answers, feedback and experiments. */
  readonly RECORDS?: D1Database;
  /** Indexes and embeddings of demonstrations; the bundle of policies, where ICDPO_POLICIES=kv. */
  readonly KEPT?: KVNamespace;
  /** The bundle of policies, where ICDPO_POLICIES=r2. */
  readonly FILES?: R2Bucket;
  /** What each API key has used, one object a key. */
  readonly USAGE?: { getByName(name: string): KeyUsageStub };
}

/** The settings among the bindings. */
export function variablesOf(bindings: object): Record<string, string> {
  return Object.fromEntries(
    Object.entries(bindings).filter((entry): entry is [string, string] => typeof entry[1] === "string"),
  );
}
