/** Promises that are remembered: a failure must not be for good. */
import { describe, expect, it } from "vitest";
import { once } from "../../../src/async/once.ts";

describe("what is made once", () => {
  it("is one for all who ask", async () => {
    let made = 0;
    const get = once(async () => ++made);
    expect(await Promise.all([get(), get()])).toEqual([1, 1]);
    expect(await get()).toBe(1);
  });

  it("is made anew after a failure, which all who waited are told", async () => {
    let tries = 0;
    const get = once(async () => {
      tries += 1;
      if (tries === 1) throw new Error("no memory");
      return tries;
    });
    const outcomes = await Promise.allSettled([get(), get()]);
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect(await get()).toBe(2);
    expect(await get()).toBe(2);
  });
});
