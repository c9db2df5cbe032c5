/** @module Regular expressions as text: whether one can be read, and its marks, classes and escapes, one by one. */
import type { Budget } from "./budget.ts";
import {
  complement,
  digits,
  everything,
  intersect,
  notDigits,
  notWhiteSpace,
  notWordCharacters,
  type Ranges,
  union,
  whiteSpace,
  wordCharacters,
} from "./character-ranges.ts";
import { mostRepetitions, UnsupportedPattern } from "./pattern-length.ts";

/** Characters of a class, as it is written: `RegExp` takes the square of their number. */
const longestClass = 4_000;
/** Of work, for each character: `RegExp` reads it too. */
const workPerCharacter = 8;

/** Throws UnsupportedPattern where it is no regular expression, or takes too long to find out. */
export function checkPattern(source: string, budget: Budget): void {
  budget.spend(workPerCharacter * source.length);
  if (classLength(source) > longestClass)
    throw new UnsupportedPattern(`a class in it is longer than ${longestClass} characters`);
  try {
    new RegExp(source, "u");
  } catch {
    throw new UnsupportedPattern("it is not a regular expression");
  }
}

/** Of the longest class; of a pattern that is none, some number. */
function classLength(source: string): number {
  let [longest, start] = [0, -1];
  for (let i = 0; i < source.length; i++) {
    const character = source[i];
    if (character === "\\") i += 1;
    else if (character === "[" && start < 0) start = i;
    else if (character === "]" && start >= 0) {
      longest = Math.max(longest, i - start);
      start = -1;
    }
  }
  return start < 0 ? longest : Math.max(longest, source.length - start);
}

/** How often something stands there; no most: any number of times. */
export type Bounds = readonly [least: number, most: number | undefined];

/** A pattern that has been checked, read from left to right. Each step throws UnsupportedPattern. */
export class PatternText {
  readonly #budget: Budget;
  readonly #characters: readonly string[];
  #at = 0;

  constructor(source: string, budget: Budget) {
    this.#budget = budget;
    this.#characters = Array.from(source);
  }

  get isOver(): boolean {
    return this.#at >= this.#characters.length;
  }

  /** What says how often the last part stands there; null: once. */
  quantifier(): Bounds | null {
    const bounds = this.#bounds();
    if (bounds !== null) this.skip("?"); // lazy or not, the same texts match
    return bounds;
  }

  #bounds(): Bounds | null {
    if (this.skip("*")) return [0, undefined];
    if (this.skip("+")) return [1, undefined];
    if (this.skip("?")) return [0, 1];
    if (!this.skip("{")) return null;
    let text = "";
    while (this.peek() !== "}") text += this.next();
    this.next();
    const [least = "", most] = text.split(",");
    const bounds: Bounds = [Number(least), most === undefined ? Number(least) : most === "" ? undefined : Number(most)];
    if (Math.max(bounds[0], bounds[1] ?? 0) > mostRepetitions)
      throw new UnsupportedPattern(`it repeats something more than ${mostRepetitions} times`);
    return bounds;
  }

  /** What a class allows, whose bracket has been read. */
  class(): Ranges {
    const negated = this.skip("^");
    const listed: Ranges[number][] = [];
    while (!this.skip("]")) {
      const first = this.#classAtom();
      const isRange =
        this.peek() === "-" &&
        this.#characters[this.#at + 1] !== "]" &&
        first.length === 1 &&
        first[0]?.[0] === first[0]?.[1];
      this.#budget.spend(4 * first.length);
      listed.push(...first);
      if (!isRange) continue;
      this.next();
      const last = this.#classAtom();
      listed.push([first[0]?.[0] as number, last[0]?.[0] as number]);
    }
    return negated ? complement(listed) : intersect(union(listed), everything);
  }

  #classAtom(): Ranges {
    const character = this.next();
    if (character !== "\\") return single(character);
    if (this.skip("b")) return [[0x08, 0x08]];
    return this.escape();
  }

  /** What an escape means, whose backslash has been read. */
  escape(): Ranges {
    const character = this.next();
    switch (character) {
      case "d":
        return digits;
      case "D":
        return notDigits;
      case "w":
        return wordCharacters;
      case "W":
        return notWordCharacters;
      case "s":
        return whiteSpace;
      case "S":
        return notWhiteSpace;
      case "x":
        return this.#hexadecimal(2);
      case "u":
        return this.skip("{") ? this.#braced() : this.#hexadecimal(4);
    }
    const control = controlEscapes[character];
    if (control !== undefined) return [[control, control]];
    if (/[A-Za-z0-9]/u.test(character)) throw new UnsupportedPattern(`it holds \\${character}`);
    return single(character);
  }

  #hexadecimal(length: number): Ranges {
    let text = "";
    for (let i = 0; i < length; i++) text += this.next();
    const code = Number.parseInt(text, 16);
    if (code >= 0xd800 && code <= 0xdfff) throw new UnsupportedPattern("it holds half a surrogate pair");
    return [[code, code]];
  }

  #braced(): Ranges {
    let text = "";
    for (let character = this.next(); character !== "}"; character = this.next()) text += character;
    const code = Number.parseInt(text, 16);
    return [[code, code]];
  }

  /** The next character; "" at the end. */
  peek(): string {
    return this.#characters[this.#at] ?? "";
  }

  next(): string {
    const character = this.#characters[this.#at++];
    if (character === undefined) throw new UnsupportedPattern("it ends too early");
    return character;
  }

  /** Whether the next character was this one; it has been read then. */
  skip(character: string): boolean {
    if (this.peek() !== character) return false;
    this.#at += 1;
    return true;
  }
}

const controlEscapes: Readonly<Record<string, number>> = { t: 0x09, n: 0x0a, v: 0x0b, f: 0x0c, r: 0x0d, 0: 0x00 };

/** One character. */
export function single(character: string): Ranges {
  const code = character.codePointAt(0) as number;
  return [[code, code]];
}
