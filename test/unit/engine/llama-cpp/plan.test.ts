import { describe, expect, it } from "vitest";
import { Pace } from "../../../../src/engine/llama-cpp/pace.ts";
import { allot, type Portion } from "../../../../src/engine/llama-cpp/plan.ts";

const portion = (item: string, tokens: number, urgent = true): Portion<string> => ({ item, tokens, urgent });
const shares = (portions: readonly Portion<string>[], budget: number) =>
  Object.fromEntries(allot(portions, budget).map(({ item, tokens }) => [item, tokens]));

describe("a chunk", () => {
  it("goes to the oldest, then in order of arrival", () => {
    expect(shares([portion("a", 10), portion("b", 20)], 16)).toEqual({ a: 10, b: 6 });
  });

  it("goes to the shortest first, up to three quarters", () => {
    expect(shares([portion("long", 500), portion("short", 10)], 64)).toEqual({ short: 10, long: 54 });
    expect(shares([portion("long", 500), portion("shorter", 100)], 64)).toEqual({ shorter: 48, long: 16 });
  });

  it("leaves to what rides along what nobody waits for", () => {
    expect(shares([portion("riding", 50, false), portion("urgent", 30)], 64)).toEqual({ urgent: 30, riding: 34 });
    expect(shares([portion("riding", 50, false), portion("urgent", 100)], 64)).toEqual({ urgent: 64 });
  });

  it("is never more than the budget nor than what is left, and starves nobody", () => {
    let state = 1;
    const random = (below: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    for (let round = 0; round < 300; round++) {
      const left = new Map(Array.from({ length: 1 + random(8) }, (_, i) => [String(i), 1 + random(300)]));
      const budget = 1 + random(64);
      let steps = 0;
      const needed = [...left.values()].reduce((sum, tokens) => sum + tokens, 0);
      while (left.size > 0) {
        const granted = allot(
          [...left].map(([item, tokens]) => portion(item, tokens)),
          budget,
        );
        const total = granted.reduce((sum, { tokens }) => sum + tokens, 0);
        expect(total).toBe(
          Math.min(
            budget,
            [...left.values()].reduce((sum, tokens) => sum + tokens, 0),
          ),
        );
        const [oldest = "", most = 0] = left.entries().next().value ?? [];
        expect(granted.find(({ item }) => item === oldest)?.tokens ?? 0).toBeGreaterThanOrEqual(
          Math.min(most, budget - Math.floor(budget * 0.75)),
        );
        for (const { item, tokens } of granted) {
          expect(tokens).toBeLessThanOrEqual(left.get(item) ?? 0);
          if (tokens === left.get(item)) left.delete(item);
          else left.set(item, (left.get(item) ?? 0) - tokens);
        }
        steps += 1;
      }
      expect(steps).toBe(Math.ceil(needed / budget));
    }
  });
});

describe("the pace", () => {
  it("is the largest power of two that the measured speed does in 0.3 s", () => {
    expect(new Pace(350, 2, 500).chunk(2)).toBe(64);
    expect(new Pace(100, 2, 500).chunk(2)).toBe(16);
    expect(new Pace(5, 2, 500).chunk(2)).toBe(8);
    expect(new Pace(1e6, 2, 500).chunk(2)).toBe(500);
    expect(new Pace(350, 2, 3).chunk(2)).toBe(3);
  });

  it("follows the machine, by steps that hold enough to tell", () => {
    const pace = new Pace(350, 1, 500);
    for (let i = 0; i < 50; i++) pace.record(64, 640, 1);
    expect(pace.chunk(1)).toBe(16);
    for (let i = 0; i < 50; i++) pace.record(1, 1_000, 1);
    expect(pace.chunk(1)).toBe(16);
    for (let i = 0; i < 100; i++) pace.record(pace.chunk(1), pace.chunk(1) / 0.5, 1);
    expect(pace.chunk(1)).toBe(128);
  });

  it("is in proportion to the threads until it is known, and what it was when a number of threads comes back", () => {
    const pace = new Pace(400, 4, 500);
    expect(pace.chunk(2)).toBe(32);
    for (let i = 0; i < 50; i++) pace.record(64, 1_000, 1);
    expect(pace.chunk(1)).toBe(16);
    expect(pace.chunk(2)).toBe(32);
    expect(pace.chunk(4)).toBe(64);
  });
});
