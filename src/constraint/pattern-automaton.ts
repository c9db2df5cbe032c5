/** @module Patterns as automata: all ways to read a text so far, at once. */
import type { Automaton, Step } from "./automaton.ts";
import type { Budget } from "./budget.ts";
import { contains, type Ranges } from "./character-ranges.ts";
import type { Shape } from "./pattern-overlap.ts";

/** Of work, for each place, and for each comparison of a step with a bound. */
const placeWork = 10;
const cutWork = 1;

/** Places in a pattern, between its parts. */
interface Places {
  /** Where one may go on without a character. */
  readonly free: number[][];
  /** Where one may go on with one. */
  readonly steps: Step<number>[][];
}

/** Ascending: places that a text may have come to, of those where it may end or take a character. */
type Reading = readonly number[];

/** Takes the texts of the shape, from end to end. */
export function shapeAutomaton(shape: Shape, budget: Budget): Automaton<Reading> {
  const places: Places = { free: [], steps: [] };
  const add = (): number => {
    budget.spend(placeWork);
    places.steps.push([]);
    return places.free.push([]) - 1;
  };
  const start = add();
  const end = built(shape, start, places, add);
  const isKept = (place: number): boolean => place === end || (places.steps[place] ?? []).length > 0;
  const reading = (from: readonly number[]): Reading => {
    const reached = new Set(from);
    for (const place of reached) for (const next of places.free[place] ?? []) reached.add(next);
    budget.spend(reached.size);
    return [...reached].filter(isKept).sort((a, b) => a - b);
  };
  return {
    start: reading([start]),
    key: (state) => state.join(),
    steps: (state) =>
      stepsOf(
        state.flatMap((place) => places.steps[place] ?? []),
        reading,
        budget,
      ),
    accepts: (state) => state.includes(end),
  };
}

/** Adds the places of a shape that begins at `from`; returns where it ends. */
function built(shape: Shape, from: number, places: Places, add: () => number): number {
  const join = (one: number, other: number): void => void places.free[one]?.push(other);
  switch (shape.type) {
    case "character": {
      const to = add();
      places.steps[from]?.push({ ranges: shape.ranges, to });
      return to;
    }
    case "sequence":
      return shape.parts.reduce((at, part) => built(part, at, places, add), from);
    case "choice": {
      const end = add();
      for (const part of shape.parts) {
        const begin = add();
        join(from, begin);
        join(built(part, begin, places, add), end);
      }
      return end;
    }
    case "repeat": {
      const { body, least, most } = shape;
      let at = from;
      for (let i = 0; i < least; i++) at = built(body, at, places, add);
      const end = add();
      join(at, end);
      if (!Number.isFinite(most)) join(built(body, end, places, add), end);
      else
        for (let i = least; i < most; i++) {
          at = built(body, at, places, add);
          join(at, end);
        }
      return end;
    }
  }
}

/** Characters between two bounds of any step lead to the same places. */
function stepsOf(
  open: readonly Step<number>[],
  reading: (places: readonly number[]) => Reading,
  budget: Budget,
): Step<Reading>[] {
  const bounds = open.flatMap(({ ranges }) => ranges.flatMap(([first, last]) => [first, last + 1]));
  const cuts = [...new Set(bounds)].sort((a, b) => a - b);
  budget.spend(cutWork * cuts.length * bounds.length);
  const ways = new Map<string, { readonly ranges: [number, number][]; readonly to: readonly number[] }>();
  for (const [i, first] of cuts.entries()) {
    const to = open.filter(({ ranges }) => contains(ranges, first)).map((step) => step.to);
    if (to.length === 0) continue;
    const way = ways.get(to.join()) ?? { ranges: [], to };
    way.ranges.push([first, (cuts[i + 1] as number) - 1]);
    ways.set(to.join(), way);
  }
  return [...ways.values()].map(({ ranges, to }) => ({ ranges: ranges as Ranges, to: reading(to) }));
}
