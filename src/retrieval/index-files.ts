/**
 * @module Indexes of demonstrations, kept in files between starts. Each ends with its length and a hash, so that what
 * is damaged is known.
 */
import { createHash } from "node:crypto";
import { open, readdir, rm, stat } from "node:fs/promises";
import path from "node:path";
import { writeWhole } from "../system/whole-file.ts";
import type { Report } from "../types/operator.ts";
import type { ArtifactStore } from "./retriever.ts";

const mark = Buffer.from("icdpo/2\n", "latin1");
const lengthBytes = 8;
const hashBytes = 32;
const trailerBytes = mark.length + lengthBytes + hashBytes;
/** Nobody writes a file for so long: what is left of one is a killed program's. */
const abandonedMs = 60 * 60 * 1000;

/**
 * One file for each, named by a hash of its key. One that cannot be read or written, or is damaged, is reported, and
 * done without.
 */
export function openArtifacts(directory: string, report: Report): ArtifactStore {
  const fileOf = (key: string): string =>
    path.join(directory, `${createHash("sha256").update(key).digest("hex").slice(0, 32)}.bin`);
  return {
    async get(key) {
      const file = fileOf(key);
      try {
        const bytes = await readSealed(file, key);
        if (bytes === null) report(`An index is damaged or of an earlier version, and is built anew: ${file}`);
        return bytes ?? undefined;
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException;
        if (code !== "ENOENT") report(`An index cannot be read, and is built anew: ${message}`);
        return undefined;
      }
    },
    async put(key, bytes) {
      try {
        await writeWhole(fileOf(key), async (handle) => {
          await handle.appendFile(bytes);
          await handle.appendFile(trailerOf(key, bytes));
        });
        await removeAbandoned(directory);
      } catch (error) {
        report(`An index cannot be kept: ${(error as Error).message}`);
      }
    },
  };
}

/** The key is part of the hash: a file under another's name is none. */
function trailerOf(key: string, bytes: Uint8Array): Buffer {
  const length = Buffer.alloc(lengthBytes);
  length.writeBigUInt64LE(BigInt(bytes.length));
  return Buffer.concat([mark, length, createHash("sha256").update(`${key}\0`).update(bytes).digest()]);
}

/**
 * Null where the file is not what was written. Its end is looked at first: of what is something else no more is read.
 */
async function readSealed(file: string, key: string): Promise<Uint8Array | null> {
  const handle = await open(file, "r");
  try {
    const { size } = await handle.stat();
    const length = size - trailerBytes;
    if (length < 0) return null;
    const trailer = Buffer.alloc(trailerBytes);
    await handle.read(trailer, 0, trailerBytes, length);
    const isOurs =
      trailer.subarray(0, mark.length).equals(mark) && trailer.readBigUInt64LE(mark.length) === BigInt(length);
    if (!isOurs) return null;
    const bytes = (await handle.readFile()).subarray(0, length);
    return trailerOf(key, bytes).equals(trailer) ? bytes : null;
  } finally {
    await handle.close();
  }
}

/** Parts of files whose writers were killed. */
async function removeAbandoned(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!name.endsWith(".part")) continue;
    const part = path.join(directory, name);
    const touched = await stat(part).then(
      ({ mtimeMs }) => mtimeMs,
      () => undefined,
    );
    if (touched !== undefined && Date.now() - touched > abandonedMs) await rm(part, { force: true });
  }
}
