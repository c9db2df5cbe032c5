/**
 * @module API keys: from the text of a keys file, which holds hashes, and from variables, which hold the keys
 * themselves.
 */
import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js";
import { z } from "zod";
import { parseYaml } from "../policy/parse.ts";
import { GatewayError } from "../types/error.ts";
import { type ApiKey, hashKey } from "./access.ts";

/** How the keys in force came to be. */
export interface KeysState {
  /** Seconds since 1970. */
  readonly loadedAt: number;
  readonly reloads: number;
  /** What is wrong with the file, so that the keys of an older one are in force. */
  readonly error: string | null;
}

const shortestKey = 16;
const dayMs = 24 * 60 * 60 * 1000;

/** Names stand in logs, metrics and answers. */
const keyName = z
  .string()
  .min(1)
  .max(64)
  .regex(/^\P{Cc}+$/u, "must be on one line, without control characters")
  .refine(isNoKey, "looks like a key; a name is shown in logs and metrics. Choose another one");

const expirySchema = z
  .union(
    [z.iso.date(), z.iso.datetime({ offset: true })],
    "must be a date (2027-01-31, that day included, UTC) or a date and time (2027-01-31T12:00:00Z)",
  )
  .transform((text) => (text.includes("T") ? Date.parse(text) : Date.parse(text) + dayMs));

const headerNames = z
  .array(z.string().regex(/^[\w-]{1,64}$/u, "must be a header's name"))
  .min(1)
  .max(16)
  .transform((names) => names.map((name) => name.toLowerCase()));

const keysSchema = z.strictObject({
  keys: z.array(
    z.strictObject({
      name: keyName,
      hash: z.string().regex(/^sha256:[0-9a-f]{64}$/u, "must be sha256: and 64 hex digits; `icdpo keys new` makes one"),
      routes: z.array(z.string().min(1)).min(1).optional(),
      limits: z
        .strictObject({ requests_per_minute: z.int().min(1).optional(), tokens_per_minute: z.int().min(1).optional() })
        .default({}),
      parallel: z.int().min(1).optional(),
      expires: expirySchema.optional(),
      admin: z.boolean().default(false),
      user_headers: z.union([z.boolean(), headerNames], "must be true, or a list of up to 16 headers").default(false),
    }),
  ),
});

export interface KeySources {
  /** Null: there is none. */
  readonly file: { readonly name: string; readonly text: string } | null;
  /** `ICDPO_API_KEYS`: `name=key` or `key`, separated by commas. */
  readonly variable: string;
  /** `ICDPO_ADMIN_KEYS`, likewise: keys of those who run the gateway. */
  readonly admins: string;
}

/**
 * Null where nobody asks for keys: no file, no variable. Throws "configuration", naming file, line and field, never a
 * key.
 */
export async function parseKeys({ file, variable, admins }: KeySources): Promise<ApiKey[] | null> {
  const keys = [
    ...(file === null ? [] : fromFile(file.name, file.text)),
    ...(await fromVariable("ICDPO_API_KEYS", variable, false)),
    ...(await fromVariable("ICDPO_ADMIN_KEYS", admins, true)),
  ];
  if (file === null && keys.length === 0) return null;
  await checkDistinct(keys);
  return keys;
}

async function checkDistinct(keys: readonly ApiKey[]): Promise<void> {
  const names = new Set<string>();
  const hashes = new Map<string, string>();
  for (const { name, hash } of keys) {
    if (names.has(name))
      throw new GatewayError("configuration", `Two API keys are named "${name}"; give each a name of its own.`);
    names.add(name);
    const other = hashes.get(bytesToHex(hash));
    if (other !== undefined)
      throw new GatewayError(
        "configuration",
        `The API keys "${other}" and "${name}" are the same key: a key has one name, and one entry.`,
      );
    hashes.set(bytesToHex(hash), name);
  }
  for (const [place, { name }] of keys.entries())
    if (hashes.has(bytesToHex(await hashKey(name))))
      throw new GatewayError(
        "configuration",
        `The name of API key ${place + 1} is a key itself. Choose another name, and another key.`,
      );
}

/**
 * Whether a name is none that `icdpo keys new` or another service makes as a key: long, and letters and digits mixed at
 * random.
 */
export function isNoKey(name: string): boolean {
  if (/^(?:icdpo_|sk-)/u.test(name)) return false;
  const changes = name.match(/[a-z](?=\d)|\d(?=[a-z])/giu)?.length ?? 0;
  return name.length < shortestKey || changes < mostChanges;
}

/** From letters to digits and back. */
const mostChanges = 4;

function fromFile(file: string, text: string): ApiKey[] {
  return parseYaml(file, text, keysSchema).keys.map(({ name, hash, routes, limits, parallel, expires, ...key }) => ({
    name,
    hash: hexToBytes(hash.slice("sha256:".length)),
    routes: routes === undefined ? null : new Set(routes),
    limits: { requestsPerMinute: limits.requests_per_minute, tokensPerMinute: limits.tokens_per_minute, parallel },
    admin: key.admin,
    ...(key.user_headers !== false && { userHeaders: key.user_headers }),
    ...(expires !== undefined && { expires }),
  }));
}

async function fromVariable(variable: string, text: string, admin: boolean): Promise<ApiKey[]> {
  const entries = text
    .split(",")
    .map((entry) => entry.trim())
    .filter((entry) => entry !== "");
  return Promise.all(
    entries.map(async (entry, i) => {
      const [, given, key = ""] = /^(?:([\w.-]{1,64})=)?(.+)$/u.exec(entry) ?? [];
      const place = `${variable}: entry ${i + 1}`;
      // Keys may hold "=", and may be written where the name belongs: it is not told then.
      if (given !== undefined && !isNoKey(given))
        throw new GatewayError(
          "configuration",
          `${place} has a name that looks like a key. Write name=key; names are shown in logs and metrics.`,
        );
      if (key.length < shortestKey || /\s/u.test(key))
        throw new GatewayError(
          "configuration",
          `${place} must be a key of at least ${shortestKey} characters, without spaces.`,
        );
      return {
        name: given ?? `${admin ? "admin" : "key"}-${i + 1}`,
        hash: await hashKey(key),
        routes: null,
        limits: {},
        admin,
      };
    }),
  );
}
