/** Work in parallel: so many at once, in order, and nothing more after a failure. */
import { describe, expect, it } from "vitest";
import { inPool } from "../../../src/async/pool.ts";

describe("inPool", () => {
  const { signal } = new AbortController();

  it("keeps the items' order, does so many at once and no more", async () => {
    let [now, most] = [0, 0];
    const results = await inPool([30, 10, 20, 0], { concurrency: 2, signal }, async (ms, _, index) => {
      most = Math.max(most, ++now);
      await new Promise((resolve) => setTimeout(resolve, ms / 10));
      now -= 1;
      return index;
    });
    expect(results).toEqual([0, 1, 2, 3]);
    expect(most).toBe(2);
  });

  it("throws the first failure when what was under way has ended, and begins nothing more", async () => {
    const ended: number[] = [];
    const work = async (item: number): Promise<void> => {
      await new Promise((resolve) => setImmediate(resolve));
      ended.push(item);
      if (item === 1) throw new Error("one");
    };
    await expect(inPool([0, 1, 2, 3, 4], { concurrency: 2, signal }, work)).rejects.toThrow("one");
    expect(ended.length).toBeLessThan(5);
  });

  it("tells what is under way of the first failure, so that it begins nothing more either", async () => {
    const begun: string[] = [];
    let fail: (error: Error) => void = () => {};
    const failing = new Promise<never>((_, reject) => {
      fail = reject;
    });
    const work = async (item: number, stopped: AbortSignal): Promise<void> => {
      begun.push(`${item} first`);
      if (item === 1) return failing;
      setImmediate(() => fail(new Error("one")));
      await new Promise((resolve) => stopped.addEventListener("abort", resolve));
      stopped.throwIfAborted();
      begun.push(`${item} second`);
    };
    await expect(inPool([0, 1, 2, 3], { concurrency: 2, signal }, work)).rejects.toThrow("one");
    expect(begun).toEqual(["0 first", "1 first"]);
  });

  it("ends with the signal it was given", async () => {
    const ended = new AbortController();
    const work = async (_: number, stopped: AbortSignal): Promise<void> => {
      ended.abort(new Error("enough"));
      stopped.throwIfAborted();
    };
    await expect(inPool([0, 1], { concurrency: 1, signal: ended.signal }, work)).rejects.toThrow("enough");
  });
});
