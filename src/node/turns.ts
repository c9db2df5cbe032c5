/** @module Turns at work that holds the event loop up: one in each of its rounds, so that whoever else waits for it is seen to in between. */

/**
 * Resolves when it is the caller's turn, which lasts until the caller waits for something. Everybody's own `setImmediate` would not do: all of them are run in
 * the same round.
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
