/**
 * @module Settings of a worker, from its variables and secrets. Where Node's gateway has them too, they are called and
 * mean the same.
 */
import { z } from "zod";
import { usualUserHeaders } from "../access/user-headers.ts";
import { reasoningWords } from "../gateway/generation.ts";
import { usualEmbeddingNames } from "../retrieval/retriever.ts";
import { GatewayError } from "../types/error.ts";

const positive = z.coerce.number().int().min(1);
const flag = z.enum(["0", "1", "false", "true"]).transform((value) => value === "1" || value === "true");
const list = z.string().transform((text) =>
  text
    .split(",")
    .map((entry) => entry.trim())
    .filter((entry) => entry !== ""),
);

const settingsSchema = z.object({
  ICDPO_ENGINES: z.string().optional(),
  ICDPO_POLICIES: z.enum(["bundled", "kv", "r2"]).default("bundled"),
  ICDPO_RELOAD_MS: z.coerce.number().int().min(0).default(60_000),
  ICDPO_EMBEDDING_URL: z.url().optional(),
  ICDPO_EMBEDDING_MODEL: z.string().min(1).optional(),
  ICDPO_EMBEDDING_KEY: z.string().min(1).optional(),
  ICDPO_EMBEDDING_ALIASES: list.default(usualEmbeddingNames),
  ICDPO_DATABASE: z
    .union([
      z.literal("off"),
      z.string().regex(/^(?:libsql|https?|wss?):/u, "must be the URL of a libSQL server, or off"),
    ])
    .optional(),
  ICDPO_DATABASE_TOKEN: z.string().min(1).optional(),
  ICDPO_KEEP_TEXT: flag.default(false),
  ICDPO_TEXT_DAYS: positive.default(30),
  ICDPO_RECORD_DAYS: positive.default(365),
  ICDPO_FEEDBACK_DAYS: positive.default(7),
  ICDPO_KEYS: z.string().optional(),
  ICDPO_API_KEYS: z.string().optional(),
  ICDPO_ADMIN_KEYS: z.string().optional(),
  ICDPO_REQUESTS_PER_MINUTE: positive.optional(),
  ICDPO_TOKENS_PER_MINUTE: positive.optional(),
  ICDPO_PARALLEL: positive.optional(),
  ICDPO_ALLOW_ANONYMOUS: flag.default(false),
  ICDPO_TENANT: z.enum(["key", "user"]).default("key"),
  ICDPO_TRUST_PROXY: flag.default(false),
  ICDPO_REASONING_FIELD: z.enum(reasoningWords).default("reasoning_content"),
  ICDPO_USER_HEADERS: list.transform((names) => names.map((name) => name.toLowerCase())).default(usualUserHeaders),
  ICDPO_CORS_ORIGINS: list.default([]),
  ICDPO_MAX_N: positive.default(16),
  ICDPO_MAX_REQUESTS: positive.default(64),
  ICDPO_TIMEOUT_MS: positive.default(300_000),
  ICDPO_RETRIEVE_TIMEOUT_MS: positive.default(30_000),
  ICDPO_QUEUE_TIMEOUT_MS: positive.default(120_000),
  ICDPO_PREFILL_TIMEOUT_MS: positive.default(300_000),
  ICDPO_MAX_BODY_BYTES: positive.default(10 * 1024 * 1024),
  ICDPO_MAX_BODIES_BYTES: positive.default(32 * 1024 * 1024),
  ICDPO_SESSION_SECRET: z.string().min(32, "must have at least 32 characters, which nobody can guess").optional(),
  ICDPO_LOG_TEXT: flag.default(false),
});

export type WorkerSettings = z.output<typeof settingsSchema>;

/** Throws "configuration", naming each variable that is wrong. Empty variables count as absent. */
export function readWorkerSettings(variables: Readonly<Record<string, string>>): WorkerSettings {
  const parsed = settingsSchema.safeParse(
    Object.fromEntries(Object.entries(variables).filter(([, value]) => value !== "")),
  );
  if (parsed.success) return parsed.data;
  const complaints = parsed.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
  throw new GatewayError("configuration", `Wrong variables of the worker:\n${complaints.join("\n")}`);
}
