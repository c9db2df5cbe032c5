/** @module Sets of characters, as ranges of code points. */

/** Code points from the first to the last of each pair; in order and none of them twice, unless it says otherwise. */
export type Ranges = readonly (readonly [first: number, last: number])[];

export const digits: Ranges = [[0x30, 0x39]];
export const wordCharacters: Ranges = [
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
];
export const whiteSpace: Ranges = [
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
export const lineEnds: Ranges = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
];
/** Surrogates are no characters of a text. */
export const everything: Ranges = [
  [0x00, 0xd7ff],
  [0xe000, 0x10ffff],
];

export function contains(ranges: Ranges, code: number): boolean {
  return ranges.some(([first, last]) => first <= code && code <= last);
}

/** In order, and none of them twice. */
export function union(ranges: Ranges): Ranges {
  const sorted = ranges.toSorted(([x], [y]) => x - y);
  const merged: [number, number][] = [];
  for (const [first, last] of sorted) {
    const previous = merged.at(-1);
    if (previous !== undefined && first <= previous[1] + 1) previous[1] = Math.max(previous[1], last);
    else merged.push([first, last]);
  }
  return merged;
}

export function complement(ranges: Ranges): Ranges {
  const gaps: [number, number][] = [];
  let from = 0;
  for (const [first, last] of union(ranges)) {
    if (first > from) gaps.push([from, first - 1]);
    from = last + 1;
  }
  if (from <= 0x10ffff) gaps.push([from, 0x10ffff]);
  return intersect(gaps, everything);
}

/** Both in order, and none of them twice. */
export function intersect(a: Ranges, b: Ranges): Ranges {
  const common: [number, number][] = [];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    const [first, last] = a[i] as Ranges[number];
    const [from, to] = b[j] as Ranges[number];
    if (Math.max(first, from) <= Math.min(last, to)) common.push([Math.max(first, from), Math.min(last, to)]);
    if (last < to) i += 1;
    else j += 1;
  }
  return common;
}

export const notDigits = complement(digits);
export const notWordCharacters = complement(wordCharacters);
export const notWhiteSpace = complement(whiteSpace);
export const notLineEnds = complement(lineEnds);
