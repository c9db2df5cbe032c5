/** @module Ends a process that hangs: it is asked every second how long its present step has taken. */

const heartbeatMs = 1_000;

export interface WatchdogOptions {
  /** Without an answer, or within one step, for so long, a process hangs. */
  readonly hangMs: number;
  /** Asks the process: resolves with the milliseconds of its present step. What it throws is no answer. */
  readonly ask: () => Promise<number>;
  /** Called once. */
  readonly onHang: () => void;
}

/**
 * Beats are counted, not time: when this process itself has stood still, in a container that was paused, say, that is
 * no fault of the one that it watches.
 */
export class Watchdog {
  readonly #options: WatchdogOptions;
  readonly #heartbeat: NodeJS.Timeout;
  #unanswered = 0;

  constructor(options: WatchdogOptions) {
    this.#options = options;
    this.#heartbeat = setInterval(() => this.#beat(), heartbeatMs).unref();
  }

  stop(): void {
    clearInterval(this.#heartbeat);
  }

  #beat(): void {
    const { hangMs, ask, onHang } = this.#options;
    if (this.#unanswered * heartbeatMs >= hangMs) {
      this.stop();
      onHang();
      return;
    }
    this.#unanswered += 1;
    ask().then(
      (stepMs) => {
        if (stepMs < hangMs) this.#unanswered = 0;
      },
      () => {}, // the process has died: its exit is handled where it is noticed
    );
  }
}
