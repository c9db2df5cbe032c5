/** @module API keys: from the text of a keys file, which holds hashes, and from a variable, which holds the keys themselves. */
import { z } from "zod";
import { parseYaml } from "../policy/parse.ts";
import { GatewayError } from "../types/error.ts";
import { type ApiKey, hashKey } from "./access.ts";

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

/** Keys of a file and of a variable (`ICDPO_API_KEYS`: `name=key` or `key`, separated by commas). Throws "configuration", naming file, line and field. */
export async function parseKeys(file: { readonly name: string; readonly text: string } | null, variable: string): Promise<ApiKey[]> {
  const keys = [...(file === null ? [] : fromFile(file.name, file.text)), ...(await fromVariable(variable))];
  const names = keys.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new GatewayError("configuration", `Two API keys are named "${twice}"; give each a name of its own.`);
  return keys;
}

function fromFile(file: string, text: string): ApiKey[] {
  return parseYaml(file, text, keysSchema).keys.map(({ name, hash, routes, limits }) => ({
    name,
    hash: fromHex(hash.slice("sha256:".length)),
    routes: routes === undefined ? null : new Set(routes),
    limits: { requestsPerMinute: limits.requests_per_minute, tokensPerMinute: limits.tokens_per_minute },
  }));
}

function fromHex(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../gu) ?? [], (digits) => Number.parseInt(digits, 16));
}

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
