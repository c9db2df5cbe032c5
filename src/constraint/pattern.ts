/** @module Regular expressions as grammars of what stands between the quotes of a JSON string. */
import { automatonGrammar, bothOf, ofLength } from "./automaton.ts";
import { contains, everything, intersect, notLineEnds, type Ranges } from "./character-ranges.ts";
import { alternatives, type Grammar, literal, repeat } from "./gbnf.ts";
import { shapeAutomaton } from "./pattern-automaton.ts";
import {
  anyLength,
  anything,
  fittedTo,
  joined,
  type Lengths,
  nothing,
  type Part,
  UnmetLength,
  UnsupportedPattern,
} from "./pattern-length.ts";
import { longestOverlap, mostOverlapping, type Shape } from "./pattern-overlap.ts";
import { checkPattern, PatternText, single } from "./pattern-text.ts";

/** Groups in each other. */
const deepestGroup = 32;

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
  checkPattern(source, grammar.budget);
  return new PatternReader(grammar, source, within, characterIn).read();
}

/**
 * GBNF of the texts of the given lengths that match the pattern, and another one where there is one; null where there
 * are none. Throws UnsupportedPattern, and LargeAutomaton.
 */
export function exactPatternGrammar(
  grammar: Grammar,
  source: string,
  other: string | null,
  { least, most }: Lengths,
): string | null {
  const automatonOf = (one: string) => {
    checkPattern(one, grammar.budget);
    return shapeAutomaton(new PatternReader(grammar, one, anyLength, characterIn).shape(), grammar.budget);
  };
  const ofOne = bothOf(automatonOf(source), ofLength(least, most));
  if (other === null) return automatonGrammar(grammar, ofOne, characterIn);
  return automatonGrammar(grammar, bothOf(automatonOf(other), ofOne), characterIn);
}

/** GBNF of the texts that match as a whole, as they are. Throws UnsupportedPattern. */
export function plainPatternGrammar(grammar: Grammar, source: string): string {
  checkPattern(source, grammar.budget);
  const whole = `^(?:${source.replace(/^\^/u, "").replace(/(?<!\\)\$$/u, "")})$`;
  return new PatternReader(grammar, whole, anyLength, plainCharacterIn).read();
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
  readonly #text: PatternText;
  readonly #within: Lengths;
  #depth = 0;

  /** `write`: one character out of ranges, as a rule's body. */
  constructor(grammar: Grammar, source: string, within: Lengths, write: typeof characterIn) {
    this.#grammar = grammar;
    this.#write = write;
    this.#text = new PatternText(source, grammar.budget);
    this.#within = within;
  }

  read(): string {
    const parts: Part[] = [];
    do {
      const fitted = fittedTo(this.#anchoredAlternative(), this.#within);
      if (fitted !== null) parts.push(joined(fitted));
    } while (this.#text.skip("|"));
    if (parts.length === 0) throw new UnmetLength("it allows no text of that length");
    const shape: Shape = { type: "choice", parts: parts.map((part) => part.shape) };
    if (longestOverlap(shape, this.#grammar.budget) > mostOverlapping)
      throw new UnsupportedPattern(
        `more than ${mostOverlapping} repetitions in a row may take the same characters; put what they do not take between them`,
      );
    return alternatives(parts.map(({ text }) => text || '""'));
  }

  /** Of what matches, whatever its length. */
  shape(): Shape {
    const parts: Shape[] = [];
    do parts.push(joined(this.#anchoredAlternative()).shape);
    while (this.#text.skip("|"));
    return { type: "choice", parts };
  }

  #anchoredAlternative(): Part[] {
    const body = anyCharacter(this.#grammar);
    const any: Part = { text: repeat(body, 0, undefined), shape: anything, body };
    const before = this.#text.skip("^") ? nothing : any;
    const terms = this.#terms();
    const after = this.#text.skip("$") ? nothing : any;
    if (!this.#text.isOver && this.#text.peek() !== "|")
      throw new UnsupportedPattern("'^' and '$' may stand at its ends only");
    return [before, ...terms, after];
  }

  #terms(): Part[] {
    const parts: Part[] = [];
    while (!this.#text.isOver && !["|", ")", "$"].includes(this.#text.peek())) parts.push(this.#term());
    return parts;
  }

  #term(): Part {
    const body = this.#atom();
    const bounds = this.#text.quantifier();
    if (bounds === null) return body;
    const [least, most = Number.POSITIVE_INFINITY] = bounds;
    // llama.cpp multiplies nested repetitions: as a rule of its own, what is repeated counts as one.
    const rule = this.#grammar.same("part", body.text || '""');
    return { text: repeat(rule, ...bounds), shape: { type: "repeat", body: body.shape, least, most }, body: rule };
  }

  #atom(): Part {
    const character = this.#text.next();
    switch (character) {
      case "(":
        return this.#group();
      case "[":
        return this.#character(this.#text.class());
      case ".":
        return this.#character(notLineEnds);
      case "^":
        throw new UnsupportedPattern("'^' and '$' may stand at its ends only");
      case "\\":
        return this.#character(this.#text.escape());
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
    if (this.#text.skip("?")) {
      if (!this.#text.skip(":")) {
        if (!this.#text.skip("<") || ["=", "!"].includes(this.#text.peek()))
          throw new UnsupportedPattern("it looks ahead or behind");
        while (this.#text.next() !== ">");
      }
    }
    const parts: Part[] = [];
    do parts.push(joined(this.#terms()));
    while (this.#text.skip("|"));
    if (!this.#text.skip(")")) throw new UnsupportedPattern("'^' and '$' may stand at its ends only");
    this.#depth -= 1;
    const text = `( ${parts.map((part) => part.text || '""').join(" | ")} )`;
    this.#grammar.budget.spend(text.length);
    return { text, shape: { type: "choice", parts: parts.map(({ shape }) => shape) } };
  }
}
