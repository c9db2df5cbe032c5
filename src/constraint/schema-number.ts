/** @module The numbers that a schema allows, as grammars. */
import { LargeAutomaton } from "./automaton.ts";
import type { Grammar } from "./gbnf.ts";
import { type Bounds, mostDecimals, numbersWithin } from "./json-number.ts";
import { type Divisor, divisorOf, multiplesWithin, wholeDivisor } from "./number-multiples.ts";
import { impossible, inside, type Lose, malformed, type Place, unkeepable } from "./place.ts";
import { own, type Schema } from "./schema-merge.ts";

type NumberType = "number" | "integer";

/** The rule of its numbers; schemas of the same bounds share it. */
export function numberRule(grammar: Grammar, type: NumberType, schema: Schema, place: Place, lose: Lose): string {
  const divisor = divisorIn(schema, type, place, lose);
  const bounds = readable(boundsOf(schema, type, place), divisor);
  const decimals = divisor?.decimals ?? (type === "integer" ? 0 : mostDecimals);
  const { minimum: least = Number.NEGATIVE_INFINITY, maximum: most = Number.POSITIVE_INFINITY } = bounds;
  if (decimals > 0 && least <= most && Math.ceil(least) > Math.floor(most))
    throw unkeepable(place, "no integer lies within its bounds; widen them to integers");
  const body =
    divisor === null || divisor.count === 1
      ? numbersWithin(bounds, decimals)
      : multiples(grammar, bounds, divisor, lose);
  if (body === null) throw impossible(place, "no number can be written within its bounds");
  return grammar.same(type, body);
}

/** Of multiples with decimals: so many digits in all, whose division by the divisor any reader can still judge. */
const mostDigitsDivided = 14;

function readable(bounds: Bounds, divisor: Divisor | null): Bounds {
  if (divisor === null || divisor.decimals === 0) return bounds;
  const { minimum = Number.NEGATIVE_INFINITY, maximum = Number.POSITIVE_INFINITY } = bounds;
  const largest = 10 ** (mostDigitsDivided - divisor.decimals) - 1;
  return { minimum: Math.max(minimum, -largest), maximum: Math.min(maximum, largest) };
}

/** Null: no multiple lies within the bounds. */
function multiples(grammar: Grammar, bounds: Bounds, divisor: Divisor, lose: Lose): string | null {
  try {
    return multiplesWithin(grammar, bounds, divisor);
  } catch (error) {
    if (!(error instanceof LargeAutomaton)) throw error;
    lose("multipleOf", "its multiples are too many to tell from other numbers; leave it out, or narrow the bounds");
    return numbersWithin(bounds, divisor.decimals);
  }
}

/** What its numbers are multiples of; null: nothing, or what cannot be kept to. */
function divisorIn(schema: Schema, type: NumberType, place: Place, lose: Lose): Divisor | null {
  const multiple = own(schema, "multipleOf");
  if (multiple === undefined) return null;
  if (typeof multiple !== "number" || multiple <= 0)
    throw malformed(inside(place, "multipleOf"), "must be a number above 0");
  const divisor = divisorOf(multiple, mostDecimals);
  if (divisor !== null) return type === "integer" ? wholeDivisor(divisor) : divisor;
  lose("multipleOf", `only multiples of numbers with up to ${mostDecimals} decimals can be kept to; leave it out`);
  return null;
}

function boundsOf(schema: Schema, type: NumberType, place: Place): Bounds {
  const read = (keyword: string): number | undefined => {
    const value = own(schema, keyword);
    if (value !== undefined && typeof value !== "number") throw malformed(inside(place, keyword), "must be a number");
    return value;
  };
  const [above, below] = [read("exclusiveMinimum"), read("exclusiveMaximum")];
  // The next integer after an exclusive bound: what lies between is left out where numbers have decimals.
  const lowest = [read("minimum"), above === undefined ? undefined : Math.floor(above) + 1];
  const highest = [read("maximum"), below === undefined ? undefined : Math.ceil(below) - 1];
  const int32 = type === "integer" && own(schema, "format") === "int32" ? 2 ** 31 - 1 : undefined;
  const minimum = maximumOf([...lowest, int32 === undefined ? undefined : -int32]);
  const maximum = maximumOf([...highest, int32].map((bound) => (bound === undefined ? undefined : -bound)));
  return { minimum, maximum: maximum === undefined ? undefined : -maximum };
}

function maximumOf(values: readonly (number | undefined)[]): number | undefined {
  const given = values.filter((value) => value !== undefined);
  return given.length === 0 ? undefined : Math.max(...given);
}

export function countOf(schema: Schema, keyword: string, place: Place): number | undefined {
  const value = own(schema, keyword);
  if (value === undefined) return undefined;
  if (!Number.isInteger(value) || (value as number) < 0)
    throw malformed(inside(place, keyword), "must be a whole number, 0 or more");
  return value as number;
}
