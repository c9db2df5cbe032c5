/** @module Calls to a thread that have not been answered yet. */
import { GatewayError } from "../../types/error.ts";

const callMs = 10_000;

interface Waiting {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

export class PendingCalls {
  readonly #waiting = new Map<number, Waiting>();
  #next = 0;

  /** Throws "records_unavailable": the thread says so, ends, or takes too long (`onLate`). */
  begin(post: (id: number) => void, onLate: (id: number) => void = () => {}): Promise<unknown> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.fail(id, "it takes too long");
        onLate(id);
      }, callMs);
      const done = <Value>(act: (value: Value) => void) => {
        return (value: Value): void => {
          clearTimeout(timer);
          act(value);
        };
      };
      this.#waiting.set(id, { resolve: done(resolve), reject: done(reject) });
      post(id);
    });
  }

  succeed(id: number, result: unknown): void {
    this.#take(id)?.resolve(result);
  }

  fail(id: number, reason: string): void {
    this.#take(id)?.reject(unavailable(reason));
  }

  failAll(reason: string): void {
    for (const id of [...this.#waiting.keys()]) this.fail(id, reason);
  }

  #take(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    return waiting;
  }
}

export function unavailable(reason: string | null): GatewayError {
  return new GatewayError("records_unavailable", `Records cannot be had now: ${reason ?? "unknown"}. Retry later.`);
}
