/** @module Pinned files on the disk: compared with what they must be, and moved to their final path once they are. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import path from "node:path";
import { entryAt } from "../system/entry.ts";
import type { PinnedFile } from "./catalog.ts";

export type FileCheck =
  | { readonly type: "same" }
  | { readonly type: "missing" }
  | { readonly type: "different"; readonly expected: string; readonly found: string };

/** A file by its place; what it hashes to is known of pinned ones only. */
export type ExpectedFile = Omit<PinnedFile, "sha256"> & Partial<Pick<PinnedFile, "sha256">>;

/** What came is whole, and not the pinned file. */
export class WrongFile extends Error {}

/**
 * Compares what lies at `place` with the pinned file: size, then the GGUF magic, then sha256. Throws when it cannot be
 * read.
 */
export async function checkFile(place: string, file: ExpectedFile): Promise<FileCheck> {
  const entry = await entryAt(place);
  if (entry === undefined) return { type: "missing" };
  if (!entry.isFile()) return { type: "different", expected: "a file", found: "something else" };
  if (file.bytes !== undefined && entry.size !== file.bytes)
    return { type: "different", expected: `${file.bytes} bytes`, found: `${entry.size} bytes` };
  if (file.from.endsWith(".gguf") && !(await beginsAsGguf(place)))
    return { type: "different", expected: "a file that begins with GGUF", found: "another beginning" };
  if (file.sha256 === undefined) return { type: "same" };
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(place, { highWaterMark: 1 << 20 })) hash.update(chunk);
  const sha256 = hash.digest("hex");
  return sha256 === file.sha256
    ? { type: "same" }
    : { type: "different", expected: `sha256 ${file.sha256}`, found: `sha256 ${sha256}` };
}

export async function beginsAsGguf(place: string): Promise<boolean> {
  const handle = await open(place);
  try {
    const { buffer, bytesRead } = await handle.read({ buffer: Buffer.alloc(4), length: 4, position: 0 });
    return bytesRead === 4 && buffer.toString("latin1") === "GGUF";
  } finally {
    await handle.close();
  }
}

export async function sizeOf(place: string): Promise<number> {
  return (await entryAt(place))?.size ?? 0;
}

export async function missingFiles(files: readonly PinnedFile[], root: string): Promise<PinnedFile[]> {
  const missing: PinnedFile[] = [];
  for (const file of files) if ((await checkFile(path.join(root, file.to), file)).type !== "same") missing.push(file);
  return missing;
}

/** Moves a verified part to its final path, durably. Throws and deletes the part when it is not the pinned file. */
export async function install(part: string, place: string, file: ExpectedFile): Promise<void> {
  const check = await checkFile(part, file);
  if (check.type !== "same") {
    await rm(part, { recursive: true, force: true });
    throw new WrongFile(
      check.type === "missing" ? "the file vanished" : `expected ${check.expected}, found ${check.found}`,
    );
  }
  const handle = await open(part, "r+");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(part, place);
}
