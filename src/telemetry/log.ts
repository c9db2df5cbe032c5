/**
 * @module The log: a JSON line for each request, without message text unless that is asked for. A log that cannot be
 * written harms nobody.
 */
import { type Logger, pino } from "pino";
import sonicBoom from "sonic-boom";
import { inTime } from "../async/pause.ts";
import { spelledOut } from "../text/quoted.ts";
import { levelOf, lineOf } from "./line.ts";
import type { Recorder } from "./telemetry.ts";

export interface LogOptions {
  readonly level: string;
  /** Absent: stderr. */
  readonly file?: string | undefined;
  /** Texts of requests and answers are logged as well. */
  readonly text: boolean;
  /** A line, or what was waiting to be written, is lost. */
  readonly onDropped: () => void;
}

export interface Log extends Recorder {
  readonly logger: Logger;
  /** Opens the file anew, after somebody moved it away. */
  reopen(): void;
  /** Writes what is waiting, if it can be written soon. */
  close(): Promise<void>;
}

const stderr = 2;
const closeMs = 500;
/** What may wait to be written, in characters; more is dropped. */
const mostWaiting = 1_000_000;
/**
 * Lines are gathered for so long, or up to so many characters: another thread writes, and to wake it for each takes
 * longer than the line.
 */
const gatherMs = 20;
const mostGathered = 8_192;

export function openLog({ level, file, text, onDropped }: LogOptions): Log {
  // Not pino's own destination: at the process's end that one writes what is waiting, and on a full disk it would try
  // for ever.
  const destination = new sonicBoom.SonicBoom({
    ...(file === undefined ? { fd: stderr } : { dest: file }),
    append: true,
    mkdir: true,
    minLength: mostGathered,
    maxLength: mostWaiting,
  });
  let gathering: NodeJS.Timeout | undefined;
  let isClosed = false;
  const flush = (): void => {
    gathering = undefined;
    if (!isClosed) destination.flush();
  };
  const write = (line: string): void => {
    // JSON leaves some characters as they are that act on a terminal.
    destination.write(spelledOut(line));
    if (gathering === undefined) gathering = setTimeout(flush, gatherMs).unref();
  };
  destination.on("error", onDropped);
  destination.on("drop", onDropped);
  const logger = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write },
  );
  return {
    logger,
    record: (record) => logger[levelOf(record)](lineOf(record, text), "request"),
    reopen: () => file !== undefined && destination.reopen(),
    async close() {
      isClosed = true; // its end writes what was gathered
      const closed = new Promise<void>((resolve) => destination.once("close", resolve));
      destination.end();
      await inTime(closed, closeMs, () => {});
      destination.destroy();
    },
  };
}
