/**
 * @module Policies, routes, demonstrations and engines in one JSON text, built into the worker, or kept in KV or R2:
 * read whole or not at all.
 */
import { z } from "zod";
import { type PolicyFiles, textFile } from "../policy/parsed-policies.ts";
import { GatewayError } from "../types/error.ts";
import type { Bindings } from "./bindings.ts";
import type { WorkerSettings } from "./variables.ts";

const texts = z.record(z.string(), z.string());

/** Files by name without extension, as `icdpo bundle` writes them. */
const bundleSchema = z.strictObject({
  /** The gateway's. */
  version: z.string(),
  policies: texts,
  routes: z.string(),
  demonstrations: texts,
  /** The engines file, where there is one. */
  engines: z.string().optional(),
});

export type Bundle = z.output<typeof bundleSchema>;

/** Its name in KV and R2. */
export const bundleName = "bundle.json";

/** Throws "configuration". */
export function parseBundle(place: string, json: unknown): Bundle {
  const parsed = bundleSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const complaints = parsed.error.issues.map((issue) => `${place}: ${issue.path.join(".")}: ${issue.message}`);
  throw new GatewayError("configuration", [...complaints, "Make it anew with `icdpo bundle`."].join("\n"));
}

export function policyFiles({ policies, routes, demonstrations }: Bundle): PolicyFiles {
  const sets = Object.entries(demonstrations).map(([name, text]) => [name, textFile(text)] as const);
  return { policies: new Map(Object.entries(policies)), routes, demonstrations: new Map(sets) };
}

/** Where the bundle is kept now; null: it is built in, and cannot change. */
export type BundleText = (() => Promise<string>) | null;

/** Throws "configuration" where what the settings name is not bound. */
export function bundleText({ ICDPO_POLICIES: from }: WorkerSettings, { KEPT, FILES }: Bindings): BundleText {
  if (from === "bundled") return null;
  const bound = from === "kv" ? KEPT : FILES;
  if (bound === undefined)
    throw new GatewayError(
      "configuration",
      `ICDPO_POLICIES=${from} needs the binding ${from === "kv" ? "KEPT" : "FILES"} in wrangler.toml.`,
    );
  const read = from === "kv" ? () => KEPT?.get(bundleName) : async () => (await FILES?.get(bundleName))?.text();
  return async () => {
    const text = await read();
    if (typeof text === "string") return text;
    throw new GatewayError(
      "configuration",
      `There is no ${bundleName} in ${from === "kv" ? "KEPT" : "FILES"}; docs/workers.md says how to put it there.`,
    );
  };
}

/** Throws "configuration". */
export function readBundle(text: string): Bundle {
  try {
    return parseBundle(bundleName, JSON.parse(text));
  } catch (error) {
    if (error instanceof GatewayError) throw error;
    throw new GatewayError("configuration", `${bundleName} is not JSON: ${(error as Error).message}`, { cause: error });
  }
}
