/** @module One process of the engine, from its start to its end: it loads the model, answers calls, and is watched. */
import { type ChildProcess, fork } from "node:child_process";
import { engineEnvironment } from "../../system/child-environment.ts";
import type { GatewayError } from "../../types/error.ts";
import type { EngineLoad } from "../engine.ts";
import type { End, SentCall } from "../suspects.ts";
import type { Call, Loaded, LoadOptions, ParentMessage, Result } from "./child-messages.ts";
import { CoreShare, type Cores } from "./cores.ts";
import type { EngineSize } from "./native.ts";
import { type CallOptions, ProcessCalls, ProcessDied } from "./process-calls.ts";
import { Watchdog } from "./watchdog.ts";

export interface ProcessOptions extends LoadOptions {
  readonly log: (line: string) => void;
  /** The compiled child module. */
  readonly childModule?: URL;
  /** A process that answers nothing, or takes longer than this over one step, hangs and is killed. */
  readonly hangMs: number;
  /** A process that does not end by itself within so long, when the engine is closed, is killed. */
  readonly closeMs?: number | undefined;
  /** Shared with the other engines of this program; absent: there are none. */
  readonly cores?: Cores | undefined;
}

export interface ProcessEvents {
  /** At each heartbeat: threads that are fastest in its steps; 0: not known yet. */
  readonly onThreads: (threads: number) => void;
  /** It ends under these calls. */
  readonly onExit: (calls: readonly SentCall[], end: End) => void;
}

/** A process frees its model when it ends, which takes a moment. */
const usualCloseMs = 3_000;

/** By which a process ends when its own code is at fault. */
const faults: ReadonlySet<NodeJS.Signals> = new Set([
  "SIGSEGV",
  "SIGABRT",
  "SIGBUS",
  "SIGILL",
  "SIGFPE",
  "SIGTRAP",
  "SIGSYS",
]);

export class EngineProcess {
  /** Resolves with the reason when it has ended, or could not be started. */
  readonly ended: Promise<string>;
  /** A call that somebody asked for has been answered to its end. */
  hasWorked = false;
  readonly #options: ProcessOptions;
  readonly #events: ProcessEvents;
  readonly #child: ChildProcess;
  readonly #calls: ProcessCalls;
  readonly #watchdog: Watchdog;
  /** Undefined: there are no other engines, or it has not loaded its model. */
  #share: CoreShare | undefined;
  #hasHung = false;

  constructor(options: ProcessOptions, events: ProcessEvents) {
    this.#options = options;
    this.#events = events;
    this.#child = forkChild(options.childModule);
    this.ended = this.#watchEnd();
    this.#calls = new ProcessCalls(this.#child, (isAtWork) => this.#share?.setAtWork(isAtWork));
    this.#watchdog = new Watchdog({ hangMs: options.hangMs, ask: () => this.#ask(), onHang: () => this.#endHanging() });
    void this.ended.then(() => this.#watchdog.stop());
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Throws where it cannot load the model; it has ended then. */
  async load(): Promise<Loaded> {
    const { model, modelPath, adapterPath, chatTemplate, contextSize, sequences, threads, gpu, ranking } =
      this.#options;
    try {
      const files = { model, modelPath, adapterPath, chatTemplate };
      const options = { ...files, contextSize, sequences, threads, gpu, ranking };
      const loaded = (await this.send({ type: "load", options })) as Loaded;
      this.#share = this.#shareOf(loaded.size);
      return loaded;
    } catch (error) {
      const reason = await this.kill();
      throw error instanceof ProcessDied ? new Error(reason, { cause: error }) : error;
    }
  }

  /** Resolves with the reason when it has ended. */
  kill(): Promise<string> {
    this.#child.kill("SIGKILL");
    return this.ended;
  }

  send(call: Call, options?: CallOptions): Promise<Result> {
    return this.#calls.send(call, options);
  }

  /** Of the threads that it would use alone, those that it uses now. */
  within(threads: number): number {
    return this.#share?.within(threads) ?? threads;
  }

  /** It has ended: calls under way fail. */
  failCalls(errorOf: (sent: SentCall | undefined) => GatewayError): void {
    this.#calls.failAll(errorOf);
  }

  /** Resolves when it has ended: by itself, or killed where it hangs. */
  async close(): Promise<void> {
    const { closeMs = usualCloseMs, log } = this.#options;
    const child = this.#child;
    this.#watchdog.stop();
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((resolve) => child.once("exit", resolve));
    if (child.connected) child.disconnect();
    else child.kill("SIGKILL");
    const limit = setTimeout(() => {
      log(`engine: the process did not end within ${closeMs} ms; killing it`);
      child.kill("SIGKILL");
    }, closeMs);
    await exited;
    clearTimeout(limit);
  }

  #watchEnd(): Promise<string> {
    const child = this.#child;
    return new Promise((resolve) => {
      child.once("exit", (code, signal) => {
        this.#events.onExit(this.#calls.sent, this.#endBy(signal));
        resolve(`the process ended (${signal ?? `code ${code}`})`);
      });
      child.on("error", (error) => {
        // A process that could not be started has no exit.
        if (child.pid === undefined) resolve(`the process could not be started (${error.message})`);
        else this.#options.log(`engine: ${error.message}`);
      });
    });
  }

  /**
   * A signal that no fault raises comes from outside, perhaps from a system that had no memory left: one such end
   * proves nothing. A process that hung had perhaps done so before it was asked at all.
   */
  #endBy(signal: NodeJS.Signals | null): End {
    const isFault = this.#hasHung ? this.#calls.hasAnswered : signal === null || faults.has(signal);
    return isFault ? "fault" : "outside";
  }

  async #ask(): Promise<number> {
    const { stepMs, threads } = (await this.send({ type: "load-report" })) as EngineLoad;
    this.#events.onThreads(threads);
    return stepMs;
  }

  /** In native code or out of it: its exit starts another. */
  #endHanging(): void {
    const { hangMs, log } = this.#options;
    log(`engine: the process has not got on for ${hangMs} ms; ending it`);
    this.#hasHung = true;
    this.#child.kill("SIGKILL");
  }

  #shareOf({ cores, mostThreads: most }: EngineSize): CoreShare | undefined {
    const pool = this.#options.cores;
    if (pool === undefined) return undefined;
    return new CoreShare(pool, { cores, most }, (threads) => {
      const message: ParentMessage = { threads };
      if (this.#child.connected) this.#child.send(message, () => {}); // one that cannot be told has ended, which is noticed elsewhere
    });
  }
}

function forkChild(childModule = new URL("./child.js", import.meta.url)): ChildProcess {
  return fork(childModule, {
    // Linux shares the cores between sessions first: in one of its own, what is busy in the gateway's leaves the engine
    // more.
    detached: process.platform === "linux",
    // One pool thread: with more, each decode lands on another thread and takes twice as long.
    env: { ...engineEnvironment(process.env), UV_THREADPOOL_SIZE: "1" },
    serialization: "advanced",
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
}
