/** @module The strings that a schema allows, as grammars. */
import { LargeAutomaton } from "./automaton.ts";
import type { Grammar } from "./gbnf.ts";
import {
  formatImplies,
  knownFormats,
  stringOfAll,
  stringOfFormat,
  stringOfLength,
  stringOfPattern,
} from "./json-string.ts";
import { anyLength, type Lengths, mostRepetitions, UnmetLength, UnsupportedPattern } from "./pattern-length.ts";
import { splitLookaheads } from "./pattern-lookahead.ts";
import { clipped, impossible, inside, type Lose, malformed, type Place } from "./place.ts";
import { own, type Schema } from "./schema-merge.ts";
import { countOf } from "./schema-number.ts";

export function stringBody(grammar: Grammar, schema: Schema, place: Place, lose: Lose): string {
  const within: Lengths = {
    least: countOf(schema, "minLength", place) ?? 0,
    most: countOf(schema, "maxLength", place) ?? Number.POSITIVE_INFINITY,
  };
  const [pattern, format] = [textOf(schema, "pattern", place), textOf(schema, "format", place)];
  grammar.budget.at = pattern === undefined ? place : inside(place, "pattern");
  const strings = { grammar, within, lose };
  return (
    (format !== undefined && isKept(format, pattern, lose) ? formatBody(strings, format, pattern) : null) ??
    (pattern === undefined ? null : patternBody(strings, pattern)) ??
    lengthBody(strings, place)
  );
}

interface Strings {
  readonly grammar: Grammar;
  readonly within: Lengths;
  readonly lose: Lose;
}

/** They say how a text is shown or what becomes of it, not what it is. */
const hints: ReadonlySet<string> = new Set(["binary", "password", "path", "file-path", "directory-path"]);

function boundOf({ most }: Lengths): string {
  return Number.isFinite(most) ? "maxLength" : "minLength";
}

/** Where a format is not known and a pattern stands beside it, it is the pattern's name, as zod's `starts_with`. */
function isKept(format: string, pattern: string | undefined, lose: Lose): boolean {
  if (knownFormats.includes(format)) return true;
  if (hints.has(format) || pattern !== undefined) return false;
  lose("format", `the format '${clipped(format)}' is not known; known are ${knownFormats.join(", ")}`);
  return false;
}

/** Null where its pattern says more, and both cannot be kept to. */
function formatBody({ grammar, within, lose }: Strings, format: string, pattern: string | undefined): string | null {
  if (pattern !== undefined && !formatImplies(format, pattern)) {
    const both = unlessUnsupported(() => stringOfAll(grammar, pattern, format, within));
    if (both !== null) return both;
    // The pattern tells more.
    lose("format", "a format and a pattern cannot be kept to at once; leave out one of them");
    return null;
  }
  const rule = unlessUnsupported(() => stringOfFormat(grammar, format, within));
  if (rule !== null) return rule;
  lose(boundOf(within), "a format and a length cannot be kept to at once; leave out the length", "format");
  return stringOfFormat(grammar, format, anyLength);
}

/** Schemas of the same pattern share its rule. Null where only the length can be kept to. */
function patternBody({ grammar, within, lose }: Strings, pattern: string): string | null {
  const withinLengths = (source: string, lengths: Lengths): string =>
    grammar.same("pattern", stringOfPattern(grammar, source, lengths));
  try {
    return withinLengths(pattern, within);
  } catch (error) {
    if (error instanceof UnmetLength) {
      const exact = unlessUnsupported(() => stringOfAll(grammar, pattern, null, within));
      if (exact !== null) return exact;
      const reason = "a pattern and a length cannot be kept to at once; write the length into the pattern";
      lose(boundOf(within), reason, "pattern");
      return withinLengths(pattern, anyLength);
    }
    if (!(error instanceof UnsupportedPattern)) throw error;
    lose("pattern", `this pattern is not supported: ${error.message}`);
    const rest = splitLookaheads(pattern)?.rest;
    if (rest === undefined) return null;
    return (
      unlessUnsupported(() => withinLengths(rest, within)) ?? unlessUnsupported(() => withinLengths(rest, anyLength))
    );
  }
}

function lengthBody({ grammar, within: { least, most }, lose }: Strings, place: Place): string {
  const reason = `no text of that length can be written (at most ${mostRepetitions} characters are counted)`;
  if (least > most) throw impossible(inside(place, "minLength"), reason);
  if (least > mostRepetitions) lose("minLength", reason);
  return stringOfLength(grammar, Math.min(least, mostRepetitions), Number.isFinite(most) ? most : undefined);
}

function unlessUnsupported<Made>(make: () => Made): Made | null {
  try {
    return make();
  } catch (error) {
    if (error instanceof UnsupportedPattern || error instanceof LargeAutomaton) return null;
    throw error;
  }
}

function textOf(schema: Schema, keyword: string, place: Place): string | undefined {
  const value = own(schema, keyword);
  if (value === undefined || typeof value === "string") return value;
  throw malformed(inside(place, keyword), "must be a text");
}
