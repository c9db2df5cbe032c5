/** @module Patterns beside lengths: parts of a pattern in a row, so that its texts are as long as they may be. */
import { everything } from "./character-ranges.ts";
import { repeat } from "./gbnf.ts";
import type { Shape } from "./pattern-overlap.ts";

/** A pattern uses what a grammar does not have. */
export class UnsupportedPattern extends Error {}

/** A pattern and a length cannot be kept to at once. */
export class UnmetLength extends UnsupportedPattern {}

/** llama.cpp refuses grammars that repeat more often. */
export const mostRepetitions = 1_000;

/** In characters; both ends included. */
export interface Lengths {
  readonly least: number;
  readonly most: number;
}

export const anyLength: Lengths = { least: 0, most: Number.POSITIVE_INFINITY };

/** A part of a pattern: its grammar, and its shape. */
export interface Part {
  readonly text: string;
  readonly shape: Shape;
  /** The rule of what a repetition repeats. */
  readonly body?: string;
}

export const anything: Shape = {
  type: "repeat",
  body: { type: "character", ranges: everything },
  least: 0,
  most: Number.POSITIVE_INFINITY,
};

export const nothing: Part = { text: "", shape: { type: "sequence", parts: [] } };

export function joined(parts: readonly Part[]): Part {
  const text = parts
    .map((part) => part.text)
    .filter((each) => each !== "")
    .join(" ");
  return { text, shape: { type: "sequence", parts: parts.map(({ shape }) => shape) } };
}

/**
 * The parts in a row, so that the text is of one of the lengths; null where it cannot be. Of what may stand in it, some
 * is left out then. Throws UnmetLength where that is not enough.
 */
export function fittedTo(parts: readonly Part[], { least, most }: Lengths): readonly Part[] | null {
  const all = sumOf(parts.map(({ shape }) => lengthsOf(shape)));
  if (all.least >= least && all.most <= most) return parts;
  if (all.least > most || all.most < least) return null;
  // Text around what is looked for may be left out before it, if it may stand after it.
  const [first, last] = [parts[0] as Part, parts.at(-1) as Part];
  const kept = first.shape === anything && last.shape === anything ? parts.slice(1) : parts;
  const bounds = kept.map(({ shape }) => lengthsOf(shape));
  const free = [...kept.keys()].filter((i) => isFree(kept[i] as Part));
  const stretched = free.at(-1);
  if (stretched === undefined) throw new UnmetLength("its length cannot be told apart from what it says");
  const { least: shortest } = sumOf(bounds);
  const taken = bounds[stretched] as Lengths;
  bounds[stretched] = { ...taken, least: taken.least + Math.max(0, least - shortest) };
  const share = shareOf(bounds, free, most);
  const fitted = kept.map((part, i) => {
    if (!free.includes(i)) return part;
    const from = (bounds[i] as Lengths).least;
    const { most: own } = bounds[i] as Lengths;
    return repeated(
      part,
      from,
      share === Number.POSITIVE_INFINITY ? own : Math.min(own, from + share, mostRepetitions),
    );
  });
  const { least: atLeast, most: atMost } = sumOf(fitted.map(({ shape }) => lengthsOf(shape)));
  if (!(atLeast >= least && atMost <= most)) throw new UnmetLength("its length cannot be kept to beside what it says");
  return fitted;
}

/** How much more than the least each free part may take, so that all of them together do not take too much. */
function shareOf(bounds: readonly Lengths[], free: readonly number[], most: number): number {
  if (!Number.isFinite(most)) return most;
  const room = bounds.reduce((left, { least, most: own }, i) => left - (free.includes(i) ? least : own), most);
  return Number.isNaN(room) ? -1 : Math.floor(room / free.length);
}

/** It repeats one character: its number is its length. */
function isFree({ shape, body }: Part): boolean {
  return body !== undefined && shape.type === "repeat" && shape.body.type === "character";
}

function repeated(part: Part, least: number, most: number): Part {
  if (part.shape.type !== "repeat" || least > most || least > mostRepetitions)
    throw new UnmetLength("its length cannot be kept to beside what it says");
  const bound = Number.isFinite(most) ? most : undefined;
  return { ...part, text: repeat(part.body as string, least, bound), shape: { ...part.shape, least, most } };
}

function sumOf(lengths: readonly Lengths[]): Lengths {
  return lengths.reduce((sum, { least, most }) => ({ least: sum.least + least, most: sum.most + most }), {
    least: 0,
    most: 0,
  });
}

/** Of the texts of a shape. */
export function lengthsOf(shape: Shape): Lengths {
  switch (shape.type) {
    case "character":
      return { least: 1, most: 1 };
    case "sequence":
      return sumOf(shape.parts.map(lengthsOf));
    case "choice": {
      const all = shape.parts.map(lengthsOf);
      return { least: Math.min(...all.map(({ least }) => least)), most: Math.max(...all.map(({ most }) => most)) };
    }
    case "repeat": {
      const { least, most } = lengthsOf(shape.body);
      return { least: shape.least * least, most: shape.most === 0 || most === 0 ? 0 : shape.most * most };
    }
  }
}
