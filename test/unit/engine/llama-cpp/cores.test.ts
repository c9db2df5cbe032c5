/** How engines of one program share the cores, and what they know of others on the machine. */
import { describe, expect, it } from "vitest";
import { AvailableCores } from "../../../../src/engine/llama-cpp/available-cores.ts";
import { Cores, divideCores, type Sharer } from "../../../../src/engine/llama-cpp/cores.ts";
import { LastingChange } from "../../../../src/engine/llama-cpp/lasting-change.ts";

describe("cores", () => {
  it.each([
    [8, [8], [8]],
    [8, [8, 8], [4, 4]],
    [8, [8, 8, 8], [3, 3, 2]],
    [8, [2, 8], [2, 6]],
    [8, [1, 8, 2], [1, 5, 2]],
    [8, [2, 2], [2, 2]],
    [2, [2, 2, 2], [1, 1, 1]],
    [2, [2, 2], [1, 1]],
    [1, [1], [1]],
    [4, [], []],
  ])("%i are divided among engines that want %j: %j", (cores, most, shares) => {
    expect(divideCores(cores, most)).toEqual(shares);
  });

  it("are never given twice, and none is left while somebody wants it", () => {
    for (let cores = 1; cores <= 9; cores++)
      for (let a = 1; a <= 9; a++)
        for (let b = 1; b <= 9; b++) {
          const most = [a, b];
          const shares = divideCores(cores, most);
          const given = shares.reduce((sum, share) => sum + share, 0);
          expect(given).toBe(Math.max(2, Math.min(cores, a + b)));
          for (const [i, share] of shares.entries()) expect(share).toBeLessThanOrEqual(most[i] as number);
        }
  });

  it("belong to the engines at work", () => {
    const cores = new Cores();
    const told: Record<string, number[]> = { first: [], second: [] };
    const sharer = (name: string): Sharer => ({ cores: 4, most: 4, allow: (threads) => told[name]?.push(threads) });
    const first = sharer("first");
    const second = sharer("second");
    cores.enter(first);
    cores.enter(second);
    cores.leave(second);
    cores.leave(second);
    cores.leave(first);
    cores.enter(second);
    expect(told).toEqual({ first: [4, 2, 4], second: [2, 4] });
  });
});

describe("available cores", () => {
  it("are those of the machine without what others used over the last half second", () => {
    let times = { at: 1000, busy: 50_000, own: 200 };
    const available = new AvailableCores(() => times, 4);
    expect(available.get(1400)).toBe(4);
    times = { at: 1600, busy: 50_000 + 600 * 3, own: 200 + 600 };
    expect(available.get(1600)).toBe(2);
    expect(available.get(2000)).toBe(2);
    times = { at: 2600, busy: times.busy + 1000, own: times.own + 1000 };
    expect(available.get(2600)).toBe(4);
  });

  it("are never more than there are, and unknown where the system does not tell", () => {
    let times: { at: number; busy: number; own: number } | undefined = { at: 0, busy: 0, own: 0 };
    const available = new AvailableCores(() => times, 4);
    times = { at: 1000, busy: 990, own: 1000 };
    expect(available.get(1000)).toBe(4);
    expect(new AvailableCores(() => undefined, 4).get(1000)).toBeUndefined();
  });
});

describe("a change", () => {
  it("is told when it has lasted, and once", () => {
    const change = new LastingChange<number>(10);
    expect(change.see(2, 0)).toBeUndefined();
    expect(change.see(2, 20)).toBeUndefined();
    expect(change.see(1, 30)).toBeUndefined();
    expect(change.see(1, 39)).toBeUndefined();
    expect(change.see(1, 40)).toEqual({ before: 2, now: 1 });
    expect(change.see(1, 60)).toBeUndefined();
    expect(change.see(2, 70)).toBeUndefined();
    expect(change.see(1, 79)).toBeUndefined();
    expect(change.see(2, 80)).toBeUndefined();
    expect(change.see(2, 90)).toEqual({ before: 1, now: 2 });
  });
});
