/**
 * @module Files of UTF-8 text, whole or line by line. What is plainly something else is refused with a hint, never read
 * as rubbish.
 */
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { addAbortSignal, pipeline, type Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { linesOf } from "../text/lines.ts";
import { cancelled, GatewayError } from "../types/error.ts";

/**
 * The whole file. Throws "configuration" where it cannot be read or is no UTF-8 text; `name` stands for it in the
 * message.
 */
export async function readText(file: string, name = file): Promise<string> {
  const bytes = await readFile(file).catch((error: Error) => {
    throw unreadable(name, error);
  });
  refuseOtherThanUtf8(name, bytes);
  return bytes.toString("utf8");
}

/** The file's lines; `.gz` is unpacked. Throws as `linesOfStream` does. */
export function linesOfFile(file: string, signal?: AbortSignal): AsyncGenerator<string> {
  const source = createReadStream(file);
  // Whoever reads the last stream gets the error of any.
  return linesOfStream(file, file.endsWith(".gz") ? pipeline(source, createGunzip(), () => {}) : source, signal);
}

/**
 * Throws "configuration" where the stream cannot be read or is no UTF-8 text, and what the signal means when it fires.
 */
export async function* linesOfStream(name: string, input: Readable, signal?: AbortSignal): AsyncGenerator<string> {
  try {
    yield* linesOf(name, utf8Of(name, signal === undefined ? input : addAbortSignal(signal, input)));
  } catch (error) {
    if (signal?.aborted) throw cancelled(signal);
    throw error instanceof GatewayError ? error : unreadable(name, error as Error);
  }
}

/** So many bytes tell what a file is; no line of JSONL is shorter. */
const tellingBytes = 4;

async function* utf8Of(name: string, input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let start = Buffer.alloc(0);
  let isKnown = false;
  for await (const chunk of input) {
    if (isKnown) yield chunk;
    else {
      start = Buffer.concat([start, chunk]);
      if (start.length < tellingBytes) continue;
      refuseOtherThanUtf8(name, start);
      isKnown = true;
      yield start;
    }
  }
  if (isKnown) return;
  refuseOtherThanUtf8(name, start);
  yield start;
}

function refuseOtherThanUtf8(name: string, bytes: Uint8Array): void {
  const start = bytes.subarray(0, tellingBytes);
  const [first, second] = start;
  if (first === 0x1f && second === 0x8b)
    throw new GatewayError(
      "configuration",
      `${name} is packed with gzip: unpack it (gzip -d); JSONL may stay packed if its name ends in .gz.`,
    );
  const hasMark = (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff);
  if (hasMark || start.includes(0))
    throw new GatewayError(
      "configuration",
      `${name} is not UTF-8 text, but most likely UTF-16: save it as UTF-8 (in Windows PowerShell with \`Out-File -Encoding utf8\`).`,
    );
}

function unreadable(name: string, error: Error): GatewayError {
  return new GatewayError("configuration", `${name} cannot be read: ${error.message}`, { cause: error });
}
