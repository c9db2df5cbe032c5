/** @module The numbers that a schema allows, as grammars. */
import type { Grammar } from "./gbnf.ts";
import { type Bounds, integersWithin, numbersWithin } from "./json-number.ts";
import { inside, type Place, refusal } from "./place.ts";
import { own, type Schema } from "./schema-merge.ts";

/** The rule of its numbers; schemas of the same bounds share it. */
export function numberRule(grammar: Grammar, type: "number" | "integer", schema: Schema, place: Place): string {
  const decimals = decimalsOf(schema, type, place);
  const bounds = boundsOf(schema, type, decimals, place);
  const body = decimals === 0 ? integersWithin(bounds) : numbersWithin(bounds, decimals);
  if (body === null) throw refusal(place, "no number can be written within its bounds");
  return grammar.same(type, body);
}

function boundsOf(schema: Schema, type: "number" | "integer", decimals: number, place: Place): Bounds {
  const read = (keyword: string): number | undefined => {
    const value = own(schema, keyword);
    // In OpenAPI 3.0 the exclusive bounds are flags.
    if (typeof value === "boolean") return undefined;
    if (value !== undefined && typeof value !== "number") throw refusal(inside(place, keyword), "must be a number");
    return value;
  };
  const [least, most] = [read("minimum"), read("maximum")];
  const above = own(schema, "exclusiveMinimum") === true ? least : read("exclusiveMinimum");
  const below = own(schema, "exclusiveMaximum") === true ? most : read("exclusiveMaximum");
  // The next integer after an exclusive bound: what lies between is left out where numbers have decimals.
  const lowest = [least, above === undefined ? undefined : Math.floor(above) + 1];
  const highest = [most, below === undefined ? undefined : Math.ceil(below) - 1];
  const int32 = type === "integer" && own(schema, "format") === "int32" ? 2 ** 31 - 1 : undefined;
  const minimum = maximumOf([...lowest, int32 === undefined ? undefined : -int32]);
  const maximum = maximumOf([...highest, int32].map((bound) => (bound === undefined ? undefined : -bound)));
  const bounds = { minimum, maximum: maximum === undefined ? undefined : -maximum };
  const isNarrow =
    decimals > 0 && Math.ceil(bounds.minimum ?? 0) > Math.floor(bounds.maximum ?? Number.POSITIVE_INFINITY);
  if (isNarrow) throw refusal(place, "no integer lies within its bounds; widen them to integers");
  return bounds;
}

function maximumOf(values: readonly (number | undefined)[]): number | undefined {
  const given = values.filter((value) => value !== undefined);
  return given.length === 0 ? undefined : Math.max(...given);
}

/** How many decimals a number may have. */
function decimalsOf(schema: Schema, type: "number" | "integer", place: Place): number {
  const multiple = own(schema, "multipleOf");
  if (multiple === undefined) return type === "integer" ? 0 : 6;
  const decimals = -Math.log10(Number(multiple));
  if (Number(multiple) === 1 || (type === "integer" && decimals >= 0 && Number.isInteger(decimals))) return 0;
  throw refusal(inside(place, "multipleOf"), "only multiples of 1 can be kept to; leave it out");
}

export function countOf(schema: Schema, keyword: string, place: Place): number | undefined {
  const value = own(schema, keyword);
  if (value === undefined) return undefined;
  if (!Number.isInteger(value) || (value as number) < 0)
    throw refusal(inside(place, keyword), "must be a whole number, 0 or more");
  return value as number;
}
