/** @module Regular expressions as grammars of what stands between the quotes of a JSON string. */
import {
  complement,
  contains,
  digits,
  everything,
  intersect,
  notDigits,
  notLineEnds,
  notWhiteSpace,
  notWordCharacters,
  type Ranges,
  union,
  whiteSpace,
  wordCharacters,
} from "./character-ranges.ts";
import { alternatives, type Grammar, literal, repeat } from "./gbnf.ts";
import {
  anyLength,
  anything,
  fittedTo,
  joined,
  type Lengths,
  mostRepetitions,
  nothing,
  type Part,
  UnmetLength,
  UnsupportedPattern,
} from "./pattern-length.ts";
import { longestOverlap, mostOverlapping, type Shape } from "./pattern-overlap.ts";

/** Groups in each other. */
const deepestGroup = 32;
/** Characters of a class, as it is written: `RegExp` takes the square of their number. */
const longestClass = 4_000;
/** Of work, for each character: `RegExp` reads it too. */
const workPerCharacter = 8;

/** Characters that JSON writes with a backslash. */
const escapes: ReadonlyMap<number, string> = new Map([
  [0x22, '\\"'],
  [0x5c, "\\\\"],
  [0x08, "\\b"],
  [0x09, "\\t"],
  [0x0a, "\\n"],
  [0x0c, "\\f"],
  [0x0d, "\\r"],
]);
const unescaped: Ranges = [
  [0x20, 0x21],
  [0x23, 0x5b],
  [0x5d, 0x7e],
  [0x80, 0xd7ff],
  [0xe000, 0x10ffff],
];

/** The rule of any character, as it stands in a JSON string. */
export function anyCharacter(grammar: Grammar): string {
  return grammar.shared("char", () => characterIn(grammar, everything));
}

/**
 * GBNF of the texts that match, of the given lengths; where the pattern is not anchored, any text may stand around
 * them. Throws UnsupportedPattern, and UnmetLength where it would match without a length.
 */
export function patternGrammar(grammar: Grammar, source: string, within: Lengths = anyLength): string {
  checkPattern(grammar, source);
  return new PatternReader(grammar, source, within, characterIn).read();
}

/** GBNF of the texts that match as a whole, as they are. Throws UnsupportedPattern. */
export function plainPatternGrammar(grammar: Grammar, source: string): string {
  checkPattern(grammar, source);
  const whole = `^(?:${source.replace(/^\^/u, "").replace(/(?<!\\)\$$/u, "")})$`;
  return new PatternReader(grammar, whole, anyLength, plainCharacterIn).read();
}

function checkPattern(grammar: Grammar, source: string): void {
  grammar.budget.spend(workPerCharacter * source.length);
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

/** One character out of the ranges, as it stands in a JSON string. */
function characterIn(grammar: Grammar, ranges: Ranges): string {
  grammar.budget.spend(escapes.size * ranges.length);
  const plain = intersect(ranges, unescaped);
  const written = [...escapes].filter(([code]) => contains(ranges, code)).map(([, spelling]) => literal(spelling));
  const parts = [...(plain.length > 0 ? [grammar.oneOf(plain)] : []), ...written];
  if (parts.length === 0) throw new UnsupportedPattern("it asks for a character that no text here can hold");
  return alternatives(parts);
}

/** Halves of surrogate pairs are no characters. */
const characters: Ranges = [
  [0, 0xd7ff],
  [0xe000, 0x10ffff],
];

/** One character out of the ranges, as it is. */
function plainCharacterIn(grammar: Grammar, ranges: Ranges): string {
  return grammar.oneOf(intersect(ranges, characters));
}

/** Reads a pattern from left to right. `RegExp` has checked that it is well formed. */
class PatternReader {
  readonly #grammar: Grammar;
  readonly #write: typeof characterIn;
  readonly #characters: readonly string[];
  readonly #within: Lengths;
  #at = 0;
  #depth = 0;

  /** `write`: one character out of ranges, as a rule's body. */
  constructor(grammar: Grammar, source: string, within: Lengths, write: typeof characterIn) {
    this.#grammar = grammar;
    this.#write = write;
    this.#characters = Array.from(source);
    this.#within = within;
  }

  read(): string {
    const parts: Part[] = [];
    do {
      const fitted = fittedTo(this.#anchoredAlternative(), this.#within);
      if (fitted !== null) parts.push(joined(fitted));
    } while (this.#skip("|"));
    if (parts.length === 0) throw new UnmetLength("it allows no text of that length");
    const shape: Shape = { type: "choice", parts: parts.map((part) => part.shape) };
    if (longestOverlap(shape, this.#grammar.budget) > mostOverlapping)
      throw new UnsupportedPattern(
        `more than ${mostOverlapping} repetitions in a row may take the same characters; put what they do not take between them`,
      );
    return alternatives(parts.map(({ text }) => text || '""'));
  }

  #anchoredAlternative(): Part[] {
    const body = anyCharacter(this.#grammar);
    const any: Part = { text: repeat(body, 0, undefined), shape: anything, body };
    const before = this.#skip("^") ? nothing : any;
    const terms = this.#terms();
    const after = this.#skip("$") ? nothing : any;
    if (this.#at < this.#characters.length && this.#peek() !== "|")
      throw new UnsupportedPattern("'^' and '$' may stand at its ends only");
    return [before, ...terms, after];
  }

  #terms(): Part[] {
    const parts: Part[] = [];
    while (this.#at < this.#characters.length && !["|", ")", "$"].includes(this.#peek())) parts.push(this.#term());
    return parts;
  }

  #term(): Part {
    const body = this.#atom();
    const bounds = this.#quantifier();
    if (bounds === null) return body;
    const [least, most = Number.POSITIVE_INFINITY] = bounds;
    // llama.cpp multiplies nested repetitions: as a rule of its own, what is repeated counts as one.
    const rule = this.#grammar.same("part", body.text || '""');
    return { text: repeat(rule, ...bounds), shape: { type: "repeat", body: body.shape, least, most }, body: rule };
  }

  #atom(): Part {
    const character = this.#next();
    switch (character) {
      case "(":
        return this.#group();
      case "[":
        return this.#character(this.#class());
      case ".":
        return this.#character(notLineEnds);
      case "^":
        throw new UnsupportedPattern("'^' and '$' may stand at its ends only");
      case "\\":
        return this.#character(this.#escape());
      default:
        return this.#character(single(character));
    }
  }

  #character(ranges: Ranges): Part {
    return { text: this.#write(this.#grammar, ranges), shape: { type: "character", ranges } };
  }

  #group(): Part {
    if (this.#depth >= deepestGroup)
      throw new UnsupportedPattern(`its groups stand more than ${deepestGroup} deep in each other`);
    this.#depth += 1;
    if (this.#skip("?")) {
      if (!this.#skip(":")) {
        if (!this.#skip("<") || ["=", "!"].includes(this.#peek()))
          throw new UnsupportedPattern("it looks ahead or behind");
        while (this.#next() !== ">");
      }
    }
    const parts: Part[] = [];
    do parts.push(joined(this.#terms()));
    while (this.#skip("|"));
    if (!this.#skip(")")) throw new UnsupportedPattern("'^' and '$' may stand at its ends only");
    this.#depth -= 1;
    const text = `( ${parts.map((part) => part.text || '""').join(" | ")} )`;
    this.#grammar.budget.spend(text.length);
    return { text, shape: { type: "choice", parts: parts.map(({ shape }) => shape) } };
  }

  #quantifier(): [least: number, most: number | undefined] | null {
    const bounds = this.#bounds();
    if (bounds !== null) this.#skip("?"); // lazy or not, the same texts match
    return bounds;
  }

  #bounds(): [number, number | undefined] | null {
    if (this.#skip("*")) return [0, undefined];
    if (this.#skip("+")) return [1, undefined];
    if (this.#skip("?")) return [0, 1];
    if (!this.#skip("{")) return null;
    let text = "";
    while (this.#peek() !== "}") text += this.#next();
    this.#next();
    const [least = "", most] = text.split(",");
    const bounds: [number, number | undefined] = [
      Number(least),
      most === undefined ? Number(least) : most === "" ? undefined : Number(most),
    ];
    if (Math.max(bounds[0], bounds[1] ?? 0) > mostRepetitions)
      throw new UnsupportedPattern(`it repeats something more than ${mostRepetitions} times`);
    return bounds;
  }

  #class(): Ranges {
    const negated = this.#skip("^");
    const listed: Ranges[number][] = [];
    while (!this.#skip("]")) {
      const first = this.#classAtom();
      const isRange =
        this.#peek() === "-" &&
        this.#characters[this.#at + 1] !== "]" &&
        first.length === 1 &&
        first[0]?.[0] === first[0]?.[1];
      this.#grammar.budget.spend(4 * first.length);
      listed.push(...first);
      if (!isRange) continue;
      this.#next();
      const last = this.#classAtom();
      listed.push([first[0]?.[0] as number, last[0]?.[0] as number]);
    }
    return negated ? complement(listed) : intersect(union(listed), everything);
  }

  #classAtom(): Ranges {
    const character = this.#next();
    if (character !== "\\") return single(character);
    if (this.#skip("b")) return [[0x08, 0x08]];
    return this.#escape();
  }

  #escape(): Ranges {
    const character = this.#next();
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
        return this.#skip("{") ? this.#braced() : this.#hexadecimal(4);
    }
    const control = controlEscapes[character];
    if (control !== undefined) return [[control, control]];
    if (/[A-Za-z0-9]/u.test(character)) throw new UnsupportedPattern(`it holds \\${character}`);
    return single(character);
  }

  #hexadecimal(length: number): Ranges {
    let text = "";
    for (let i = 0; i < length; i++) text += this.#next();
    const code = Number.parseInt(text, 16);
    if (code >= 0xd800 && code <= 0xdfff) throw new UnsupportedPattern("it holds half a surrogate pair");
    return [[code, code]];
  }

  #braced(): Ranges {
    let text = "";
    for (let character = this.#next(); character !== "}"; character = this.#next()) text += character;
    const code = Number.parseInt(text, 16);
    return [[code, code]];
  }

  #peek(): string {
    return this.#characters[this.#at] ?? "";
  }

  #next(): string {
    const character = this.#characters[this.#at++];
    if (character === undefined) throw new UnsupportedPattern("it ends too early");
    return character;
  }

  #skip(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#at += 1;
    return true;
  }
}

const controlEscapes: Readonly<Record<string, number>> = { t: 0x09, n: 0x0a, v: 0x0b, f: 0x0c, r: 0x0d, 0: 0x00 };

function single(character: string): Ranges {
  const code = character.codePointAt(0) as number;
  return [[code, code]];
}
