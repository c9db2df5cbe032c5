/**
 * @module One schema that says what several say together, as `allOf` and the siblings of `anyOf` and `$ref` need it.
 */
import { isRecord } from "../text/json.ts";
import type { Budget } from "./budget.ts";
import { canonicalJson } from "./json-text.ts";
import type { Lose } from "./place.ts";
import { assertions } from "./schema-keywords.ts";

export type Schema = Readonly<Record<string, unknown>>;

/** A schema that allows what all allow, or less. Of what it cannot put together the first is kept, once `lose` returns. */
export function mergeSchemas(schemas: readonly Schema[], budget: Budget, lose: Lose): Schema {
  const distinct = [...new Set(schemas)];
  if (distinct.length === 1) return distinct[0] as Schema;
  budget.spend(100 * distinct.length);
  const said = new Map<string, unknown[]>();
  for (const schema of distinct)
    for (const keyword of assertions(schema)) {
      budget.spend(16);
      if (!objectKeywords.has(keyword)) addTo(said, keyword, schema[keyword]);
    }
  const merged: Record<string, unknown> = Object.create(null);
  for (const [keyword, values] of said) {
    if (keyword === "nullable")
      merged[keyword] = values.length === distinct.length && values.every((value) => value === true);
    else merged[keyword] = mergeKeyword(keyword, values, budget, lose);
  }
  // Of two constants none is both.
  if (merged["const"] === differentConstants) {
    delete merged["const"];
    merged["enum"] = [];
  }
  return { ...merged, ...mergeObjects(distinct, budget, lose) };
}

const objectKeywords = new Set(["properties", "required", "additionalProperties", "patternProperties"]);
const differentConstants = Symbol("different constants");

function mergeKeyword(keyword: string, values: readonly unknown[], budget: Budget, lose: Lose): unknown {
  const [first, ...others] = new Set(values);
  if (others.length === 0) return first;
  const distinct = new Map([first, ...others].map((value) => [canonicalJson(value, budget), value]));
  if (distinct.size === 1) return first;
  const different = [...distinct.values()];
  switch (keyword) {
    case "type":
      return different.reduce(commonTypes);
    case "enum":
      return different.reduce((a, b) => commonValues(a, b, budget));
    case "const":
      return differentConstants;
    case "minimum":
    case "exclusiveMinimum":
    case "minLength":
    case "minItems":
    case "minProperties":
      return different.map(Number).reduce((a, b) => Math.max(a, b));
    case "maximum":
    case "exclusiveMaximum":
    case "maxLength":
    case "maxItems":
    case "maxProperties":
      return different.map(Number).reduce((a, b) => Math.min(a, b));
    case "items":
    case "propertyNames":
      return together(different);
    case "allOf":
      return different.flatMap(asList);
    default:
      lose(keyword, `'${keyword}' stands in two of the schemas that must hold at once; put them into one`, null);
      return first;
  }
}

/** A property that only some name is what the others say of additional properties as well. */
function mergeObjects(schemas: readonly Schema[], budget: Budget, lose: Lose): Schema {
  const required = new Set<unknown>();
  const sides = new Map<string, unknown[]>();
  /** What each says of additional properties, where it says something. */
  const others = schemas.flatMap((schema, i) => {
    const additional = own(schema, "additionalProperties");
    return additional === undefined ? [] : [{ i, additional }];
  });
  const patterns = schemas.filter((schema) => own(schema, "patternProperties") !== undefined);
  const hasPatterns = patterns.length > 0 && (sidesOf(schemas) === 1 || others.length === 0);
  if (patterns.length > 0 && (!hasPatterns || patterns.length > 1))
    lose("patternProperties", "'patternProperties' and other properties must hold at once; put them into one", null);
  const properties = schemas.map((schema) => asObject(own(schema, "properties")));
  for (const [i, schema] of schemas.entries()) {
    for (const name of asList(own(schema, "required"))) {
      budget.spend(8);
      required.add(name);
    }
    for (const name of Object.keys(properties[i] as Schema)) {
      budget.spend(24);
      addTo(sides, name, (properties[i] as Schema)[name]);
    }
  }
  for (const [name, said] of sides)
    for (const { i, additional } of others) {
      budget.spend(8);
      if (!Object.hasOwn(properties[i] as Schema, name)) said.push(additional);
    }
  return {
    ...(sides.size > 0 && { properties: Object.fromEntries([...sides].map(([name, said]) => [name, together(said)])) }),
    ...(required.size > 0 && { required: [...required] }),
    ...(hasPatterns && { patternProperties: own(patterns[0] as Schema, "patternProperties") }),
    ...(others.length > 0 && { additionalProperties: together(others.map(({ additional }) => additional)) }),
  };
}

/** How many say something about an object's properties. */
function sidesOf(schemas: readonly Schema[]): number {
  return schemas.filter((schema) => [...objectKeywords].some((keyword) => own(schema, keyword) !== undefined)).length;
}

/** A schema of what all say. */
export function together(schemas: readonly unknown[]): unknown {
  if (schemas.includes(false)) return false;
  const distinct = [...new Set(schemas)].filter((schema) => schema !== true);
  if (distinct.length === 0) return true;
  return distinct.length === 1 ? distinct[0] : { allOf: distinct };
}

/** Every integer is a number. */
function commonTypes(a: unknown, b: unknown): unknown {
  const [left, right] = [new Set(asList(a)), new Set(asList(b))];
  const accepts = (types: ReadonlySet<unknown>, type: unknown): boolean =>
    types.has(type) || (type === "integer" && types.has("number"));
  return [
    ...new Set([
      ...[...left].filter((type) => accepts(right, type)),
      ...[...right].filter((type) => accepts(left, type)),
    ]),
  ];
}

function commonValues(a: unknown, b: unknown, budget: Budget): unknown[] {
  const right = new Set(asList(b).map((value) => canonicalJson(value, budget)));
  return asList(a).filter((value) => right.has(canonicalJson(value, budget)));
}

function addTo(map: Map<string, unknown[]>, key: string, value: unknown): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

/** No inherited property is a keyword. */
export function own(schema: Schema, keyword: string): unknown {
  return Object.hasOwn(schema, keyword) ? schema[keyword] : undefined;
}

export function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : value === undefined ? [] : [value];
}

export function asObject(value: unknown): Schema {
  return isRecord(value) ? value : {};
}
