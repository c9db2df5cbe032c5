/** @module API keys from a file (hashes) and from a variable (the keys themselves, hashed at once). */
import { randomBytes } from "node:crypto";
import { type ApiKey, hashKey } from "../http/access.ts";
import { parseKeys } from "../http/keys.ts";
import type { Settings } from "./settings.ts";
import { readText } from "./text-files.ts";

const keyBytes = 32;

/** Throws "configuration", naming file, line and field. */
export async function readKeys(settings: Pick<Settings, "ICDPO_KEYS_FILE" | "ICDPO_API_KEYS">): Promise<ApiKey[]> {
  const file = settings.ICDPO_KEYS_FILE;
  return parseKeys(
    file === undefined ? null : { name: file, text: await readText(file, "ICDPO_KEYS_FILE") },
    settings.ICDPO_API_KEYS ?? "",
  );
}

/** A new key, and what the file holds of it. */
export async function createKey(
  name: string,
): Promise<{ readonly key: string; readonly entry: { readonly name: string; readonly hash: string } }> {
  const key = `icdpo_${randomBytes(keyBytes).toString("base64url")}`;
  return { key, entry: { name, hash: `sha256:${Buffer.from(await hashKey(key)).toString("hex")}` } };
}
