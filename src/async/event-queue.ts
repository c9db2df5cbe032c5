/** @module Events pushed on one side, iterated on the other. */

export class EventQueue<Event> implements AsyncIterable<Event> {
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

  /** Yields every event, then ends or throws. One consumer. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Event> {
    for (;;) {
      for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift()) {
        this.#waiting -= next.size;
        yield next.event;
      }
      if (this.#outcome !== undefined) {
        if ("error" in this.#outcome) throw this.#outcome.error;
        return;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }
}
