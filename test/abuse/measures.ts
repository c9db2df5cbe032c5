/**
 * @module What an attack costs the process that it comes to: how long its event loop stands still, and what memory it
 * keeps. Other programs can make both look worse, never better: blocks are held against harmless work done in the same
 * run, and the best of three tries counts.
 */
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as pause } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Worker } from "node:worker_threads";
import { expect } from "vitest";

export const megabyte = 2 ** 20;

export interface Cost<Result> {
  readonly result: Result;
  /** The longest time that the event loop stood still, in milliseconds. */
  readonly blockMs: number;
  /**
   * Bytes that are held after it, beyond those before: garbage is collected first. What `result` holds is among them.
   */
  readonly grownBytes: number;
  /** The most that was held at any moment of it, beyond what was before, garbage included. */
  readonly peakBytes: number;
}

/** Milliseconds between two looks at the loop, and at the memory. */
const resolution = 10;

/** Does something and says what it cost this process. */
export async function costOf<Result>(act: () => Result | Promise<Result>): Promise<Cost<Result>> {
  const before = await heldBytes();
  let peak = before;
  const look = setInterval(() => {
    peak = Math.max(peak, usedBytes());
  }, resolution);
  const delay = monitorEventLoopDelay({ resolution });
  delay.enable();
  try {
    // The first look has nothing to be compared with, and the last must come after a block to see it.
    await pause(3 * resolution);
    const result = await act();
    await pause(3 * resolution);
    delay.disable();
    return {
      result,
      blockMs: Math.max(0, delay.max / 1e6 - resolution),
      grownBytes: (await heldBytes()) - before,
      peakBytes: peak - before,
    };
  } finally {
    clearInterval(look);
    delay.disable();
  }
}

/** How much longer than by harmless work the loop may be blocked. */
export interface Patience {
  readonly factor: number;
  readonly ms: number;
}

const patience: Patience = { factor: 5, ms: 100 };
const tries = 3;

/**
 * Expects that `act` blocks the event loop hardly longer than `harmless` does, which should be the same work on what
 * nobody could mean ill by. Returns what the best try cost.
 */
export async function expectUnblocked<Result>(
  harmless: () => unknown,
  act: () => Result | Promise<Result>,
  { factor, ms }: Partial<Patience> = {},
): Promise<Cost<Result>> {
  const blocked: string[] = [];
  for (let attempt = 0; attempt < tries; attempt++) {
    const { blockMs: usual } = await costOf(harmless);
    const cost = await costOf(act);
    const allowed = usual * (factor ?? patience.factor) + (ms ?? patience.ms);
    if (cost.blockMs <= allowed) return cost;
    blocked.push(`${cost.blockMs.toFixed(0)} ms, where ${allowed.toFixed(0)} ms were allowed`);
  }
  return expect.fail(`The event loop was blocked each time: ${blocked.join("; ")}.`);
}

const idle = `
  const { monitorEventLoopDelay } = require("node:perf_hooks");
  const { parentPort } = require("node:worker_threads");
  const delay = monitorEventLoopDelay({ resolution: ${resolution} });
  delay.enable();
  parentPort.on("message", () => {
    parentPort.postMessage(delay.max / 1e6);
    delay.reset();
  });
`;

/** An event loop that has nothing to do: what delays it is the machine. The baseline of other processes' loops. */
export class IdleLoop {
  readonly #worker = new Worker(idle, { eval: true });

  /** Its longest delay since it was asked last, in milliseconds. */
  async longestDelayMs(): Promise<number> {
    const answer = once(this.#worker, "message");
    this.#worker.postMessage(null);
    const [ms] = (await answer) as [number];
    return ms;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}

/**
 * How long a process's main thread has been ready to run and had no core, in milliseconds; 0 where the system does not
 * tell (only Linux does).
 */
export function waitedMs(pid: number | undefined): number {
  if (process.platform !== "linux") return 0;
  // A process that has ended waits no longer.
  const text = existsSync(`/proc/${pid}/schedstat`) ? readFileSync(`/proc/${pid}/schedstat`, "utf8") : "";
  const [, nanoseconds = "0"] = text.split(" ");
  return Number(nanoseconds) / 1e6;
}

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/** What is still held when garbage has been collected. */
async function heldBytes(): Promise<number> {
  collectGarbage();
  // What was waiting for its finaliser goes with the second collection.
  await pause(resolution);
  collectGarbage();
  return usedBytes();
}

/** Of the heap, and of buffers outside it. */
function usedBytes(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
