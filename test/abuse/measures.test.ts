/** The measures themselves: they see what they are there for. */
import { describe, expect, it } from "vitest";
import { costOf, expectUnblocked, megabyte } from "./measures.ts";

/** Keeps the event loop from anything else. */
function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

const nothing = (): void => {};

describe("a cost", () => {
  it("is how long the event loop stood still, and not how long it all took", async () => {
    const { blockMs } = await costOf(() => block(300));
    // The look before it may have been late itself.
    expect(blockMs).toBeGreaterThan(250);
    const inParts = async (): Promise<void> => {
      for (let part = 0; part < 300; part++) {
        block(1);
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    await expectUnblocked(nothing, inParts);
  });

  it("is too much where the event loop stands still each time", async () => {
    await expect(expectUnblocked(nothing, () => block(2_000))).rejects.toThrow("were allowed");
  });

  it("is what is held afterwards, on the heap and beside it, and the most that was held meanwhile", async () => {
    const heap = await costOf(() => Array.from({ length: 4 * megabyte }, () => 0.5));
    expect(heap.grownBytes).toBeGreaterThan(30 * megabyte);
    const buffer = await costOf(() => Buffer.alloc(64 * megabyte));
    expect(buffer.grownBytes).toBeGreaterThan(60 * megabyte);
    const passing = await costOf(async () => {
      const kept = Buffer.alloc(64 * megabyte);
      await new Promise((resolve) => setTimeout(resolve, 50));
      return kept.length;
    });
    expect(passing.grownBytes).toBeLessThan(10 * megabyte);
    expect(passing.peakBytes).toBeGreaterThan(60 * megabyte);
  });
});
