/** @module Files of demonstrations: read line by line, packed or not; written whole or not at all. */
import { hash } from "node:crypto";
import { access, type FileHandle, mkdir, open, rm } from "node:fs/promises";
import path from "node:path";
import { linesOfFile } from "../system/text-files.ts";
import { writeWhole } from "../system/whole-file.ts";
import { parsedJson } from "../text/json.ts";
import { linesOf } from "../text/lines.ts";
import { GatewayError } from "../types/error.ts";

export interface Line {
  readonly number: number;
  /** Undefined where the line is not JSON. */
  readonly value: unknown;
}

/**
 * Lines that are not blank; `.gz` is unpacked. Throws "configuration" where the file cannot be read or is no UTF-8
 * text.
 */
export async function* readLines(file: string): AsyncGenerator<Line> {
  let number = 0;
  for await (const line of linesOfFile(file)) {
    number += 1;
    if (line.trim() !== "") yield { number, value: parsedJson(line) };
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
    throw new GatewayError(
      "invalid_request",
      `${file} is there already. Choose another name, or write over it with --force.`,
    );
}

/** Writes one JSON object a line; the file is there when all of it is. */
export async function writeLines(file: string, values: Iterable<unknown>): Promise<number> {
  let count = 0;
  await writeWhole(file, async (handle) => {
    let text = "";
    for (const value of values) {
      text += `${JSON.stringify(value)}\n`;
      count += 1;
      if (text.length < portionCharacters) continue;
      await handle.appendFile(text);
      text = "";
    }
    await handle.appendFile(text);
  });
  return count;
}

export interface Journal<Entry> {
  /** What earlier runs noted. */
  readonly entries: readonly Entry[];
  /** Lines that were cut short, or are not what was written; what they said is not among the entries. */
  readonly damaged: number;
  /** Resolves when the entry is on the disk. */
  add(entry: Entry): Promise<void>;
  close(): Promise<void>;
  /** The work is done: the journal is not needed any more. */
  remove(): Promise<void>;
}

/**
 * Notes what has been done, a line each, so that a run that was killed can be taken up; several may write at the same
 * time, and what one says twice counts as once. Each line ends with its hash: one that was cut short does not count,
 * nor one that is not what was written. Lines of earlier versions have none.
 */
export async function openJournal<Entry extends object>(file: string): Promise<Journal<Entry>> {
  await mkdir(path.dirname(path.resolve(file)), { recursive: true });
  const handle = await open(file, "a+");
  const entries: Entry[] = [];
  let damaged = 0;
  for await (const line of linesOf(file, handle.createReadStream({ start: 0, autoClose: false }))) {
    if (line === "") continue;
    const value = noted(line);
    if (value === undefined) damaged += 1;
    else entries.push(value as Entry);
  }
  /** One write, which the system keeps apart from others'. */
  async function appendAtOnce(text: string): Promise<number> {
    const bytes = Buffer.from(text);
    const { bytesWritten } = await handle.write(bytes);
    if (bytesWritten < bytes.length) throw new Error(`${file}: no space left on device`);
    return bytes.length;
  }
  return {
    entries,
    damaged,
    async add(entry) {
      const note = `${noteOf(entry)}\n`;
      const { size, isEnded } = await endOf(handle);
      const length = await appendAtOnce(`${isEnded ? "" : "\n"}${note}`);
      // Somebody else wrote meanwhile, and may have been killed in the middle of a line: to say it twice does no harm.
      if ((await handle.stat()).size !== size + length) await appendAtOnce(`\n${note}`);
      await handle.sync();
    },
    close: () => handle.close(),
    async remove() {
      await handle.close();
      await rm(file, { force: true });
    },
  };
}

const sumDigits = 16;
const noteForm = new RegExp(`^(.+),"sum":"([0-9a-f]{${sumDigits}})"\\}$`, "su");

/** JSON of the entry, with the hash of the rest as a last field. */
function noteOf(entry: object): string {
  const json = JSON.stringify(entry);
  return `${json.slice(0, -1)},"sum":"${sumOf(json)}"}`;
}

/** Undefined where the line is not what was written. */
function noted(line: string): unknown {
  const [, begun, sum] = noteForm.exec(line) ?? [];
  if (begun !== undefined && sum !== sumOf(`${begun}}`)) return undefined;
  const value = parsedJson(begun === undefined ? line : `${begun}}`);
  return typeof value === "object" && value !== null ? value : undefined;
}

function sumOf(json: string): string {
  return hash("sha256", json).slice(0, sumDigits);
}

/** How long the file is, and whether nothing stands after its last LF. */
async function endOf(handle: FileHandle): Promise<{ readonly size: number; readonly isEnded: boolean }> {
  const { size } = await handle.stat();
  if (size === 0) return { size, isEnded: true };
  const { buffer } = await handle.read({ buffer: Buffer.alloc(1), position: size - 1 });
  return { size, isEnded: buffer[0] === lineFeed };
}

const lineFeed = 0x0a;
