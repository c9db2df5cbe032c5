/** @module Reads policies, routes and demonstrations from their folders. */
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import type { PolicyFiles } from "../policy/store.ts";
import { GatewayError } from "../types/error.ts";

/** Throws "configuration" where a folder or routes.yaml cannot be read. */
export async function readPolicyFiles(policiesDirectory: string, demonstrationsDirectory: string): Promise<PolicyFiles> {
  const policies = await readFolder(policiesDirectory, ".yaml");
  const routes = policies.get("routes");
  if (routes === undefined)
    throw new GatewayError(
      "configuration",
      `${path.join(policiesDirectory, "routes.yaml")} is missing: it says which policy serves which route.`,
    );
  policies.delete("routes");
  return { policies, routes, demonstrations: await readFolder(demonstrationsDirectory, ".jsonl") };
}

async function readFolder(directory: string, extension: string): Promise<Map<string, string>> {
  try {
    const files = (await readdir(directory)).filter((file) => file.endsWith(extension)).toSorted();
    const texts = await Promise.all(files.map((file) => readFile(path.join(directory, file), "utf8")));
    return new Map(files.map((file, index) => [path.basename(file, extension), texts[index] as string]));
  } catch (error) {
    throw new GatewayError("configuration", `The folder ${directory} cannot be read: ${(error as Error).message}`, { cause: error });
  }
}
