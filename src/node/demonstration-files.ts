/** @module Files of demonstrations: read line by line, packed or not; written whole or not at all. */
import { createReadStream } from "node:fs";
import { access, mkdir, open, rename, rm } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { createGunzip } from "node:zlib";
import { GatewayError } from "../types/error.ts";

export interface Line {
  readonly number: number;
  /** Undefined where the line is not JSON. */
  readonly value: unknown;
}

/** Lines that are not blank; `.gz` is unpacked. Throws "configuration" where the file cannot be read. */
export async function* readLines(file: string): AsyncGenerator<Line> {
  const source = createReadStream(file);
  const text = file.endsWith(".gz") ? source.pipe(createGunzip()) : source;
  const failed = new Promise<never>((_, reject) => {
    const fail = (error: Error): void =>
      reject(new GatewayError("configuration", `${file} cannot be read: ${error.message}`, { cause: error }));
    source.on("error", fail);
    text.on("error", fail);
  });
  failed.catch(() => {});
  const lines = createInterface({ input: text, crlfDelay: Number.POSITIVE_INFINITY })[Symbol.asyncIterator]();
  for (let number = 1; ; number++) {
    const next = await Promise.race([lines.next(), failed]);
    if (next.done) return;
    if (next.value.trim() !== "") yield { number, value: parsed(number === 1 ? next.value.replace(/^\uFEFF/u, "") : next.value) };
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
  const text = await handle.readFile("utf8");
  const entries = text.split("\n").flatMap((line) => {
    const value = parsed(line);
    return value === undefined ? [] : [value as Entry];
  });
  if (text !== "" && !text.endsWith("\n")) await handle.write("\n");
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
