/** @module Turns at work that holds the event loop up: one in each of its rounds, and all else in between. */

/**
 * What it returns resolves when it is the caller's turn, which lasts until the caller waits for something. An immediate
 * for each caller would not do: Node runs all that wait in the same round.
 */
export function turns(): () => Promise<void> {
  let last = Promise.resolve();
  return () => {
    last = last.then(nextRound);
    return last;
  };
}

function nextRound(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}
