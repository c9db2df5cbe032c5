/**
 * @module Policies for the checks of clients: the default ones, but that the method answers requests with tools and for
 * JSON too. So "scored" means what it says whatever a client sends along.
 */
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parse, stringify } from "yaml";
import { temporaryFolder } from "./gateway.mjs";

/** Their folder, which is gone when the process ends. */
export function methodPolicies() {
  const folder = temporaryFolder("icdpo-policies");
  cpSync(fileURLToPath(new URL("../../policies/", import.meta.url)), folder, { recursive: true });
  const file = path.join(folder, "everyday.yaml");
  const { bypass, ...policy } = parse(readFileSync(file, "utf8"));
  writeFileSync(file, stringify({ ...policy, bypass: { ...bypass, tools: false, json: false } }));
  return folder;
}
