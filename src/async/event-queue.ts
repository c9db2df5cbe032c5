/** @module Events pushed on one side, iterated on the other. */

/** An iterator itself: a generator around it would cost more than most events do. */
export class EventQueue<Event> implements AsyncIterableIterator<Event, undefined> {
  readonly #events: { readonly event: Event; readonly size: number }[] = [];
  #waiting = 0;
  #outcome: { readonly error?: unknown } | undefined;
  #wake: (() => void) | undefined;

  /** The sizes of the events that nobody has taken yet, in sum. */
  get waiting(): number {
    return this.#waiting;
  }

  push(event: Event, size = 0): void {
    this.#events.push({ event, size });
    this.#waiting += size;
    this.#wake?.();
  }

  end(): void {
    this.#outcome = {};
    this.#wake?.();
  }

  fail(error: unknown): void {
    this.#outcome = { error };
    this.#wake?.();
  }

  /** Every event, then the end or the error. One consumer. */
  async next(): Promise<IteratorResult<Event, undefined>> {
    for (;;) {
      const next = this.#events.shift();
      if (next !== undefined) {
        this.#waiting -= next.size;
        return { value: next.event, done: false };
      }
      if (this.#outcome !== undefined) {
        if ("error" in this.#outcome) throw this.#outcome.error;
        return { value: undefined, done: true };
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
