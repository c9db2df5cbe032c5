/** @module API keys from a file (hashes) and from a variable (the keys themselves, hashed at once). */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { type ApiKey, hashKey } from "../http/access.ts";
import { parseYaml } from "../policy/parse.ts";
import { GatewayError } from "../types/error.ts";
import type { Settings } from "./settings.ts";

const keyBytes = 32;
const shortestKey = 16;

const keysSchema = z.strictObject({
  keys: z.array(
    z.strictObject({
      name: z.string().min(1).max(64),
      hash: z.string().regex(/^sha256:[0-9a-f]{64}$/u, "must be sha256: and 64 hex digits; `icdpo keys new` makes one"),
      routes: z.array(z.string().min(1)).min(1).optional(),
      limits: z.strictObject({ requests_per_minute: z.int().min(1).optional(), tokens_per_minute: z.int().min(1).optional() }).default({}),
    }),
  ),
});

/** Throws "configuration", naming file, line and field. */
export async function readKeys(settings: Pick<Settings, "ICDPO_KEYS_FILE" | "ICDPO_API_KEYS">): Promise<ApiKey[]> {
  const keys = [...(await fromFile(settings.ICDPO_KEYS_FILE)), ...(await fromVariable(settings.ICDPO_API_KEYS ?? ""))];
  const names = keys.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new GatewayError("configuration", `Two API keys are named "${twice}"; give each a name of its own.`);
  return keys;
}

async function fromFile(file: string | undefined): Promise<ApiKey[]> {
  if (file === undefined) return [];
  const text = await readFile(file, "utf8").catch((error: Error) => {
    throw new GatewayError("configuration", `ICDPO_KEYS_FILE cannot be read: ${error.message}`, { cause: error });
  });
  return parseYaml(file, text, keysSchema).keys.map(({ name, hash, routes, limits }) => ({
    name,
    hash: Uint8Array.from(Buffer.from(hash.slice("sha256:".length), "hex")),
    routes: routes === undefined ? null : new Set(routes),
    limits: { requestsPerMinute: limits.requests_per_minute, tokensPerMinute: limits.tokens_per_minute },
  }));
}

/** `name=key` or `key`, separated by commas. */
async function fromVariable(text: string): Promise<ApiKey[]> {
  const entries = text
    .split(",")
    .map((entry) => entry.trim())
    .filter((entry) => entry !== "");
  return Promise.all(
    entries.map(async (entry, i) => {
      const [, name = `key-${i + 1}`, key = ""] = /^(?:([\w.-]{1,64})=)?(.+)$/u.exec(entry) ?? [];
      if (key.length < shortestKey || /\s/u.test(key))
        throw new GatewayError(
          "configuration",
          `ICDPO_API_KEYS: the key "${name}" must have at least ${shortestKey} characters, and no spaces.`,
        );
      return { name, hash: await hashKey(key), routes: null, limits: {} };
    }),
  );
}

/** A new key, and what the file holds of it. */
export async function createKey(
  name: string,
): Promise<{ readonly key: string; readonly entry: { readonly name: string; readonly hash: string } }> {
  const key = `icdpo_${randomBytes(keyBytes).toString("base64url")}`;
  return { key, entry: { name, hash: `sha256:${Buffer.from(await hashKey(key)).toString("hex")}` } };
}
