/**
 * @module Embeddings of demonstrations' prompts, kept in files for good: each is computed once, by whichever process
 * needs it first. A file is a list of records: a mark, the first 16 bytes of SHA-256 of the model and the text, the
 * embedding as float32, and the first 16 bytes of SHA-256 of these two.
 *
 * Each host appends to a file of its own, and reads all. A record is part of one write to the file's end, which the
 * system keeps apart from others' on the same host. What a crash, a full disk or a bad block has left is passed over,
 * up to the next mark whose record is whole: no damage makes a wrong vector.
 */
import { hash } from "node:crypto";
import { mkdir, open, readdir, rm } from "node:fs/promises";
import { hostname } from "node:os";
import path from "node:path";
import { inOrder } from "../async/in-order.ts";
import type { Report } from "../types/operator.ts";
import type { EmbeddingModel } from "./retriever.ts";

const mark = Buffer.from("\x93icdpo\x02\n", "latin1");
const keyBytes = 16;
const floatBytes = 4;
const checkBytes = 16;
/** Read or written at once. */
const portionBytes = 1 << 20;

/** The same model, which remembers demonstrations in `directory`. */
export async function rememberEmbeddings(
  model: EmbeddingModel,
  directory: string,
  report: Report,
): Promise<EmbeddingModel> {
  const [probe] = await model.embed([""]);
  const complain = once((error: Error) => report(`Embeddings of demonstrations cannot be kept: ${error.message}`));
  const kept = new EmbeddingFiles(directory, model.model, (probe as Float32Array).length, report);
  await kept.catchUp().catch(complain);
  await kept.removeUnchecked().catch(complain);
  return {
    ...model,
    async embedKept(texts, signal) {
      const keys = texts.map((text) => kept.keyOf(text));
      if (keys.some((key) => !kept.known.has(key))) await kept.catchUp().catch(complain);
      const fresh = new Map<string, Float32Array>();
      const embeddings: Float32Array[] = [];
      try {
        for (const [i, key] of keys.entries()) {
          const embedding =
            kept.known.get(key) ??
            fresh.get(key) ??
            ((await model.embed([texts[i] as string], signal))[0] as Float32Array);
          embeddings.push(embedding);
          if (!kept.known.has(key)) fresh.set(key, embedding);
        }
      } finally {
        if (fresh.size > 0) await kept.append(fresh).catch(complain);
      }
      return embeddings;
    },
  };
}

/** All hosts' files of one model. */
class EmbeddingFiles {
  /** The model's and the text's hash → its embedding. */
  readonly known = new Map<string, Float32Array>();
  readonly #directory: string;
  readonly #model: string;
  readonly #prefix: string;
  readonly #own: string;
  readonly #recordBytes: number;
  readonly #report: Report;
  /** File → how far it has been read. */
  readonly #readers = new Map<string, RecordReader>();
  /** One at a time. */
  readonly #inTurn = inOrder();

  constructor(directory: string, model: string, dimensions: number, report: Report) {
    this.#directory = directory;
    this.#model = model;
    this.#prefix = hash("sha256", model).slice(0, 16);
    this.#own = `${this.#prefix}.${hash("sha256", hostname()).slice(0, 8)}.vectors`;
    this.#recordBytes = mark.length + keyBytes + dimensions * floatBytes + checkBytes;
    this.#report = report;
  }

  keyOf(text: string): string {
    return hash("sha256", `${this.#model}\0${text}`, "buffer").toString("latin1", 0, keyBytes);
  }

  /** Reads what other processes have added. */
  catchUp(): Promise<void> {
    return this.#inTurn(async () => {
      for (const name of await namesIn(this.#directory)) {
        if (!name.startsWith(`${this.#prefix}.`) || !name.endsWith(".vectors")) continue;
        const reader =
          this.#readers.get(name) ??
          new RecordReader(path.join(this.#directory, name), this.#recordBytes, this.#report);
        this.#readers.set(name, reader);
        await reader.catchUp((record) => this.#take(record));
      }
    });
  }

  append(embeddings: ReadonlyMap<string, Float32Array>): Promise<void> {
    for (const [key, embedding] of embeddings) this.known.set(key, embedding);
    const records = [...embeddings].map(([key, embedding]) => this.#recordOf(key, embedding));
    const atOnce = Math.max(1, Math.floor(portionBytes / this.#recordBytes));
    return this.#inTurn(async () => {
      await mkdir(this.#directory, { recursive: true });
      const handle = await open(path.join(this.#directory, this.#own), "a");
      try {
        for (let from = 0; from < records.length; from += atOnce) {
          const bytes = Buffer.concat(records.slice(from, from + atOnce));
          const { bytesWritten } = await handle.write(bytes);
          if (bytesWritten < bytes.length) throw new Error("no space left on device");
        }
      } finally {
        await handle.close();
      }
    });
  }

  /** Files of an earlier version have no checksums: what is wrong in them cannot be told from what is right. */
  async removeUnchecked(): Promise<void> {
    const file = path.join(this.#directory, `${this.#prefix}.embeddings`);
    if (!(await namesIn(this.#directory)).includes(path.basename(file))) return;
    await rm(file, { force: true });
    this.#report(
      `${file} was an earlier version's, without checksums: it is removed, and its embeddings are computed anew.`,
    );
  }

  #recordOf(key: string, embedding: Float32Array): Buffer {
    const record = Buffer.alloc(this.#recordBytes);
    record.set(mark);
    record.write(key, mark.length, "latin1");
    record.set(new Uint8Array(embedding.buffer, embedding.byteOffset, embedding.byteLength), mark.length + keyBytes);
    checkOf(record).copy(record, record.length - checkBytes, 0, checkBytes);
    return record;
  }

  #take(record: Buffer): void {
    const key = record.toString("latin1", mark.length, mark.length + keyBytes);
    if (this.known.has(key)) return;
    // A copy: typed arrays need their alignment, and nobody needs the rest of what was read.
    const floats = Uint8Array.from(record.subarray(mark.length + keyBytes, record.length - checkBytes));
    this.known.set(key, new Float32Array(floats.buffer));
  }
}

/** One file, read as it grows. */
class RecordReader {
  readonly #file: string;
  readonly #recordBytes: number;
  readonly #report: Report;
  /** Which file it was. */
  #inode = 0;
  /**
   * Bytes of it that have been understood or passed over; what follows may be half of a record that somebody is
   * writing.
   */
  #read = 0;
  /** Bytes passed over since the last record that was whole. */
  #gap = 0;
  #isDamaged = false;

  constructor(file: string, recordBytes: number, report: Report) {
    this.#file = file;
    this.#recordBytes = recordBytes;
    this.#report = report;
  }

  async catchUp(take: (record: Buffer) => void): Promise<void> {
    const handle = await open(this.#file, "r");
    try {
      const { size, ino } = await handle.stat();
      // Another file under the name, or the same cut short: from the start.
      if (ino !== this.#inode || size < this.#read) [this.#inode, this.#read] = [ino, 0];
      let rest = Buffer.alloc(0);
      for (let from = this.#read; from < size; ) {
        const portion = Buffer.allocUnsafe(Math.min(portionBytes, size - from));
        const { bytesRead } = await handle.read(portion, 0, portion.length, from);
        if (bytesRead === 0) break;
        from += bytesRead;
        const bytes = Buffer.concat([rest, portion.subarray(0, bytesRead)]);
        const understood = this.#understand(bytes, take);
        this.#read += understood;
        rest = bytes.subarray(understood);
      }
    } finally {
      await handle.close();
    }
  }

  /** Hands on the records that are whole, and returns how many bytes need not be looked at again. */
  #understand(bytes: Buffer, take: (record: Buffer) => void): number {
    let at = 0;
    while (at + this.#recordBytes <= bytes.length) {
      const record = bytes.subarray(at, at + this.#recordBytes);
      if (isWhole(record)) {
        take(record);
        this.#gap = 0;
        at += this.#recordBytes;
        continue;
      }
      const found = bytes.indexOf(mark, at + 1);
      // The last bytes may be the beginning of a mark.
      const next = found === -1 ? bytes.length - mark.length + 1 : found;
      this.#passOver(next - at);
      at = next;
    }
    return at;
  }

  /** Less than a record is what a crash leaves in the middle of writing one. */
  #passOver(bytes: number): void {
    this.#gap += bytes;
    if (this.#isDamaged || this.#gap <= this.#recordBytes - mark.length) return;
    this.#isDamaged = true;
    this.#report(`Embeddings in ${this.#file} are damaged: what cannot be read is computed anew.`);
  }
}

function isWhole(record: Buffer): boolean {
  return (
    record.subarray(0, mark.length).equals(mark) &&
    checkOf(record).compare(record, record.length - checkBytes, record.length, 0, checkBytes) === 0
  );
}

function checkOf(record: Buffer): Buffer {
  return hash("sha256", record.subarray(mark.length, record.length - checkBytes), "buffer");
}

async function namesIn(directory: string): Promise<string[]> {
  return readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
}

function once<Argument>(act: (argument: Argument) => void): (argument: Argument) => void {
  let isDone = false;
  return (argument) => {
    if (!isDone) act(argument);
    isDone = true;
  };
}
