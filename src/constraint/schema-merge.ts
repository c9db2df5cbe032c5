/** @module One schema that says what two say together, as `allOf` and the siblings of `anyOf` and `$ref` need it. */
import { assertions } from "./schema-keywords.ts";

export type Schema = Readonly<Record<string, unknown>>;

/** Two schemas cannot be put into one; the message names the keyword. */
export class UnmergeableSchemas extends Error {}

/** A schema that allows what both allow, or less. Throws UnmergeableSchemas. References and combinations in both are more than it can do. */
export function mergeSchemas(a: Schema, b: Schema): Schema {
  const merged: Record<string, unknown> = Object.create(null);
  for (const keyword of new Set([...assertions(a), ...assertions(b)])) {
    if (objectKeywords.has(keyword)) continue;
    const [left, right] = [own(a, keyword), own(b, keyword)];
    if (keyword === "nullable") merged[keyword] = left === true && right === true;
    else merged[keyword] = left === undefined ? right : right === undefined ? left : mergeKeyword(keyword, left, right);
  }
  return { ...merged, ...mergeObjects(a, b) };
}

const objectKeywords = new Set(["properties", "required", "additionalProperties"]);

function mergeKeyword(keyword: string, a: unknown, b: unknown): unknown {
  if (JSON.stringify(a) === JSON.stringify(b)) return a;
  switch (keyword) {
    case "type":
      return commonTypes(a, b);
    case "enum":
      return asList(a).filter((value) => asList(b).some((other) => JSON.stringify(other) === JSON.stringify(value)));
    case "minimum":
    case "exclusiveMinimum":
    case "minLength":
    case "minItems":
      return Math.max(Number(a), Number(b));
    case "maximum":
    case "exclusiveMaximum":
    case "maxLength":
    case "maxItems":
      return Math.min(Number(a), Number(b));
    case "items":
      return both(a, b);
    case "allOf":
      return [...asList(a), ...asList(b)];
    default:
      throw new UnmergeableSchemas(`'${keyword}' stands in two of the schemas that must hold at once`);
  }
}

/** A property that only one of the two names is what the other says of additional properties as well. */
function mergeObjects(a: Schema, b: Schema): Schema {
  const [left, right] = [asObject(own(a, "properties")), asObject(own(b, "properties"))];
  const names = new Set([...Object.keys(left), ...Object.keys(right)]);
  const properties: [string, unknown][] = [];
  for (const name of names) {
    const sides = [
      Object.hasOwn(left, name) ? left[name] : own(a, "additionalProperties"),
      Object.hasOwn(right, name) ? right[name] : own(b, "additionalProperties"),
    ].filter((side) => side !== undefined && side !== true);
    properties.push([name, sides.length === 0 ? true : sides.length === 1 ? sides[0] : both(sides[0], sides[1])]);
  }
  const required = [...new Set([...asList(own(a, "required")), ...asList(own(b, "required"))])];
  const additional = [own(a, "additionalProperties"), own(b, "additionalProperties")].filter((one) => one !== undefined);
  return {
    ...(properties.length > 0 && { properties: Object.fromEntries(properties) }),
    ...(required.length > 0 && { required }),
    ...(additional.length === 1 && { additionalProperties: additional[0] }),
    ...(additional.length === 2 && { additionalProperties: both(additional[0], additional[1]) }),
  };
}

function both(a: unknown, b: unknown): unknown {
  if (a === false || b === false) return false;
  if (a === true) return b;
  return b === true ? a : { allOf: [a, b] };
}

/** Every integer is a number. */
function commonTypes(a: unknown, b: unknown): unknown {
  const [left, right] = [asList(a), asList(b)];
  const accepts = (types: readonly unknown[], type: unknown): boolean =>
    types.includes(type) || (type === "integer" && types.includes("number"));
  return [...new Set([...left.filter((type) => accepts(right, type)), ...right.filter((type) => accepts(left, type))])];
}

/** No inherited property is a keyword. */
export function own(schema: Schema, keyword: string): unknown {
  return Object.hasOwn(schema, keyword) ? schema[keyword] : undefined;
}

export function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : value === undefined ? [] : [value];
}

export function asObject(value: unknown): Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Schema) : {};
}
