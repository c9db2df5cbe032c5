/** @module Work that is done one piece after another. */

/** Resolves and rejects as the work does, which begins when all that was asked for before it is over. */
export type InOrder = <Result>(work: () => Promise<Result> | Result) => Promise<Result>;

/** One piece at a time, in the order of asking. One that failed is its caller's, not the next one's. */
export function inOrder(): InOrder {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const done = last.then(() => work());
    last = done.catch(() => {});
    return done;
  };
}
