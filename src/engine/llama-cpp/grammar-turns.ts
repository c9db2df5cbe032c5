/** @module Tokens under a grammar, drawn one after another, so that each can be told what it takes. */
import { inOrder } from "../../async/in-order.ts";
import { GatewayError } from "../../types/error.ts";

/**
 * Processor time for one token, in microseconds. Six hundred alternatives over a large vocabulary take a third of it.
 */
const mostPerToken = 2_000_000;

/**
 * Alternatives that begin alike and hold themselves can double with every character, which no look at the grammar tells
 * beforehand. llama.cpp follows them all. A text that comes there ends, before it takes seconds a token. What counts is
 * work: a busy machine is no reason.
 */
export class GrammarTurns {
  readonly #inTurn = inOrder();
  readonly #now: () => number;

  /** `now`: processor time that this process has used, in microseconds. */
  constructor(now: () => number = processorTime) {
    this.#now = now;
  }

  /** Throws "invalid_request" where the draw took too much. */
  take<Drawn>(draw: () => Promise<Drawn>): Promise<Drawn> {
    return this.#inTurn(async () => {
      const start = this.#now();
      const drawn = await draw();
      if (this.#now() - start > mostPerToken) throw tooAmbiguous();
      return drawn;
    });
  }
}

function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

function tooAmbiguous(): GatewayError {
  const advice = "Tell its alternatives apart by what they begin with, and use fewer optional properties.";
  return new GatewayError(
    "invalid_request",
    `Under its schemas this answer could go on in too many ways at once. ${advice}`,
  );
}
