/** @module Files that are there whole or not at all, whoever else writes them at the same time. */
import { randomBytes } from "node:crypto";
import { type FileHandle, mkdir, open, rename, rm } from "node:fs/promises";
import path from "node:path";

/**
 * Writes beside the file, and takes its place when all is on the disk. Of several who write it, the last one's stays.
 * Throws what the system throws.
 */
export async function writeWhole(
  file: string,
  content: string | Uint8Array | ((handle: FileHandle) => Promise<void>),
): Promise<void> {
  await mkdir(path.dirname(path.resolve(file)), { recursive: true });
  const part = `${file}.${randomBytes(6).toString("hex")}.part`;
  try {
    const handle = await open(part, "wx");
    try {
      if (typeof content === "function") await content(handle);
      else await handle.appendFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(part, file);
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
}
