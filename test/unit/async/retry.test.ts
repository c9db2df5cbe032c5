/** Work that is done again: as often as is allowed, where that may help, and not before what failed asks for. */
import { describe, expect, it } from "vitest";
import { type RetryOptions, retry } from "../../../src/async/retry.ts";
import { GatewayError } from "../../../src/types/error.ts";

/** Fails so often; what was waited for, in milliseconds. */
async function tried(failures: readonly unknown[], options: Omit<RetryOptions, "pause">) {
  const waited: number[] = [];
  const left = [...failures];
  const pause = async (ms: number): Promise<void> => void waited.push(ms);
  const work = async (): Promise<string> => {
    if (left.length > 0) throw left.shift();
    return "done";
  };
  const outcome = await retry(work, { ...options, pause }).catch((error: unknown) => error);
  return { outcome, waited };
}

const broken = new Error("broken");

describe("work that is done again", () => {
  it("comes to what its first good attempt comes to, after pauses", async () => {
    const pauseMs = (failures: number): number => 10 * failures;
    expect(await tried([broken, broken], { attempts: 3, pauseMs })).toEqual({ outcome: "done", waited: [10, 20] });
  });

  it("throws the last failure", async () => {
    const last = new Error("still broken");
    expect(await tried([broken, last], { attempts: 2 })).toEqual({ outcome: last, waited: [] });
  });

  it("is done once where another attempt would not help", async () => {
    const mayPass = (error: unknown): boolean => error !== broken;
    expect(await tried([broken], { attempts: 5, mayPass })).toEqual({ outcome: broken, waited: [] });
  });

  it("waits as long as a failure asks for, within bounds", async () => {
    const busy = (retryAfter: number) => new GatewayError("overloaded", "busy", { retryAfter });
    const options = { attempts: 9, pauseMs: () => 1_500, longestMs: 30_000 };
    expect((await tried([busy(1), busy(2), busy(1e9)], options)).waited).toEqual([1_500, 2_000, 30_000]);
    expect((await tried([busy(2)], { attempts: 9, pauseMs: () => 1_500 })).waited).toEqual([1_500]);
  });

  it("tells each failure that is followed by another attempt", async () => {
    const told: unknown[] = [];
    await tried([broken, broken], { attempts: 2, onFailure: (error) => told.push(error) });
    expect(told).toEqual([broken]);
  });

  it("ends in a pause when the signal fires, and is begun no more", async () => {
    const controller = new AbortController();
    let begun = 0;
    const work = async (): Promise<never> => {
      begun += 1;
      throw broken;
    };
    const options = {
      attempts: 9,
      pauseMs: () => 1_000_000,
      onFailure: () => controller.abort(),
      signal: controller.signal,
    };
    await expect(retry(work, options)).rejects.toMatchObject({ code: "cancelled" });
    expect(begun).toBe(1);
  });
});
