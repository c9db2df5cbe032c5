/**
 * @module How much work a request's schemas may be. It is counted, not timed: what is refused is refused on every
 * machine, however busy.
 */
import { outermost, type Place, refusal } from "./place.ts";

/** Nodes, characters and comparisons. Each takes some ten nanoseconds. */
const mostWork = 1_000_000;

export class Budget {
  /** What is being worked on. */
  at: Place = outermost("schema");
  #left: number;

  constructor(work: number = mostWork) {
    this.#left = work;
  }

  /** Throws "invalid_request" naming the place where there is nothing left of it. */
  spend(work: number): void {
    this.#left -= work;
    if (this.#left >= 0) return;
    const advice = "fewer properties, alternatives, constants and references, shorter patterns";
    throw refusal(this.at, `the request's schemas are too large to keep to; make them smaller: ${advice}`);
  }
}
