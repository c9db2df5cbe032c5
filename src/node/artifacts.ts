/** @module Indexes of demonstrations, kept in files between starts. */
import { createHash, randomBytes } from "node:crypto";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import type { ArtifactStore } from "../retrieval/retriever.ts";
import type { Report } from "./runtime.ts";

/** One file for each, named by a hash of its key. A file that cannot be written is reported, and done without. */
export function openArtifacts(directory: string, report: Report): ArtifactStore {
  const fileOf = (key: string): string => path.join(directory, `${createHash("sha256").update(key).digest("hex").slice(0, 32)}.bin`);
  return {
    get: (key) =>
      readFile(fileOf(key)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOENT") report(`An index cannot be read, and is built anew: ${error.message}`);
        return undefined;
      }),
    async put(key, bytes) {
      const file = fileOf(key);
      const part = `${file}.${randomBytes(4).toString("hex")}.part`;
      try {
        await mkdir(directory, { recursive: true });
        await writeFile(part, bytes);
        await rename(part, file);
      } catch (error) {
        report(`An index cannot be kept: ${(error as Error).message}`);
        await rm(part, { force: true });
      }
    },
  };
}
