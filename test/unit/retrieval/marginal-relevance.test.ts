import fc from "fast-check";
import { expect, it } from "vitest";
import { marginallyRelevant } from "../../../src/retrieval/marginal-relevance.ts";
import { largest } from "../../../src/retrieval/retriever.ts";

/** Points on a circle by their angle in degrees; the question is at 0. */
const between = (angles: readonly number[]) => (a: number, b: number) =>
  Math.cos((((angles[a] as number) - (angles[b] as number)) * Math.PI) / 180);
const choose = (angles: readonly number[], k: number, lambda: number) =>
  marginallyRelevant(
    angles.map((angle) => Math.cos((angle * Math.PI) / 180)),
    between(angles),
    k,
    lambda,
  );

it("takes the most similar first, and then what it is not like", () => {
  // 10° and 12° are nearly one; −30° is less similar, and different.
  expect(choose([12, 10, -30, 80], 2, 1)).toEqual([1, 0]);
  expect(choose([12, 10, -30, 80], 2, 0.5)).toEqual([1, 2]);
  expect(choose([12, 10, -30, 80], 4, 0.5)).toEqual([1, 2, 0, 3]);
});

it("comes to these numbers, worked out by hand", () => {
  const cosines = [0.9, 0.8, 0.5];
  const pairs = [
    [1, 0.95, 0.2],
    [0.95, 1, 0.3],
    [0.2, 0.3, 1],
  ];
  const at = (lambda: number) => marginallyRelevant(cosines, (a, b) => pairs[a]?.[b] as number, 2, lambda);
  // The second: λ·0.8 − (1 − λ)·0.95 against λ·0.5 − (1 − λ)·0.2, which are the same at λ = 0.75 / 1.05 = 0.714.
  expect(at(0.71)).toEqual([0, 2]);
  expect(at(0.72)).toEqual([0, 1]);
});

it("gives ties to the lower index, and all there are where there are fewer than k", () => {
  expect(choose([5, 5, 5], 2, 0.3)).toEqual([0, 1]);
  expect(choose([40], 3, 0.5)).toEqual([0]);
  expect(choose([], 2, 0.5)).toEqual([]);
});

it("is the order of similarity with λ = 1, for any items", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: -179, max: 180 }), { maxLength: 20 }),
      fc.integer({ min: 1, max: 8 }),
      (angles, k) => {
        const cosines = angles.map((angle) => Math.cos((angle * Math.PI) / 180));
        expect(choose(angles, k, 1)).toEqual(largest(cosines, k));
      },
    ),
  );
});
