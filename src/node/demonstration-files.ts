/** @module Files of demonstrations: read line by line, packed or not; written whole or not at all. */
import { access, type FileHandle, mkdir, open, rename, rm } from "node:fs/promises";
import path from "node:path";
import { GatewayError } from "../types/error.ts";
import { linesOf } from "../types/lines.ts";
import { linesOfFile } from "./text-files.ts";

export interface Line {
  readonly number: number;
  /** Undefined where the line is not JSON. */
  readonly value: unknown;
}

/** Lines that are not blank; `.gz` is unpacked. Throws "configuration" where the file cannot be read or is no UTF-8 text. */
export async function* readLines(file: string): AsyncGenerator<Line> {
  let number = 0;
  for await (const line of linesOfFile(file)) {
    number += 1;
    if (line.trim() !== "") yield { number, value: parsed(line) };
  }
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

const portionCharacters = 1_000_000;

/** Throws "invalid_request" where the file is there already, and that is not meant. */
export async function refuseToOverwrite(file: string, isMeant = false): Promise<void> {
  const isThere = await access(file).then(
    () => true,
    () => false,
  );
  if (isThere && !isMeant)
    throw new GatewayError("invalid_request", `${file} is there already. Choose another name, or write over it with --force.`);
}

/** Writes one JSON object a line; the file is there when all of it is. */
export async function writeLines(file: string, values: Iterable<unknown>): Promise<number> {
  await mkdir(path.dirname(path.resolve(file)), { recursive: true });
  const part = `${file}.part`;
  const handle = await open(part, "w");
  let count = 0;
  try {
    let text = "";
    for (const value of values) {
      text += `${JSON.stringify(value)}\n`;
      count += 1;
      if (text.length < portionCharacters) continue;
      await handle.write(text);
      text = "";
    }
    await handle.write(text);
    await handle.sync();
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  } finally {
    await handle.close();
  }
  await rename(part, file);
  return count;
}

export interface Journal<Entry> {
  /** What earlier runs noted. */
  readonly entries: readonly Entry[];
  /** Resolves when the entry is on the disk. */
  add(entry: Entry): Promise<void>;
  close(): Promise<void>;
  /** The work is done: the journal is not needed any more. */
  remove(): Promise<void>;
}

/** Notes what has been done, a line each, so that a run that was killed can be taken up. A line cut short by the kill does not count. */
export async function openJournal<Entry>(file: string): Promise<Journal<Entry>> {
  await mkdir(path.dirname(path.resolve(file)), { recursive: true });
  const handle = await open(file, "a+");
  const entries: Entry[] = [];
  for await (const line of linesOf(file, handle.createReadStream({ start: 0, autoClose: false }))) {
    const value = parsed(line);
    if (value !== undefined) entries.push(value as Entry);
  }
  if (!(await isEnded(handle))) await handle.write("\n");
  return {
    entries,
    async add(entry) {
      await handle.write(`${JSON.stringify(entry)}\n`);
      await handle.sync();
    },
    close: () => handle.close(),
    async remove() {
      await handle.close();
      await rm(file, { force: true });
    },
  };
}

/** Whether nothing stands after the last LF. */
async function isEnded(handle: FileHandle): Promise<boolean> {
  const { size } = await handle.stat();
  if (size === 0) return true;
  const { buffer } = await handle.read({ buffer: Buffer.alloc(1), position: size - 1 });
  return buffer[0] === lineFeed;
}

const lineFeed = 0x0a;
