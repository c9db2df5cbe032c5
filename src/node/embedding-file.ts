/**
 * @module Embeddings of demonstrations' prompts, kept in a file for good: each is computed once, by whichever process needs it first. The file is
 * a list of records, the first 16 bytes of the text's SHA-256 and the embedding as float32.
 */
import { createHash } from "node:crypto";
import { appendFile, mkdir, open, stat, truncate } from "node:fs/promises";
import path from "node:path";
import type { EmbeddingModel } from "../retrieval/retriever.ts";
import type { Report } from "./runtime.ts";

const keyBytes = 16;
const floatBytes = 4;

/** The same model, which remembers demonstrations in `directory`. */
export async function rememberEmbeddings(model: EmbeddingModel, directory: string, report: Report): Promise<EmbeddingModel> {
  const [probe] = await model.embed([""]);
  const name = `${createHash("sha256").update(model.model).digest("hex").slice(0, 16)}.embeddings`;
  const records = new EmbeddingFile(path.join(directory, name), (probe as Float32Array).length);
  const complain = once((error: Error) => report(`Embeddings of demonstrations cannot be kept: ${error.message}`));
  await records.catchUp().catch(complain);
  return {
    ...model,
    async embedKept(texts, signal) {
      const keys = texts.map(keyOf);
      if (keys.some((key) => !records.known.has(key))) await records.catchUp().catch(complain);
      const fresh = new Map<string, Float32Array>();
      const embeddings: Float32Array[] = [];
      try {
        for (const [i, key] of keys.entries()) {
          const embedding =
            records.known.get(key) ?? fresh.get(key) ?? ((await model.embed([texts[i] as string], signal))[0] as Float32Array);
          embeddings.push(embedding);
          if (!records.known.has(key)) fresh.set(key, embedding);
        }
      } finally {
        if (fresh.size > 0) await records.append(fresh).catch(complain);
      }
      return embeddings;
    },
  };
}

class EmbeddingFile {
  /** The text's hash → its embedding. */
  readonly known = new Map<string, Float32Array>();
  readonly #file: string;
  readonly #recordBytes: number;
  /** Bytes of the file that have been read. */
  #read = 0;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(file: string, dimensions: number) {
    this.#file = file;
    this.#recordBytes = keyBytes + dimensions * floatBytes;
  }

  /** Reads what other processes have added. */
  catchUp(): Promise<void> {
    return this.#inTurn(() => this.#catchUp());
  }

  append(embeddings: ReadonlyMap<string, Float32Array>): Promise<void> {
    for (const [key, embedding] of embeddings) this.known.set(key, embedding);
    const parts = [...embeddings].flatMap(([key, { buffer, byteOffset, byteLength }]) => [
      Buffer.from(key, "latin1"),
      Buffer.from(buffer, byteOffset, byteLength),
    ]);
    return this.#inTurn(async () => {
      await mkdir(path.dirname(this.#file), { recursive: true });
      const size = await sizeOf(this.#file);
      // A crash may have left half a record.
      if (size % this.#recordBytes !== 0) await truncate(this.#file, size - (size % this.#recordBytes));
      await appendFile(this.#file, Buffer.concat(parts));
    });
  }

  async #catchUp(): Promise<void> {
    const size = await sizeOf(this.#file);
    const bytes = Buffer.alloc(Math.floor((size - this.#read) / this.#recordBytes) * this.#recordBytes);
    if (bytes.length === 0) return;
    const handle = await open(this.#file, "r");
    try {
      await handle.read(bytes, 0, bytes.length, this.#read);
    } finally {
      await handle.close();
    }
    this.#read += bytes.length;
    for (let at = 0; at < bytes.length; at += this.#recordBytes) {
      const embedding = new Float32Array(bytes.buffer, bytes.byteOffset + at + keyBytes, (this.#recordBytes - keyBytes) / floatBytes);
      this.known.set(bytes.toString("latin1", at, at + keyBytes), embedding);
    }
  }

  /** One at a time. */
  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }
}

function keyOf(text: string): string {
  return createHash("sha256").update(text).digest().toString("latin1", 0, keyBytes);
}

async function sizeOf(file: string): Promise<number> {
  return stat(file).then(
    ({ size }) => size,
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return 0;
      throw error;
    },
  );
}

function once<Argument>(act: (argument: Argument) => void): (argument: Argument) => void {
  let isDone = false;
  return (argument) => {
    if (!isDone) act(argument);
    isDone = true;
  };
}
