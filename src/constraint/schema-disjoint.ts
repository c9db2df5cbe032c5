/** @module Whether no value can be valid against two of several schemas, as `oneOf` asks. Where that cannot be seen, the answer is no. */
import { asList, asObject, own, type Schema } from "./schema-merge.ts";

export function areDisjoint(schemas: readonly (Schema | boolean)[]): boolean {
  const possible = schemas.filter((schema) => schema !== false);
  return possible.every((a, i) => possible.slice(i + 1).every((b) => a !== true && b !== true && cannotBoth(a, b)));
}

function cannotBoth(a: Schema, b: Schema): boolean {
  const [valuesA, valuesB] = [valuesOf(a), valuesOf(b)];
  if (valuesA !== null && valuesB !== null) return !valuesA.some((value) => valuesB.includes(value));
  const [typesA, typesB] = [jsonTypes(a, valuesA), jsonTypes(b, valuesB)];
  if (typesA !== null && typesB !== null && !typesA.some((type) => typesB.includes(type))) return true;
  return typesA?.join() === "object" && typesB?.join() === "object" && differInProperty(a, b);
}

/** A property that both require has constants in both, none of them in common. */
function differInProperty(a: Schema, b: Schema): boolean {
  const common = asList(own(a, "required")).filter((name) => asList(own(b, "required")).includes(name));
  return common.some((name) => {
    const [left, right] = [a, b].map((schema) => valuesOf(asObject(own(asObject(own(schema, "properties")), String(name)))));
    return left && right && !left.some((value) => right.includes(value));
  });
}

/** The constants that a schema allows, as JSON; null where it does not list them. */
function valuesOf(schema: Schema): string[] | null {
  if (Object.hasOwn(schema, "const")) return [JSON.stringify(schema["const"])];
  const listed = own(schema, "enum");
  return Array.isArray(listed) ? listed.map((value) => JSON.stringify(value)) : null;
}

/** Integers count as numbers. */
function jsonTypes(schema: Schema, values: readonly string[] | null): string[] | null {
  const nullable = own(schema, "nullable") === true ? ["null"] : [];
  const said = own(schema, "type");
  if (said !== undefined) return [...asList(said).map((type) => (type === "integer" ? "number" : String(type))), ...nullable];
  if (values === null) return null;
  return values.map((value) => typeOfJson(JSON.parse(value)));
}

function typeOfJson(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}
