/** @module Rows of data files: JSONL, a JSON array, or Parquet. */
import { open } from "node:fs/promises";
import path from "node:path";
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { linesOfFile } from "../system/text-files.ts";
import { parsedJson } from "../text/json.ts";
import { GatewayError, messageOf } from "../types/error.ts";
import { type Line, readLines } from "./demonstration-files.ts";

/** File endings that data may have, for people. */
export const dataFiles = ".jsonl, .json (also .gz) or .parquet";

/** A data file's name without its ending. */
export function dataName(file: string): string {
  return path.basename(file).replace(/(?:\.jsonl?(?:\.gz)?|\.parquet)$/u, "");
}

/**
 * Rows in their order; of JSONL the number is the line's, else it counts from 1. Throws "configuration" where the file
 * cannot be read, or is not what it seems to be.
 */
export async function* readRows(file: string): AsyncGenerator<Line> {
  if (await isParquet(file)) yield* parquetRows(file);
  else if (/\.json(?:\.gz)?$/u.test(file)) yield* jsonRows(file);
  else yield* readLines(file);
}

const parquetMark = "PAR1";

async function isParquet(file: string): Promise<boolean> {
  const handle = await open(file).catch((error: Error) => {
    throw new GatewayError("configuration", `${file} cannot be read: ${error.message}`, { cause: error });
  });
  try {
    const { buffer, bytesRead } = await handle.read({ buffer: Buffer.alloc(parquetMark.length), position: 0 });
    if (buffer.toString("latin1", 0, bytesRead) === parquetMark) return true;
  } catch (error) {
    throw new GatewayError("configuration", `${file} cannot be read: ${messageOf(error)}`, { cause: error });
  } finally {
    await handle.close();
  }
  if (file.endsWith(".parquet"))
    throw new GatewayError("configuration", `${file} is no Parquet file: it does not begin with ${parquetMark}.`);
  return false;
}

/** A row group at a time. */
async function* parquetRows(file: string): AsyncGenerator<Line> {
  let number = 0;
  try {
    const buffer = await asyncBufferFromFile(file);
    const metadata = await parquetMetadataAsync(buffer);
    for (const { num_rows: rows } of metadata.row_groups) {
      const rowEnd = number + Number(rows);
      const read = await parquetReadObjects({ file: buffer, metadata, compressors, rowStart: number, rowEnd });
      for (const value of read) {
        number += 1;
        yield { number, value };
      }
    }
  } catch (error) {
    throw new GatewayError(
      "configuration",
      `${file} cannot be read as Parquet: ${messageOf(error)}. It may be cut short; fetch or write it again.`,
      { cause: error },
    );
  }
}

/** One array of rows; many files of that name hold a row a line. */
async function* jsonRows(file: string): AsyncGenerator<Line> {
  const lines: string[] = [];
  for await (const line of linesOfFile(file)) {
    if (lines.length === 0 && line.trim() !== "" && !line.trimStart().startsWith("[")) {
      yield* readLines(file);
      return;
    }
    if (lines.length > 0 || line.trim() !== "") lines.push(line);
  }
  if (lines.length === 0) return;
  const rows = parsedJson(lines.join("\n"));
  if (!Array.isArray(rows))
    throw new GatewayError(
      "configuration",
      `${file} begins like a JSON array, and is none. It may be cut short; JSONL has one JSON object a line.`,
    );
  for (const [index, value] of rows.entries()) yield { number: index + 1, value };
}
