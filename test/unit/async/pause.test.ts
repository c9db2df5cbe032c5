/** Waiting: no longer than somebody waits for it. */
import { describe, expect, it } from "vitest";
import { inTime, pause } from "../../../src/async/pause.ts";

describe("a pause", () => {
  it("ends with its time, and at once where the signal fires", async () => {
    await pause(1);
    const controller = new AbortController();
    const long = pause(1_000_000, controller.signal);
    controller.abort();
    await expect(long).rejects.toMatchObject({ code: "cancelled" });
    await expect(pause(1_000_000, controller.signal)).rejects.toMatchObject({ code: "cancelled" });
  });
});

describe("work that has a time", () => {
  it("comes to what it comes to, where it is in time", async () => {
    expect(await inTime(Promise.resolve("done"), 1_000_000, () => "late")).toBe("done");
    await expect(inTime(Promise.reject(new Error("broken")), 1_000_000, () => "late")).rejects.toThrow("broken");
  });

  it("comes to what stands in for it, where it takes longer", async () => {
    const never = new Promise<string>(() => {});
    expect(await inTime(never, 1, () => "late")).toBe("late");
    const tooLate = (): never => {
      throw new Error("no answer");
    };
    await expect(inTime(never, 1, tooLate)).rejects.toThrow("no answer");
  });
});
