/** @module Prometheus's kinds of metrics, under the gateway's names. */
import { Counter, Gauge, Histogram, type Registry } from "prom-client";

export class Instruments {
  readonly #registers: Registry[];

  constructor(registry: Registry) {
    this.#registers = [registry];
  }

  readonly counter = (name: string, help: string, labelNames: string[] = []): Counter =>
    new Counter({ name: `icdpo_${name}`, help, labelNames, registers: this.#registers });

  readonly histogram = (name: string, help: string, labelNames: string[], buckets: number[]): Histogram =>
    new Histogram({ name: `icdpo_${name}`, help, labelNames, buckets, registers: this.#registers });

  readonly gauge = (name: string, help: string, labelNames: string[] = []): Gauge =>
    new Gauge({ name: `icdpo_${name}`, help, labelNames, registers: this.#registers });

  /**
   * A counter of what is counted elsewhere: it goes up by what was added there since the last call. A count that begins
   * anew there takes nothing away.
   */
  readonly follower = (name: string, help: string): ((count: number) => void) => {
    const followed = this.counter(name, help);
    let last = 0;
    return (count) => {
      followed.inc(Math.max(0, count - last));
      last = count;
    };
  };
}
