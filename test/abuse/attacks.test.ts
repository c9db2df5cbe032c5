import { describe, expect, it } from "vitest";
import { drawAttack, worstAttacks } from "./attacks.ts";

const numbers = Array.from({ length: worstAttacks.length + 400 }, (_, number) => number);

describe("attacks", () => {
  it("are the same each time that a seed draws them, and others for another seed", () => {
    for (const number of numbers.filter((number) => number % 4 === 0))
      expect(drawAttack(7, number, 4, [])).toEqual(drawAttack(7, number, 4, []));
    const later = numbers.slice(worstAttacks.length);
    const kindsOf = (seed: number): string[] => later.map((number) => drawAttack(seed, number, 4, []).kind);
    expect(kindsOf(7)).not.toEqual(kindsOf(8));
  });

  it("are of every kind before long, with every way to send and to read", () => {
    const drawn = numbers.map((number) => drawAttack(7, number, 4, ["chatcmpl-1"]));
    expect(new Set(drawn.map(({ sent }) => sent.type))).toEqual(
      new Set(["whole", "pieces", "endless", "unfinished", "wire"]),
    );
    expect(new Set(drawn.map(({ reader }) => reader.type))).toEqual(new Set(["whole", "leaves", "slow", "stops"]));
    expect(new Set(drawn.map(({ key }) => key))).toEqual(new Set([0, 1, 2, 3, null]));
    // The worst, and the other kinds.
    expect(new Set(drawn.map(({ kind }) => kind)).size).toBeGreaterThan(worstAttacks.length + 15);
  });
});
