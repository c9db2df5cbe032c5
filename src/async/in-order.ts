/** @module Calls that follow one another. */

/** Writes of a file one after another; one that failed is its caller's, not the next one's. */
export function inOrder<Entry>(add: (entry: Entry) => Promise<void>): (entry: Entry) => Promise<void> {
  let last: Promise<void> = Promise.resolve();
  return (entry) => {
    const added = last.then(() => add(entry));
    last = added.catch(() => {});
    return added;
  };
}
