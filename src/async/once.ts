/** @module What is made when it is first asked for, and for all who ask. */

/** One making for all who ask meanwhile and after; one that failed is not kept, so that who asks next begins anew. */
export function once<Value>(make: () => Promise<Value>): () => Promise<Value> {
  let made: Promise<Value> | undefined;
  return () => {
    if (made !== undefined) return made;
    const making = make();
    made = making;
    making.catch(() => {
      if (made === making) made = undefined;
    });
    return making;
  };
}
