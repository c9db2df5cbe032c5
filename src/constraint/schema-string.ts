/** @module The strings that a schema allows, as grammars. */
import type { Grammar } from "./gbnf.ts";
import { formatImplies, knownFormats, stringOfFormat, stringOfLength, stringOfPattern } from "./json-string.ts";
import { mostRepetitions, UnsupportedPattern } from "./pattern.ts";
import { clipped, inside, type Place, refusal } from "./place.ts";
import { own, type Schema } from "./schema-merge.ts";
import { countOf } from "./schema-number.ts";

export function stringBody(grammar: Grammar, schema: Schema, place: Place): string {
  const [least, most] = [countOf(schema, "minLength", place), countOf(schema, "maxLength", place)];
  const [pattern, format] = [textOf(schema, "pattern", place), textOf(schema, "format", place)];
  const bounded = least !== undefined || most !== undefined;
  if (format !== undefined) return formatBody(grammar, { format, pattern, bounded }, place);
  if (pattern !== undefined) {
    if (bounded)
      throw refusal(
        inside(place, "pattern"),
        "a pattern and a length cannot be kept to at once; write the length into the pattern",
      );
    return patternBody(grammar, pattern, inside(place, "pattern"));
  }
  const body = stringOfLength(grammar, least ?? 0, most);
  if (body === null)
    throw refusal(
      inside(place, "minLength"),
      `no text of that length can be written (at most ${mostRepetitions} characters are counted)`,
    );
  return body;
}

interface Formatted {
  readonly format: string;
  readonly pattern: string | undefined;
  /** A length is asked for as well. */
  readonly bounded: boolean;
}

function formatBody(grammar: Grammar, { format, pattern, bounded }: Formatted, place: Place): string {
  const at = inside(place, "format");
  if (!knownFormats.includes(format))
    throw refusal(at, `the format '${clipped(format)}' is not known; known are ${knownFormats.join(", ")}`);
  if (bounded) throw refusal(at, "a format and a length cannot be kept to at once; leave out the length");
  if (pattern !== undefined && !formatImplies(format, pattern))
    throw refusal(inside(place, "pattern"), "a format and a pattern cannot be kept to at once; leave out one of them");
  return stringOfFormat(grammar, format);
}

/** Schemas of the same pattern share its rule. */
function patternBody(grammar: Grammar, pattern: string, place: Place): string {
  grammar.budget.at = place;
  try {
    return grammar.same("pattern", stringOfPattern(grammar, pattern));
  } catch (error) {
    if (error instanceof UnsupportedPattern) throw refusal(place, `this pattern is not supported: ${error.message}`);
    throw error;
  }
}

function textOf(schema: Schema, keyword: string, place: Place): string | undefined {
  const value = own(schema, keyword);
  if (value === undefined || typeof value === "string") return value;
  throw refusal(inside(place, keyword), "must be a text");
}
