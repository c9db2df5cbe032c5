/** The control of threads on simulated machines: steps cost what a model says, and the clock is theirs. */
import { describe, expect, it } from "vitest";
import { ThreadControl } from "../../../../src/engine/llama-cpp/threads.ts";

interface Machine {
  readonly cores: number;
  /** Processes that use up a core each, by the second. */
  readonly others?: (second: number) => number;
  /** Milliseconds that a step is held up in the mean where its threads wait for one that has no core. */
  readonly stall?: number;
  /** Whether the engine can see how many cores others leave. */
  readonly isSeen?: boolean;
  /** How many times longer all steps take, by the second: longer contexts, or a slower clock. */
  readonly factor?: (second: number) => number;
  /** Tokens of each step, by its number. */
  readonly tokens?: (step: number) => number;
  /** Milliseconds without work after a step. */
  readonly pause?: (step: number) => number;
}

interface Run {
  /** Milliseconds of the steps with the best number of threads each, over what they took. */
  readonly efficiency: number;
  /** `[changes]`: when the settled number changed, in seconds, and to what. */
  readonly changes: readonly { readonly second: number; readonly threads: number }[];
  readonly settledAt: (second: number) => number;
}

const seeds = [1, 2, 3, 4, 5];
const mixed = (step: number): number => [1, 1, 1, 3, 3, 67, 6, 40, 64][step % 9] as number;
const between =
  (from: number, to: number, count: number) =>
  (second: number): number =>
    second >= from && second < to ? count : 0;

/**
 * A step's time: a part of it cannot be shared out; threads beyond the free cores halve the speed, and make most steps
 * stall.
 */
function stepMs(machine: Machine, threads: number, tokens: number, second: number, random: () => number): number {
  const { cores, others = () => 0, stall = 100, factor = () => 1 } = machine;
  const alone = (2 + 5.5 * tokens ** 0.85) * (0.15 + 0.85 / threads) * factor(second) * (0.95 + 0.1 * random());
  const lacking = Math.max(0, threads + others(second) - cores);
  if (lacking === 0) return alone;
  if (threads === 1) return alone * (1 + 0.5 * Math.max(0, (1 + others(second)) / cores - 1));
  const crowd = Math.min(1, lacking / threads);
  return alone * (1 + crowd) + (random() < 0.3 + 0.7 * crowd ? stall * (0.3 + 1.4 * random()) : 0);
}

function simulate(control: ThreadControl, machine: Machine, seconds: number, seed: number): Run {
  const { cores, others = () => 0, isSeen = false, tokens = () => 1, pause = () => 0 } = machine;
  const random = randomFrom(seed);
  const all = Array.from({ length: cores }, (_, i) => i + 1);
  const changes: { second: number; threads: number }[] = [{ second: 0, threads: control.settled }];
  let at = 0;
  let best = 0;
  let taken = 0;
  for (let step = 0; at < seconds * 1000; step++) {
    const second = at / 1000;
    // Seen with half a second's delay.
    const available = isSeen ? Math.max(0.7, cores - others(second - 0.5)) : undefined;
    const size = tokens(step);
    const ms = stepMs(machine, control.next(size, at, available), size, second, random);
    best += Math.min(...all.map((threads) => stepMs(machine, threads, size, second, () => 0.5)));
    taken += ms;
    at += ms;
    control.record(size, ms, at);
    if (control.settled !== changes.at(-1)?.threads) changes.push({ second: at / 1000, threads: control.settled });
    at += pause(step);
  }
  const settledAt = (second: number): number =>
    changes.findLast((change) => change.second <= second)?.threads as number;
  return { efficiency: best / taken, changes, settledAt };
}

/** Mulberry32. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function onTwo(machine: Partial<Machine>, seconds: number, seed: number, start = 2): Run {
  return simulate(new ThreadControl({ start, most: 2 }), { cores: 2, ...machine }, seconds, seed);
}
function onEight(machine: Partial<Machine>, seconds: number, seed: number): Run {
  return simulate(new ThreadControl({ start: 8, most: 8 }), { cores: 8, ...machine }, seconds, seed);
}

describe.each(seeds)("threads, on machine %i", (seed) => {
  it("stay as many as they are where nobody disturbs them", () => {
    for (const tokens of [() => 1, mixed]) {
      const two = onTwo({ tokens }, 120, seed);
      expect(two.changes).toHaveLength(1);
      expect(two.efficiency).toBeGreaterThan(0.98);
      const eight = onEight({ tokens }, 120, seed);
      expect(eight.changes).toHaveLength(1);
      expect(eight.efficiency).toBeGreaterThan(0.98);
    }
  });

  it("are not even tried otherwise where the system says that nobody needs the cores, and more of them less and less", () => {
    const still = new ThreadControl({ start: 4, most: 4 });
    const vain = new ThreadControl({ start: 2, most: 4 });
    const random = randomFrom(seed);
    let at = 0;
    let tried = 0;
    for (let step = 0; at < 600_000; step++) {
      expect(still.next(mixed(step), at, 4)).toBe(4);
      // More than two are slower on this machine, by themselves.
      const threads = vain.next(mixed(step), at, 4);
      if (threads > 2) tried += 1;
      const ms = 10 * mixed(step) * (threads > 2 ? 2 : 1) * (0.95 + 0.1 * random());
      at += ms;
      still.record(mixed(step), ms, at);
      vain.record(mixed(step), ms, at);
    }
    expect(vain.settled).toBe(2);
    expect(tried).toBeLessThan(20);
  });

  it("become fewer within a few steps when others come, and as many as before within ten seconds after they go", () => {
    // Seconds for five slow steps; of the mixed ones, some are long anyway.
    const machines = [
      { stall: 100, soon: 0.5 },
      { stall: 100, isSeen: true, soon: 0.5 },
      { stall: 2000, isSeen: true, soon: 10 },
      { stall: 100, tokens: mixed, soon: 3 },
    ];
    for (const { soon, ...machine } of machines) {
      const run = onTwo({ ...machine, others: between(20, 60, 2) }, 90, seed);
      expect(run.settledAt(20)).toBe(2);
      expect(run.settledAt(20 + soon)).toBe(1);
      expect(run.settledAt(70)).toBe(2);
      expect(run.settledAt(89)).toBe(2);
      expect(run.efficiency).toBeGreaterThan(0.9);
    }
  });

  it("are compared with each other where others were there from the start", () => {
    for (const machine of [
      { stall: 100 },
      { stall: 2000, isSeen: true },
      { stall: 2000, isSeen: true, tokens: mixed },
    ]) {
      const run = onTwo({ ...machine, others: () => 2 }, 120, seed);
      expect(run.settledAt(10)).toBe(1);
      expect(run.efficiency).toBeGreaterThan(0.88);
    }
  });

  it("cost less than a twentieth of the time in trials of more on a busy machine", () => {
    for (const machine of [
      { stall: 100 },
      { stall: 100, isSeen: true },
      { stall: 1000, isSeen: true, tokens: mixed },
    ]) {
      const run = onTwo({ ...machine, others: () => 2 }, 240, seed, 1);
      expect(run.changes).toHaveLength(1);
      expect(run.efficiency).toBeGreaterThan(0.95);
    }
  });

  it("are as many as others leave cores for", () => {
    for (const machine of [{ stall: 100 }, { stall: 500, isSeen: true }]) {
      const run = onEight({ ...machine, others: between(20, 60, 2) }, 90, seed);
      expect(run.settledAt(30)).toBe(6);
      expect(run.settledAt(70)).toBe(8);
      expect(run.efficiency).toBeGreaterThan(0.9);
    }
  });

  it("are one where no other number helps, and climb back", () => {
    const run = onEight({ tokens: mixed, others: between(20, 60, 8) }, 90, seed);
    expect(run.settledAt(35)).toBe(1);
    expect(run.settledAt(70)).toBe(8);
    expect(run.efficiency).toBeGreaterThan(0.85);
  });

  it("stay where the machine itself becomes slower, at once or little by little, or contexts longer and shorter", () => {
    const slowed = onTwo({ factor: (second) => (second < 30 ? 1 : 3) }, 120, seed);
    const drifting = onTwo({ factor: (second) => 1 + second / 30, tokens: mixed }, 120, seed);
    const contexts = onTwo(
      { factor: (second) => [1, 4, 2][Math.floor(second / 3) % 3] as number, tokens: mixed },
      120,
      seed,
    );
    for (const run of [slowed, drifting, contexts]) {
      expect(run.settledAt(119)).toBe(2);
      expect(run.efficiency).toBeGreaterThan(0.92);
    }
  });

  it("follow others that come and go", () => {
    const run = onTwo({ isSeen: true, others: (second) => (Math.floor(second / 20) % 2) * 2 }, 240, seed);
    for (const second of [39, 79, 119, 159]) expect(run.settledAt(second)).toBe(1);
    for (const second of [59, 99, 139, 179]) expect(run.settledAt(second)).toBe(2);
    expect(run.efficiency).toBeGreaterThan(0.9);
  });

  it("are found in short bursts of work, too", () => {
    const burst = (step: number): number => (step % 30 === 0 ? 2000 : 0);
    const run = onTwo({ isSeen: true, pause: burst, others: between(20, 60, 2) }, 120, seed);
    expect(run.settledAt(30)).toBe(1);
    expect(run.settledAt(70)).toBe(2);
  });
});

describe("a limit of threads", () => {
  it("holds for trials, too, and when it is lifted all are back", () => {
    const control = new ThreadControl({ start: 8, most: 8 });
    control.limit(2);
    const used = new Set<number>();
    let at = 0;
    for (let step = 0; step < 5_000; step++) {
      const threads = control.next(1, at);
      used.add(threads);
      at += 10 / threads;
      control.record(1, 10 / threads, at);
    }
    expect(Math.max(...used)).toBe(2);
    expect(control.threads).toBe(2);
    control.limit(8);
    expect(control.threads).toBe(8);
    expect(control.next(1, at)).toBe(8);
  });

  it("may come while a step is under way", () => {
    const control = new ThreadControl({ start: 4, most: 4 });
    for (let step = 0; step < 10; step++) {
      control.next(1, step * 10);
      control.record(1, 10, step * 10 + 10);
    }
    control.next(1, 100);
    control.limit(1);
    control.record(1, 10, 110);
    expect(control.next(1, 110)).toBe(1);
    expect(control.settled).toBe(4);
  });

  it("is what is asked for: no more threads are tried", () => {
    const control = new ThreadControl({ start: 1, most: 1 });
    for (let step = 0; step < 100; step++) {
      expect(control.next(1, step * 100)).toBe(1);
      control.record(1, 100, step * 100 + 100);
    }
  });
});
