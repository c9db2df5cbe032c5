/**
 * @module How many repetitions of a pattern may follow each other and take the same characters. A text of k such
 * characters can be parted among m of them in C(k + m − 1, m − 1) ways, and llama.cpp follows each for every token.
 */
import type { Budget } from "./budget.ts";
import { intersect, type Ranges, union } from "./character-ranges.ts";

/** What a pattern is made of, as far as that counts here. */
export type Shape =
  | { readonly type: "character"; readonly ranges: Ranges }
  | { readonly type: "sequence" | "choice"; readonly parts: readonly Shape[] }
  | { readonly type: "repeat"; readonly body: Shape; readonly least: number; readonly most: number };

/** Repetitions in a row that may take the same character: `[a-z]*[a-z]*` are two. */
export const mostOverlapping = 5;

/** A repetition that may not be over yet: what it takes, and how many there are in a row up to it. */
interface Open {
  readonly ranges: Ranges;
  readonly row: number;
}

/** Of work, for a part that is followed once more: such parts may stand in each other, and are followed 2ⁿ times then. */
const workAgain = 30;

/** Of a pattern from its beginning to its end, or more than `mostOverlapping`. */
export function longestOverlap(shape: Shape, budget: Budget): number {
  let longest = 0;
  const known = new Map<Shape, Ranges>();
  const meeting = (open: readonly Open[], ranges: Ranges): readonly Open[] => {
    for (const each of open) budget.spend(each.ranges.length + ranges.length);
    return open.filter((each) => intersect(each.ranges, ranges).length > 0);
  };
  const follow = (part: Shape, open: readonly Open[], work: number): readonly Open[] => {
    budget.spend(work + open.length);
    if (longest > mostOverlapping) return open;
    switch (part.type) {
      case "character":
        // What cannot take this character is over.
        return meeting(open, part.ranges);
      case "sequence":
        return part.parts.reduce((before, each) => follow(each, before, work), open);
      case "choice":
        return [...new Set(part.parts.flatMap((each) => follow(each, open, work)))];
      case "repeat":
        return repeated(part, open, work);
    }
  };
  const repeated = (part: Extract<Shape, { type: "repeat" }>, open: readonly Open[], work: number): readonly Open[] => {
    const { body, least, most } = part;
    if (most === 0) return open;
    const once = follow(body, open, work);
    // Whatever can follow itself in a row once more can do so each time.
    const before = new Set(open);
    const leaves = most > 1 && once.some((each) => !before.has(each));
    const twice = leaves ? follow(body, once, workAgain) : once;
    const grows = rowOf(twice) > rowOf(once) && rowOf(once) > rowOf(open);
    if (grows) longest = Math.max(longest, rowOf(once) + (most - 1) * (rowOf(twice) - rowOf(once)));
    if (least === most) return twice;
    const ranges = rangesOf(body, known);
    const row = 1 + rowOf(meeting(open, ranges));
    longest = Math.max(longest, row, rowOf(twice));
    return [...new Set([...open, ...twice, { ranges, row }])];
  };
  follow(shape, [], 1);
  return longest;
}

function rowOf(open: readonly Open[]): number {
  return open.reduce((longest, { row }) => Math.max(longest, row), 0);
}

/** All characters that a part may hold; each part is looked at once. */
function rangesOf(shape: Shape, known: Map<Shape, Ranges>): Ranges {
  if (shape.type === "character") return shape.ranges;
  const before = known.get(shape);
  if (before !== undefined) return before;
  const parts = shape.type === "repeat" ? [shape.body] : shape.parts;
  const ranges = union(parts.flatMap((part) => rangesOf(part, known)));
  known.set(shape, ranges);
  return ranges;
}
