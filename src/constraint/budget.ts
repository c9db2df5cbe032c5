/**
 * @module How much work a request's schemas may be. It is counted, not timed: what is refused is refused on every
 * machine, however busy.
 */
import { outermost, type Place, unkeepable } from "./place.ts";

/** Nodes, characters and comparisons. Each takes some ten nanoseconds. */
const mostWork = 1_000_000;
/** Of it, kept back from schemas that need not be kept to: what stands around them must be written. */
const keptBack = 100_000;
/** Of what is left, so much is kept back from a part for what comes after it. */
const keptShare = 0.1;

export class Budget {
  /** What is being worked on. */
  at: Place = outermost("schema");
  #left: number;
  /** What must be left. */
  #floor = 0;
  #isFree = false;

  constructor(work: number = mostWork) {
    this.#left = work;
  }

  /** Throws "invalid_request" naming the place where there is nothing left of it. */
  spend(work: number): void {
    if (this.#isFree) return;
    this.#left -= work;
    if (this.#left >= this.#floor) return;
    this.#left = Math.min(this.#floor, this.#left + work);
    const advice = "fewer properties, alternatives, constants and references, shorter patterns";
    throw unkeepable(this.at, `the request's schemas are too large to keep to; make them smaller: ${advice}`);
  }

  /** Of what is left, most may be spent on this: where that is too little, what comes after it can still be done. */
  onPart<Made>(make: () => Made): Made {
    const floor = this.#floor;
    const least = Math.max(floor, keptBack);
    this.#floor = least + Math.max(0, this.#left - least) * keptShare;
    try {
      return make();
    } finally {
      this.#floor = floor;
    }
  }

  /** The gateway's own rules: they are few, and must be whole. */
  freely<Made>(make: () => Made): Made {
    const wasFree = this.#isFree;
    this.#isFree = true;
    try {
      return make();
    } finally {
      this.#isFree = wasFree;
    }
  }
}
