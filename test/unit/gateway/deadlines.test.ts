/** Limits of stages, on a clock that the test moves. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { StageDeadlines } from "../../../src/gateway/deadlines.ts";

const limits = { queue: 100, prefill: 1_000 };

describe("a stage's limit", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("ends the work where waiting for the model takes longer, and says which it was", () => {
    const deadlines = new StageDeadlines(limits, []);
    deadlines.enter("queue");
    vi.advanceTimersByTime(99);
    expect(deadlines.signal.aborted).toBe(false);
    vi.advanceTimersByTime(1);
    expect(deadlines.signal.reason).toMatchObject({
      code: "timeout",
      message: expect.stringContaining("(ICDPO_QUEUE_TIMEOUT_MS)"),
    });
  });

  it("is over when the stage is: once the prompt is being fed, waiting has ended", () => {
    const deadlines = new StageDeadlines(limits, []);
    deadlines.enter("queue");
    vi.advanceTimersByTime(99);
    deadlines.enter("prefill");
    vi.advanceTimersByTime(999);
    expect(deadlines.signal.aborted).toBe(false);
    deadlines.enter("sample");
    vi.advanceTimersByTime(1_000_000);
    expect(deadlines.signal.aborted).toBe(false);
    deadlines.close();
  });

  it("begins anew with each sign of progress, and fires where none comes", () => {
    const deadlines = new StageDeadlines(limits, []);
    for (let part = 0; part < 50; part++) {
      deadlines.enter("prefill");
      vi.advanceTimersByTime(999);
    }
    expect(deadlines.signal.aborted).toBe(false);
    vi.advanceTimersByTime(1);
    expect(deadlines.signal.reason).toMatchObject({
      code: "timeout",
      message: expect.stringContaining("(ICDPO_PREFILL_TIMEOUT_MS)"),
    });
  });

  it("leaves nothing behind where the request is over", () => {
    const deadlines = new StageDeadlines(limits, []);
    deadlines.enter("prefill");
    deadlines.close();
    expect(vi.getTimerCount()).toBe(0);
    expect(deadlines.signal.aborted).toBe(false);
  });
});
