/**
 * @module JSON Schema as it is written: by drafts since the fourth, by OpenAPI, by programs that write null for what
 * they leave out. One schema at a time becomes what draft 2020-12 would write.
 */
import { isRecord } from "../text/json.ts";
import { inside, malformed, type Place } from "./place.ts";
import type { Schema } from "./schema-merge.ts";
import { isTypeName } from "./schema-types.ts";

/** Keywords whose values are schemas by name. */
const named = ["properties", "patternProperties", "dependentSchemas", "dependencies"] as const;
const bounds = [
  ["exclusiveMinimum", "minimum"],
  ["exclusiveMaximum", "maximum"],
] as const;

/** Reads schemas. What it has read of an object is the same object again: definitions are told apart by it. */
export class Dialect {
  readonly #read = new WeakMap<object, Schema | boolean>();

  /** Throws "invalid_request" naming the place of what is no schema. */
  read(schema: unknown, place: Place): Schema | boolean {
    if (typeof schema === "boolean") return schema;
    if (typeof schema !== "object" || schema === null || (Array.isArray(schema) && schema.length > 0))
      throw malformed(place, "a schema must be an object or a boolean");
    const known = this.#read.get(schema);
    if (known !== undefined) return known;
    // PHP writes what is empty as a list.
    const read = Array.isArray(schema) ? {} : newest(schema as Schema, place);
    this.#read.set(schema, read);
    this.#read.set(read, read);
    return read;
  }
}

function newest(schema: Schema, place: Place): Schema {
  if (!Object.keys(schema).some((keyword) => isOlder(keyword, schema[keyword]))) return schema;
  const read: Record<string, unknown> = Object.assign(Object.create(null), withoutNulls(schema));
  // Draft 3 says of a property whether it is required: see `objectBody`.
  if (typeof read["required"] === "boolean") delete read["required"];
  if (read["type"] !== undefined) read["type"] = lowerCase(read["type"]);
  for (const keyword of named) if (Array.isArray(read[keyword]) && read[keyword].length === 0) read[keyword] = {};
  readTuple(read, place);
  readBounds(read);
  // In one document they refer to what `$ref` would.
  for (const reference of ["$dynamicRef", "$recursiveRef"]) read["$ref"] ??= read[reference];
  if (read["$ref"] === undefined) delete read["$ref"];
  readDependencies(read, place);
  if (read["const"] === null && !allowsNull(read)) delete read["const"];
  return { ...read };
}

function isOlder(keyword: string, value: unknown): boolean {
  switch (keyword) {
    case "required":
    case "exclusiveMinimum":
    case "exclusiveMaximum":
      return value === null || typeof value === "boolean";
    case "type":
      return value === null || (value !== lowerCase(value) && typeof value === "string") || Array.isArray(value);
    case "items":
    case "properties":
    case "patternProperties":
    case "dependentSchemas":
      return value === null || Array.isArray(value);
    case "dependencies":
    case "additionalItems":
    case "$dynamicRef":
    case "$recursiveRef":
      return true;
    default:
      return value === null;
  }
}

function withoutNulls(schema: Schema): Schema {
  return Object.fromEntries(
    Object.entries(schema).filter(([keyword, value]) => value !== undefined && (value !== null || keyword === "const")),
  );
}

/** Protocol Buffers' names of types are in capitals. */
function lowerCase(type: unknown): unknown {
  if (Array.isArray(type)) return type.map(lowerCase);
  if (typeof type !== "string") return type;
  const lower = type.toLowerCase();
  return isTypeName(lower) ? lower : type;
}

/** Before 2020-12 a list of items was a tuple, and `additionalItems` what follows it. */
function readTuple(read: Record<string, unknown>, place: Place): void {
  const { items, additionalItems } = read;
  delete read["additionalItems"];
  if (!Array.isArray(items)) return;
  delete read["items"];
  if (read["prefixItems"] !== undefined) throw malformed(inside(place, "items"), "must be a schema beside prefixItems");
  if (items.length > 0) read["prefixItems"] = items;
  if (additionalItems !== undefined) read["items"] = additionalItems;
}

/** In OpenAPI 3.0 the exclusive bounds are flags. */
function readBounds(read: Record<string, unknown>): void {
  for (const [exclusive, bound] of bounds) {
    const flag = read[exclusive];
    if (typeof flag !== "boolean") continue;
    delete read[exclusive];
    if (!flag || read[bound] === undefined) continue;
    read[exclusive] = read[bound];
    delete read[bound];
  }
}

function readDependencies(read: Record<string, unknown>, place: Place): void {
  const { dependencies } = read;
  delete read["dependencies"];
  if (dependencies === undefined) return;
  if (!isRecord(dependencies)) throw malformed(inside(place, "dependencies"), "must be an object");
  const [names, schemas]: [Record<string, unknown>, Record<string, unknown>] = [{}, {}];
  for (const [name, asked] of Object.entries(dependencies)) {
    const own = { value: typeof asked === "string" ? [asked] : asked, enumerable: true };
    Object.defineProperty(Array.isArray(own.value) ? names : schemas, name, own);
  }
  if (Object.keys(names).length > 0) read["dependentRequired"] ??= names;
  if (Object.keys(schemas).length > 0) read["dependentSchemas"] ??= schemas;
}

function allowsNull({ type, nullable }: Schema): boolean {
  return type === undefined || nullable === true || (Array.isArray(type) ? type.includes("null") : type === "null");
}
