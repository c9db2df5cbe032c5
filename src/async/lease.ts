/**
 * @module A lease of what has to be started: opened when it is needed, closed when nobody needs it any more and its
 * last call has ended.
 */
import { GatewayError } from "../types/error.ts";
import { untilAborted } from "./until-aborted.ts";

export interface LeaseOptions<Held> {
  /** The thing itself, where nothing has to be started. */
  readonly open: () => Held | Promise<Held>;
  /** What is not needed stays for so long after its last call: a request makes several, with pauses between them. */
  readonly lingerMs: number;
  readonly log: (line: string) => void;
  /** What errors call it: "engine", say. */
  readonly noun: string;
}

/**
 * Who still holds it when it is no longer needed, a request that began under an older set of policies, goes on with it;
 * where it has been closed meanwhile, the call opens it once more.
 */
export class Lease<Held extends { close(): Promise<void> }> {
  readonly #options: LeaseOptions<Held>;
  #isNeeded = true;
  #isShut = false;
  /** Calls under way. */
  #calls = 0;
  /** While it is opened, and from then on. */
  #opened: Held | Promise<Held> | undefined;
  #running: Held | undefined;
  /** The end of the one before, until it has come: two at once might not fit into memory. */
  #ending: Promise<void> | undefined;
  #lingering: NodeJS.Timeout | undefined;

  constructor(options: LeaseOptions<Held>) {
    this.#options = options;
  }

  /** It is needed, and stays until it is released. */
  keep(): void {
    this.#isNeeded = true;
    clearTimeout(this.#lingering);
  }

  /** It is not needed any more. */
  release(): void {
    this.#isNeeded = false;
    this.#endWhenIdle();
  }

  /** Undefined: it has not been opened, or is closed. */
  get running(): Held | undefined {
    return this.#running;
  }

  /** The thing itself, opened where it does not run. Throws what opening it throws; the next call tries again. */
  async opened(): Promise<Held> {
    if (this.#isShut) throw new GatewayError("engine_unavailable", `The ${this.#options.noun} is shut down.`);
    return this.#opened ?? this.#open();
  }

  async call<Result>(signal: AbortSignal | undefined, work: (held: Held) => Promise<Result>): Promise<Result> {
    const leave = this.#enter();
    try {
      return await work(await this.#at(signal));
    } finally {
      leave();
    }
  }

  async *stream<Event>(
    signal: AbortSignal | undefined,
    work: (held: Held) => AsyncIterable<Event>,
  ): AsyncGenerator<Event> {
    const leave = this.#enter();
    try {
      yield* work(await this.#at(signal));
    } finally {
      leave();
    }
  }

  /** For good. */
  async close(): Promise<void> {
    this.#isShut = true;
    await this.#end();
  }

  /** One that runs is not waited for: a request makes several calls, each of which would listen to its signal. */
  #at(signal: AbortSignal | undefined): Held | Promise<Held> {
    return this.#running !== undefined && !signal?.aborted ? this.#running : untilAborted(this.opened(), signal);
  }

  #enter(): () => void {
    this.#calls += 1;
    clearTimeout(this.#lingering);
    return () => {
      this.#calls -= 1;
      this.#endWhenIdle();
    };
  }

  #open(): Held | Promise<Held> {
    const opened = this.#ending === undefined ? this.#options.open() : this.#ending.then(() => this.#options.open());
    this.#opened = opened;
    if (!(opened instanceof Promise)) {
      this.#running = opened;
      return opened;
    }
    opened.then(
      (held) => {
        if (this.#opened === opened) this.#running = held;
      },
      () => {
        if (this.#opened === opened) this.#opened = undefined;
      },
    );
    return opened;
  }

  #endWhenIdle(): void {
    const { lingerMs, log } = this.#options;
    clearTimeout(this.#lingering);
    if (this.#isNeeded || this.#calls > 0 || this.#opened === undefined) return;
    this.#lingering = setTimeout(() => {
      log("no policy needs it any more; closing it");
      void this.#end();
    }, lingerMs).unref();
  }

  /** Never throws. */
  #end(): Promise<void> {
    const opened = this.#opened;
    clearTimeout(this.#lingering);
    this.#opened = undefined;
    this.#running = undefined;
    if (opened === undefined) return this.#ending ?? Promise.resolve();
    const ending = this.#endOf(opened, this.#ending).finally(() => {
      if (this.#ending === ending) this.#ending = undefined;
    });
    this.#ending = ending;
    return ending;
  }

  async #endOf(opened: Held | Promise<Held>, before: Promise<void> | undefined): Promise<void> {
    try {
      await before;
      const held = await Promise.resolve(opened).catch(() => undefined); // one that could not be opened has no end
      await held?.close();
    } catch (error) {
      this.#options.log(`it could not be closed: ${error}`);
    }
  }
}
