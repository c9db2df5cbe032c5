/** @module The constants that a schema allows, as grammars. */
import type { Budget } from "./budget.ts";
import { oneText } from "./gbnf.ts";
import { canonicalJson, writeJson } from "./json-text.ts";
import { impossible, inside, type Lose, malformed, type Place } from "./place.ts";
import type { SchemaCheck } from "./schema-check.ts";
import { assertions } from "./schema-keywords.ts";
import { own, type Schema } from "./schema-merge.ts";

interface Setting {
  readonly budget: Budget;
  readonly check: SchemaCheck;
  readonly place: Place;
  readonly lose: Lose;
}

/** GBNF of the constants that keep to what else the schema says; null where it lists none. */
export function constantTexts(schema: Schema, setting: Setting): string | null {
  const texts = listedTexts(schema, setting);
  return texts === null ? null : oneText(texts);
}

/** The constants themselves, each once, as JSON. */
export function listedTexts(schema: Schema, { budget, check, place, lose }: Setting): readonly string[] | null {
  const { const: constant, enum: listed, ...others } = schema;
  const hasConstant = Object.hasOwn(schema, "const");
  if (listed === undefined && !hasConstant) return null;
  if (listed !== undefined && !Array.isArray(listed))
    throw malformed(inside(place, "enum"), "must be a list of values");
  let values = (listed ?? []) as readonly unknown[];
  if (hasConstant) {
    const wanted = canonicalJson(constant, budget);
    values = listed === undefined || values.some((value) => canonicalJson(value, budget) === wanted) ? [constant] : [];
  }
  if (assertions(others).length > 0) {
    const verdicts = values.map((value) => check.evaluate(value, others));
    if (verdicts.includes(null))
      lose(own(schema, "enum") === undefined ? "const" : "enum", "whether its values are allowed cannot be seen");
    values = values.filter((_, i) => verdicts[i] !== false);
  }
  const texts = new Set(values.map((value) => writeJson(value, budget)));
  if (texts.size === 0) throw impossible(place, "no value is possible");
  return [...texts];
}
