/** @module The numbers that a schema allows, as grammars. */
import type { Grammar } from "./gbnf.ts";
import { type Bounds, integersWithin, numbersWithin } from "./json-number.ts";
import { impossible, inside, type Lose, malformed, type Place, unkeepable } from "./place.ts";
import { own, type Schema } from "./schema-merge.ts";

type NumberType = "number" | "integer";
const mostDecimals = 6;

/** The rule of its numbers; schemas of the same bounds share it. */
export function numberRule(grammar: Grammar, type: NumberType, schema: Schema, place: Place, lose: Lose): string {
  const decimals = decimalsOf(schema, type, place, lose);
  const bounds = boundsOf(schema, type, place);
  const { minimum: least = Number.NEGATIVE_INFINITY, maximum: most = Number.POSITIVE_INFINITY } = bounds;
  if (decimals > 0 && least <= most && Math.ceil(least) > Math.floor(most))
    throw unkeepable(place, "no integer lies within its bounds; widen them to integers");
  const body = decimals === 0 ? integersWithin(bounds) : numbersWithin(bounds, decimals);
  if (body === null) throw impossible(place, "no number can be written within its bounds");
  return grammar.same(type, body);
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

/** How many decimals a number may have. */
function decimalsOf(schema: Schema, type: NumberType, place: Place, lose: Lose): number {
  const most = type === "integer" ? 0 : mostDecimals;
  const multiple = own(schema, "multipleOf");
  if (multiple === undefined) return most;
  if (typeof multiple !== "number" || multiple <= 0)
    throw malformed(inside(place, "multipleOf"), "must be a number above 0");
  const decimals = Math.round(-Math.log10(multiple));
  const isDecimal = decimals >= 0 && decimals <= mostDecimals && Number(`1e-${decimals}`) === multiple;
  if (multiple === 1 || (type === "integer" && isDecimal)) return 0;
  lose("multipleOf", "only multiples of 1 can be kept to; leave it out");
  return isDecimal ? decimals : Number.isInteger(multiple) ? 0 : most;
}

export function countOf(schema: Schema, keyword: string, place: Place): number | undefined {
  const value = own(schema, keyword);
  if (value === undefined) return undefined;
  if (!Number.isInteger(value) || (value as number) < 0)
    throw malformed(inside(place, keyword), "must be a whole number, 0 or more");
  return value as number;
}
