/** Who is let in, who is told to come back when, and what is done twice. */
import { describe, expect, it } from "vitest";
import { Admission } from "../../../src/gateway/admission.ts";
import { onceMore } from "../../../src/gateway/work.ts";
import { randomFrom } from "../../../src/icdpo/seed.ts";
import { GatewayError } from "../../../src/types/error.ts";
import { gate } from "../scripted-engine.ts";

/** Work that has a place as long as it takes. */
async function occupy<Result>(admission: Admission, work: () => Promise<Result>): Promise<Result> {
  const leave = admission.enter();
  return work().finally(leave);
}

const died = new GatewayError("engine_unavailable", "It died.");

/** An admission on a clock that stands until it is moved. */
function site(limit: number) {
  let time = 5_000;
  const admission = new Admission({ limit, now: () => time });
  const pass = (ms: number): void => {
    time += ms;
  };
  /** One request after another, each of so many milliseconds. */
  const serve = async (...durations: readonly number[]): Promise<void> => {
    for (const ms of durations) await occupy(admission, async () => pass(ms));
  };
  /** Fills what room there is, `ms` before it ends all of it. */
  const retryAfter = async (): Promise<number | null> => {
    const { opened, open } = gate();
    const held = Array.from({ length: limit - admission.admitted }, () => occupy(admission, () => opened));
    const error: unknown = await occupy(admission, async () => "room").catch((refusal: unknown) => refusal);
    open();
    await Promise.all(held);
    if (!(error instanceof GatewayError)) throw new Error(`not refused: ${error}`);
    expect(error.code).toBe("overloaded");
    expect(error.message).toContain(`${limit} requests`);
    expect(error.message).toContain(`${error.retryAfter} s`);
    return error.retryAfter;
  };
  return { admission, pass, serve, retryAfter };
}

describe("admission", () => {
  it("lets so many requests in at once and not one more, in whatever order they end", async () => {
    for (const order of [
      [0, 1, 2],
      [2, 0, 1],
    ]) {
      const { admission } = site(3);
      const gates = [gate(), gate(), gate()];
      const held = gates.map(({ opened }) => occupy(admission, () => opened));
      expect(admission.admitted).toBe(3);
      for (const [ended, place] of order.entries()) {
        gates[place]?.open();
        await held[place];
        expect(admission.admitted).toBe(2 - ended);
        await expect(occupy(admission, async () => "room")).resolves.toBe("room");
      }
      expect(admission.admitted).toBe(0);
    }
  });

  it("does not begin the work of who is refused, and keeps no place for them", async () => {
    const { admission } = site(1);
    const { opened, open } = gate();
    const held = occupy(admission, () => opened);
    let begun = 0;
    for (let i = 0; i < 3; i++)
      await expect(occupy(admission, async () => void begun++)).rejects.toMatchObject({
        code: "overloaded",
        param: null,
      });
    expect([begun, admission.admitted]).toEqual([0, 1]);
    open();
    await held;
    expect(admission.admitted).toBe(0);
  });

  it.each([
    ["a failure", new GatewayError("engine_failure", "Out of memory.")],
    ["a client that left", new GatewayError("cancelled", "Left.")],
    ["a deadline", new GatewayError("timeout", "Late.")],
    ["something unforeseen", new TypeError("oops")],
    ["an engine that stays down", died],
  ])("has room again after %s, and throws it as it is", async (_, error) => {
    const { admission } = site(1);
    await expect(occupy(admission, () => Promise.reject(error))).rejects.toBe(error);
    expect(admission.admitted).toBe(0);
    await expect(occupy(admission, async () => "room")).resolves.toBe("room");
  });
});

describe("the time after which to come back", () => {
  it("grows with the time between the ends of requests, and shrinks again", async () => {
    const { serve, retryAfter } = site(4);
    const told = [await retryAfter()];
    for (const ms of [10_000, 10_000, 60_000, 60_000]) {
      await serve(ms, ms);
      told.push(await retryAfter());
    }
    expect(told.toSorted((a, b) => Number(a) - Number(b))).toEqual(told);
    expect(told.at(-1)).toBeGreaterThan(told[0] as number);
    await serve(...Array.from({ length: 60 }, () => 1));
    expect(await retryAfter()).toBe(1);
  });

  it("is half of what those in front of it take, as measured", async () => {
    for (const limit of [2, 8]) {
      const { serve, retryAfter } = site(limit);
      await serve(...Array.from({ length: 200 }, () => 7_900));
      expect(await retryAfter()).toBe(Math.ceil((7.9 * limit) / 2));
    }
  });

  it("does not count the time in which there was nothing to do", async () => {
    const { serve, pass, retryAfter } = site(2);
    await serve(100);
    pass(1e9);
    await serve(100);
    expect(await retryAfter()).toBe(1);
  });

  it("is measured between ends where requests overlap, not from their beginnings", async () => {
    const { admission, pass, retryAfter } = site(10);
    for (let round = 0; round < 40; round++) {
      const gates = Array.from({ length: 10 }, gate);
      const held = gates.map(({ opened }) => occupy(admission, () => opened));
      // Each takes up to 20 s, but one ends every 2 s.
      for (const [place, { open }] of gates.entries()) {
        pass(2_000);
        open();
        await held[place];
      }
    }
    expect(await retryAfter()).toBe(10);
  });

  it("is an integer from 1 to 300, whatever was measured", async () => {
    const random = randomFrom(11);
    const told = new Set<number | null>();
    for (let round = 0; round < 300; round++) {
      const { serve, retryAfter } = site(1 + Math.floor(random() * 64));
      await serve(...Array.from({ length: Math.floor(random() * 8) }, () => 10 ** (random() * 9 - 1)));
      const seconds = await retryAfter();
      expect(seconds).toSatisfy((value: number) => Number.isInteger(value) && value >= 1 && value <= 300);
      told.add(seconds);
    }
    expect(told).toContain(1);
    expect(told).toContain(300);
    expect(told.size).toBeGreaterThan(10);
  });
});

describe("work that an engine ended under", () => {
  /** Work that fails with these errors, then ends well. */
  const work = (...errors: readonly Error[]) => {
    const ran = { times: 0 };
    const run = async (): Promise<string> => {
      const error = errors[ran.times++];
      if (error !== undefined) throw error;
      return `run ${ran.times}`;
    };
    return { ran, run };
  };

  it("is done once more", async () => {
    const { ran, run } = work(died);
    await expect(onceMore(run, () => false)).resolves.toBe("run 2");
    expect(ran.times).toBe(2);
  });

  it("is done once more, not twice, and the second failure is told", async () => {
    const again = new GatewayError("engine_unavailable", "It died again.");
    const { ran, run } = work(died, again);
    await expect(onceMore(run, () => false)).rejects.toBe(again);
    expect(ran.times).toBe(2);
  });

  it.each([
    ["sent", [true], 1],
    ["not sent", [false], 2],
  ] as const)("is done once more only where nothing was sent: %s", async (_, sent, times) => {
    const { ran, run } = work(died);
    await onceMore(run, () => sent[0]).catch((error: unknown) => expect(error).toBe(died));
    expect(ran.times).toBe(times);
  });

  it("is asked whether anything was sent when it fails, not when it begins", async () => {
    let sent = false;
    const failing = async () => {
      sent = true;
      throw died;
    };
    await expect(onceMore(failing, () => sent)).rejects.toBe(died);
  });

  it.each([
    "engine_failure",
    "cancelled",
    "timeout",
    "context_length_exceeded",
    "overloaded",
    "model_unavailable",
  ] as const)("is not done again after %s", async (code) => {
    const { ran, run } = work(new GatewayError(code, "No."));
    await expect(onceMore(run, () => false)).rejects.toMatchObject({ code });
    expect(ran.times).toBe(1);
  });

  it("is not done again where it has been tried again already", async () => {
    const { ran, run } = work(new GatewayError("engine_unavailable", "All replicas are down.", { isFinal: true }));
    await expect(onceMore(run, () => false)).rejects.toMatchObject({ message: "All replicas are down." });
    expect(ran.times).toBe(1);
  });

  it("is not done again after an error that is not the gateway's, whatever it calls itself", async () => {
    const { ran, run } = work(Object.assign(new Error("no"), { code: "engine_unavailable" }));
    await expect(onceMore(run, () => false)).rejects.toThrow("no");
    expect(ran.times).toBe(1);
  });
});
