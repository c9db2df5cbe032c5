/** @module Events pushed on one side, iterated on the other. */

export class EventQueue<Event> implements AsyncIterable<Event> {
  readonly #events: Event[] = [];
  #outcome: { readonly error?: unknown } | undefined;
  #wake: (() => void) | undefined;

  push(event: Event): void {
    this.#events.push(event);
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
      for (let event = this.#events.shift(); event !== undefined; event = this.#events.shift()) yield event;
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
