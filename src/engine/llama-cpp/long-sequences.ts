/**
 * @module Sequences that are longer than the usual ones: fewer, in a context of their own, which is opened when a
 * request first needs it, as long as that request needs it, and opened anew where a later one needs more.
 */
import { inOrder } from "../../async/in-order.ts";
import { untilAborted } from "../../async/until-aborted.ts";
import type { Backend } from "./backend.ts";
import { Scheduler, type SchedulerOptions } from "./scheduler.ts";
import type { Sequences } from "./sizing.ts";

export interface LongBackend {
  readonly backend: Backend;
  limitThreads(threads: number): void;
  close(): Promise<void>;
}

export interface LongOptions extends SchedulerOptions {
  /** `[lengths]`, the shortest first. */
  readonly longer: readonly Sequences[];
  /** Throws "out_of_room" where there is no memory for it any more. */
  readonly open: (sequences: Sequences) => Promise<LongBackend>;
}

interface Opened extends LongBackend {
  readonly scheduler: Scheduler;
  users: number;
}

/** To be let go of when nothing of its user's is in it any more. */
export interface Lent {
  readonly scheduler: Scheduler;
  readonly contextSize: number;
  release(): void;
}

export class LongSequences {
  readonly #options: LongOptions;
  #opened: Opened | undefined;
  #threads = Number.POSITIVE_INFINITY;
  /** Nobody overtakes, or who needs a longer context might wait for ever. */
  readonly #inTurn = inOrder();
  #whenUnused = (): void => {};

  constructor(options: LongOptions) {
    this.#options = options;
  }

  get scheduler(): Scheduler | undefined {
    return this.#opened?.scheduler;
  }

  limitThreads(threads: number): void {
    this.#threads = threads;
    this.#opened?.limitThreads(threads);
  }

  /**
   * A scheduler whose sequences hold so many tokens, or as many as any can. Waits until no shorter one is in use. Throws
   * "cancelled" when the signal fires, "out_of_room" where it cannot be opened.
   */
  async take(tokens: number, signal: AbortSignal): Promise<Lent> {
    const taken = this.#inTurn(() => (signal.aborted ? undefined : this.#take(tokens)));
    try {
      const lent = await untilAborted(taken, signal);
      return lent as Lent;
    } catch (error) {
      taken.then(
        (lent) => lent?.release(),
        () => {},
      );
      throw error;
    }
  }

  async #take(tokens: number): Promise<Lent> {
    const { longer } = this.#options;
    const wanted = longer.find(({ contextSize }) => contextSize >= tokens) ?? (longer.at(-1) as Sequences);
    if (this.#opened === undefined || this.#opened.backend.contextSize < wanted.contextSize) await this.#open(wanted);
    const opened = this.#opened as Opened;
    opened.users += 1;
    let isReleased = false;
    return {
      scheduler: opened.scheduler,
      contextSize: opened.backend.contextSize,
      release: () => {
        if (isReleased) return;
        isReleased = true;
        opened.users -= 1;
        if (opened.users === 0) this.#whenUnused();
      },
    };
  }

  async #open(wanted: Sequences): Promise<void> {
    const before = this.#opened;
    if (before !== undefined) {
      if (before.users > 0)
        await new Promise<void>((resolve) => {
          this.#whenUnused = resolve;
        });
      this.#opened = undefined;
      await before.close();
    }
    const opened = await this.#options.open(wanted);
    opened.limitThreads(this.#threads);
    this.#opened = { ...opened, scheduler: new Scheduler(opened.backend, this.#options), users: 0 };
  }
}
