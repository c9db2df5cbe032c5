/** @module Settings from the environment; `.env.example` lists them all. */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { usualUserHeaders } from "../access/user-headers.ts";
import { reasoningWords } from "../gateway/generation.ts";
import { poolings } from "../models/embedding-folder.ts";
import { defaultCacheDirectory } from "../models/model-store.ts";
import { usualEmbeddingNames } from "../retrieval/retriever.ts";
import { GatewayError } from "../types/error.ts";

const port = z.coerce.number().int().min(0).max(65_535);
const positive = z.coerce.number().int().min(1);
const list = z.string().transform((text) =>
  text
    .split(",")
    .map((entry) => entry.trim())
    .filter((entry) => entry !== ""),
);
const headerNames = list.transform((names) => names.map((name) => name.toLowerCase()));
const flag = z.enum(["0", "1", "false", "true"]).transform((value) => value === "1" || value === "true");

const sessionSecret = z.string().min(32, "must have at least 32 characters, which nobody can guess");

const environmentSchema = z.object({
  PORT: port.default(8080),
  HOST: z.string().min(1).default("127.0.0.1"),
  ICDPO_MODEL: z.string().min(1).optional(),
  ICDPO_EMBEDDING_MODEL: z.string().min(1).optional(),
  ICDPO_EMBEDDING_POOLING: z.enum(poolings).optional(),
  ICDPO_EMBEDDING_PREFIX: z.string().default(""),
  ICDPO_EMBEDDING_ALIASES: list.default(usualEmbeddingNames),
  ICDPO_CACHE: z.string().min(1).optional(),
  ICDPO_OFFLINE: flag.default(false),
  ICDPO_ENGINES: z.string().min(1).optional(),
  ICDPO_POLICIES: z.string().min(1).optional(),
  ICDPO_DEMOS: z.string().min(1).optional(),
  ICDPO_RELOAD_MS: z.coerce.number().int().min(0).default(1_000),
  ICDPO_CONTEXT_SIZE: positive.optional(),
  ICDPO_SEQUENCES: positive.optional(),
  ICDPO_THREADS: positive.optional(),
  ICDPO_GPU: z.enum(["auto", "off"]).default("auto"),
  ICDPO_HANG_MS: positive.default(30_000),
  ICDPO_MAX_N: positive.default(16),
  ICDPO_MAX_REQUESTS: positive.default(64),
  ICDPO_TIMEOUT_MS: positive.default(300_000),
  ICDPO_MAX_BODY_BYTES: positive.default(10 * 1024 * 1024),
  ICDPO_MAX_BODIES_BYTES: positive.optional(),
  ICDPO_MAX_CONNECTIONS: positive.default(1_000),
  ICDPO_MAX_CONNECTIONS_PER_ADDRESS: positive.optional(),
  ICDPO_SESSION_SECRET: sessionSecret.optional(),
  ICDPO_KEYS_FILE: z.string().min(1).optional(),
  ICDPO_API_KEYS: z.string().min(1).optional(),
  ICDPO_ADMIN_KEYS: z.string().min(1).optional(),
  ICDPO_REQUESTS_PER_MINUTE: positive.optional(),
  ICDPO_TOKENS_PER_MINUTE: positive.optional(),
  ICDPO_PARALLEL: positive.optional(),
  ICDPO_LIMITS: z.string().min(1).optional(),
  ICDPO_LIMITS_TOKEN: z.string().min(1).optional(),
  ICDPO_ALLOW_ANONYMOUS: flag.default(false),
  ICDPO_TENANT: z.enum(["key", "user"]).default("key"),
  ICDPO_TRUST_PROXY: flag.default(false),
  ICDPO_REASONING_FIELD: z.enum(reasoningWords).default("reasoning_content"),
  ICDPO_USER_HEADERS: headerNames.default(usualUserHeaders),
  ICDPO_CORS_ORIGINS: list.default([]),
  ICDPO_ALLOWED_HOSTS: list.default([]),
  ICDPO_RETRIEVE_TIMEOUT_MS: positive.default(30_000),
  ICDPO_QUEUE_TIMEOUT_MS: positive.default(120_000),
  ICDPO_PREFILL_TIMEOUT_MS: positive.default(300_000),
  ICDPO_DATABASE: z.string().min(1).optional(),
  ICDPO_DATABASE_TOKEN: z.string().min(1).optional(),
  ICDPO_KEEP_TEXT: flag.default(false),
  ICDPO_TEXT_DAYS: positive.default(30),
  ICDPO_RECORD_DAYS: positive.default(365),
  ICDPO_FEEDBACK_DAYS: positive.default(7),
  ICDPO_LOG_LEVEL: z.enum(["debug", "info", "warn", "error", "silent"]).default("info"),
  ICDPO_LOG_FILE: z.string().min(1).optional(),
  ICDPO_LOG_TEXT: flag.default(false),
  ICDPO_REQUEST_TIMEOUT_MS: positive.default(60_000),
  ICDPO_DRAIN_MS: positive.default(30_000),
  HF_ENDPOINT: z.url().optional(),
  HF_TOKEN: z.string().min(1).optional(),
});

export type Settings = z.output<typeof environmentSchema> & {
  readonly cacheDirectory: string;
  /** Bytes of requests' bodies that are held at once. */
  readonly bodiesBytes: number;
  /** Connections of one address. */
  readonly addressConnections: number;
  /** Null: no records are kept. */
  readonly databaseUrl: string | null;
  /** Null: what keys use is counted in this process alone. */
  readonly limitsUrl: string | null;
  /** Null: there is only the embedded engine. */
  readonly enginesFile: string | null;
  readonly policiesDirectory: string;
  readonly demonstrationsDirectory: string;
};

/** Throws "configuration", naming each variable that is wrong. Empty variables count as absent. */
export function readSettings(environment: NodeJS.ProcessEnv, workingDirectory: string): Settings {
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ""));
  const parsed = environmentSchema.safeParse(given);
  if (!parsed.success) {
    const complaints = parsed.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
    throw new GatewayError("configuration", `Wrong settings in the environment:\n${complaints.join("\n")}`);
  }
  const settings = parsed.data;
  if (settings.ICDPO_EMBEDDING_POOLING !== undefined && settings.ICDPO_EMBEDDING_MODEL === undefined)
    throw new GatewayError(
      "configuration",
      "ICDPO_EMBEDDING_POOLING is of a model of your own: set ICDPO_EMBEDDING_MODEL, or leave both unset.",
    );
  return {
    ...settings,
    bodiesBytes: bodiesBytes(settings),
    // One address leaves half of them to others; a trusted proxy is all of them.
    addressConnections:
      settings.ICDPO_MAX_CONNECTIONS_PER_ADDRESS ??
      (settings.ICDPO_TRUST_PROXY ? settings.ICDPO_MAX_CONNECTIONS : Math.ceil(settings.ICDPO_MAX_CONNECTIONS / 2)),
    cacheDirectory: settings.ICDPO_CACHE ?? defaultCacheDirectory(given, process.platform, homedir()),
    databaseUrl: databaseUrl(settings.ICDPO_DATABASE, given),
    limitsUrl: settings.ICDPO_LIMITS === undefined ? null : urlOf(settings.ICDPO_LIMITS),
    enginesFile: settings.ICDPO_ENGINES ?? ownFile("engines.yaml", workingDirectory),
    policiesDirectory: settings.ICDPO_POLICIES ?? ownOrShipped("policies", workingDirectory),
    demonstrationsDirectory: settings.ICDPO_DEMOS ?? ownOrShipped("demos", workingDirectory),
  };
}

const leastBodiesBytes = 128 * 1024 * 1024;

/** One sender has half of it, so that the largest body must fit in there. */
function bodiesBytes({
  ICDPO_MAX_BODIES_BYTES: given,
  ICDPO_MAX_BODY_BYTES: largest,
}: z.output<typeof environmentSchema>): number {
  if (given !== undefined && given < 2 * largest)
    throw new GatewayError(
      "configuration",
      `ICDPO_MAX_BODIES_BYTES must be at least twice ICDPO_MAX_BODY_BYTES (${largest}).`,
    );
  return given ?? Math.max(leastBodiesBytes, 2 * largest);
}

/** The user's folder in the working directory if there is one, else the one that comes with the program. */
function ownOrShipped(folder: string, workingDirectory: string): string {
  const own = path.join(workingDirectory, folder);
  return existsSync(own) ? own : fileURLToPath(new URL(`../../${folder}`, import.meta.url));
}

function ownFile(name: string, workingDirectory: string): string | null {
  const own = path.join(workingDirectory, name);
  return existsSync(own) ? own : null;
}

/** A path is a local file. */
function urlOf(database: string): string {
  return /^(?:file|libsql|https?|wss?):/u.test(database) ? database : `file:${path.resolve(database)}`;
}

/** By default the file lies with the user's other data. */
function databaseUrl(database: string | undefined, environment: NodeJS.ProcessEnv): string | null {
  if (database === "off") return null;
  if (database !== undefined) return urlOf(database);
  const data = process.platform === "win32" ? environment["LOCALAPPDATA"] : environment["XDG_DATA_HOME"];
  return `file:${path.join(data ?? path.join(homedir(), ".local", "share"), "icdpo", "records.db")}`;
}
