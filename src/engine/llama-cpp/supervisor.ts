/**
 * @module Keeps the engine's process alive: starts it again whenever it ends, more and more slowly where that does not
 * help.
 */
import { setTimeout as pause } from "node:timers/promises";
import { growingPause } from "../../async/growing-pause.ts";
import { untilAborted } from "../../async/until-aborted.ts";
import { cancelled, GatewayError, messageOf } from "../../types/error.ts";
import type { EngineInfo, EngineLoad } from "../engine.ts";
import { contentOf, type SentCall, Suspects } from "../suspects.ts";
import type { Call, Result } from "./child-messages.ts";
import { EngineProcess, type ProcessOptions } from "./engine-process.ts";
import { LastingChange } from "./lasting-change.ts";
import type { EngineSize } from "./native.ts";
import { type CallOptions, ProcessDied } from "./process-calls.ts";

export interface SupervisorOptions extends ProcessOptions {
  /** Called each time that the process is started again. */
  readonly onRestart?: (() => void) | undefined;
}

export interface LlamaLifecycle {
  readonly status: "starting" | "ready" | "restarting" | "closed";
  readonly restarts: number;
  /** Why it is being started again. */
  readonly reason?: string;
  /** The process id. */
  readonly pid: number | undefined;
  /** What was chosen for this machine, and why. */
  readonly size: EngineSize | undefined;
}

const firstPauseMs = 1_000;
const longestPauseMs = 30_000;

/** A change of threads that lasts as long is worth a line in the log. */
const lastingMs = 10_000;

export class Supervisor {
  readonly #options: SupervisorOptions;
  #process: EngineProcess | undefined;
  #ready: Promise<EngineInfo>;
  #status: LlamaLifecycle["status"] = "starting";
  /** Processes in a row that could not be started, or died before they had done any work. */
  #failures = 0;
  #restarts = 0;
  /** Why the last process ended, or could not be started. */
  #reason = "";
  #size: EngineSize | undefined;
  readonly #closing = new AbortController();
  readonly #lastingThreads = new LastingChange<number>(lastingMs);
  readonly #suspects = new Suspects(() => performance.now());

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#ready = this.#launch();
    this.#ready.catch(() => {}); // whoever waits until it is ready has it thrown
  }

  get lifecycle(): LlamaLifecycle {
    const lifecycle = { status: this.#status, restarts: this.#restarts, pid: this.#process?.pid, size: this.#size };
    return this.#status === "restarting" ? { ...lifecycle, reason: this.#reason } : lifecycle;
  }

  /** Resolves when the process has loaded the model, at once where it has. */
  async whenReady(signal?: AbortSignal): Promise<EngineInfo> {
    if (signal?.aborted) throw cancelled(signal);
    if (this.#status === "closed") throw shutDown();
    return untilAborted(this.#ready, signal);
  }

  /**
   * `owner`: stands for the request that the call is made for. Throws "engine_unavailable" where the process ends
   * meanwhile, or where the call may be why others have ended.
   */
  async call(call: Call, owner: object | undefined, options: CallOptions): Promise<Result> {
    const { signal } = options;
    await this.whenReady(signal);
    const sent: SentCall = { content: () => contentOf(call), owner: owner ?? {}, hasBegun: false };
    await this.#suspects.admit(sent, signal);
    let isWell = false;
    try {
      const running = this.#running();
      const result = await untilItEnded(running, running.send(call, { ...options, sent }), signal);
      running.hasWorked = true;
      isWell = true;
      return result;
    } finally {
      this.#suspects.leave(sent, isWell);
    }
  }

  /** The process's own account of its work. */
  async load(signal?: AbortSignal): Promise<EngineLoad> {
    await this.whenReady(signal);
    return (await this.#running().send({ type: "load-report" }, { signal })) as EngineLoad;
  }

  /** Of the threads that the process would use alone, those that it uses now. */
  within(threads: number): number {
    return this.#process?.within(threads) ?? threads;
  }

  /** Resolves when the process has ended: by itself, or killed where it hangs. */
  async close(): Promise<void> {
    this.#status = "closed";
    this.#closing.abort();
    await this.#process?.close();
  }

  #running(): EngineProcess {
    if (this.#process === undefined) throw new ProcessDied();
    return this.#process;
  }

  /** Starts a process and has it load the model. Throws where either fails; the process has ended then. */
  async #launch(): Promise<EngineInfo> {
    const { log } = this.#options;
    const started: EngineProcess = new EngineProcess(this.#options, {
      onThreads: (threads) => this.#noteThreads(threads),
      onExit: (calls, end) => {
        if (started === this.#process && this.#status !== "closed") this.#suspects.blame(calls, end);
      },
    });
    this.#process = started;
    void started.ended.then((reason) => this.#ended(started, reason));
    const { info, size } = await started.load();
    if (this.#closing.signal.aborted) {
      await started.kill();
      throw shutDown();
    }
    this.#size = size;
    this.#status = "ready";
    for (const line of size.why) log(`engine: ${line}`);
    const threads = `${size.threads} ${size.threads === 1 ? "thread" : "threads"} of ${size.mostThreads} at most`;
    const sequences = `${size.sequences} ${size.sequences === 1 ? "sequence" : "sequences"}`;
    log(`engine: ${sequences} of ${size.sequenceTokens} tokens, ${threads}, ${size.gpu ?? "no GPU"}`);
    return info;
  }

  #ended(ended: EngineProcess, reason: string): void {
    if (ended !== this.#process) return;
    ended.failCalls((sent) => (this.#status === "closed" ? shutDown() : this.#diedUnder(sent)));
    // Whoever starts a process learns itself that it has ended before it was ready.
    if (this.#status === "ready") void this.#startAgain(reason, ended.hasWorked);
  }

  #diedUnder(sent: SentCall | undefined): GatewayError {
    try {
      if (sent !== undefined) this.#suspects.check(sent);
      return new ProcessDied();
    } catch (error) {
      return error as GatewayError;
    }
  }

  /**
   * Tries until a process is ready, or the engine is closed: more and more slowly, where processes cannot be started,
   * or die before they have done any work. Calls wait while one loads, and are refused during a pause.
   */
  async #startAgain(reason: string, hasWorked: boolean): Promise<void> {
    this.#status = "restarting";
    this.#reason = reason;
    this.#failures = hasWorked ? 0 : this.#failures + 1;
    while (!this.#closing.signal.aborted) {
      const pauseMs =
        this.#failures <= 1 ? 0 : Math.ceil(growingPause(this.#failures - 2, firstPauseMs, longestPauseMs));
      this.#options.log(`engine: ${this.#reason}; starting it again${pauseMs > 0 ? ` in ${pauseMs} ms` : ""}`);
      if (pauseMs > 0) {
        this.#await(Promise.reject(notYet(pauseMs)));
        await pause(pauseMs, undefined, { signal: this.#closing.signal }).catch(() => {}); // closed meanwhile
        if (this.#closing.signal.aborted) return;
      }
      this.#restarts += 1;
      this.#options.onRestart?.();
      const launched = this.#launch();
      this.#await(
        launched.catch((error: unknown) => {
          throw this.#closing.signal.aborted ? shutDown() : new ProcessDied(error);
        }),
      );
      try {
        await launched;
        return;
      } catch (error) {
        this.#reason = messageOf(error);
        this.#failures += 1;
      }
    }
  }

  /** What calls wait for. Nobody may: then its failure is nobody's. */
  #await(ready: Promise<EngineInfo>): void {
    this.#ready = ready;
    ready.catch(() => {});
  }

  #noteThreads(threads: number): void {
    if (threads === 0) return;
    const change = this.#lastingThreads.see(threads, performance.now());
    if (change === undefined) return;
    this.#options.log(`engine: threads: ${change.now} instead of ${change.before}, which is faster at present`);
  }
}

/**
 * A process is gone for its callers before it has ended for its supervisor: whoever tries again at once shall find the
 * next one.
 */
async function untilItEnded(process: EngineProcess, call: Promise<Result>, signal?: AbortSignal): Promise<Result> {
  try {
    return await call;
  } catch (error) {
    if (error instanceof ProcessDied) await untilAborted(process.ended, signal);
    throw error;
  }
}

/** Calls that come before the next try. */
function notYet(pauseMs: number): GatewayError {
  const details = { retryAfter: Math.ceil(pauseMs / 1000) };
  return new GatewayError(
    "engine_unavailable",
    "The engine's process ended and cannot be started again yet. Retry the request.",
    details,
  );
}

function shutDown(): GatewayError {
  return new GatewayError("engine_unavailable", "The engine is shut down.");
}
