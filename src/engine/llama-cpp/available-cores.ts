/** @module How many cores others leave to this process. */
import { cpus } from "node:os";

/** Milliseconds of processor time since the machine's start, of all its cores, and of this process. */
interface Times {
  readonly at: number;
  /** Somebody's, but for what only takes what nobody else wants. */
  readonly busy: number;
  readonly own: number;
}

/** The system counts in hundredths of a second. */
const shortestMs = 500;

export class AvailableCores {
  readonly #read: () => Times | undefined;
  #last: Times | undefined;
  #cores: number;
  #available: number | undefined;

  /** `read`: undefined where the system does not tell. */
  constructor(read: () => Times | undefined = readTimes, cores = cpus().length) {
    this.#read = read;
    this.#cores = cores;
    this.#last = read();
    this.#available = this.#last === undefined ? undefined : cores;
  }

  /**
   * Over the last half second or longer, all before that; undefined: the system does not tell. `at`: milliseconds, as
   * in `Times`.
   */
  get(at: number): number | undefined {
    if (this.#last === undefined || at - this.#last.at < shortestMs) return this.#available;
    const now = this.#read();
    if (now === undefined) return undefined;
    const others = now.busy - this.#last.busy - (now.own - this.#last.own);
    this.#available = this.#cores - Math.max(0, others) / (now.at - this.#last.at);
    this.#last = now;
    return this.#available;
  }
}

function readTimes(): Times | undefined {
  const all = cpus();
  if (all.length === 0) return undefined;
  const { user, system } = process.cpuUsage();
  const busy = all.reduce((sum, { times }) => sum + times.user + times.sys + times.irq, 0);
  return { at: performance.now(), busy, own: (user + system) / 1000 };
}
