/** @module What the keywords of JSON Schema (2020-12) mean to the gateway. */

type Keywords = Readonly<Record<string, unknown>>;

/** What each type's own keywords are. */
export const typeKeywords = {
  object: [
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "unevaluatedProperties",
  ],
  array: ["items", "prefixItems", "minItems", "maxItems", "uniqueItems", "unevaluatedItems"],
  string: ["minLength", "maxLength", "pattern", "format"],
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
} as const;

/** Those that hold at once with whatever stands beside them. */
export const combinations = ["$ref", "allOf", "anyOf", "oneOf"] as const;
export type Combination = (typeof combinations)[number];

const general = ["type", "enum", "const", "not", "nullable", ...combinations];

/** Say something about a value, and can be kept to, or to a part of it. */
const implemented = new Set<string>([...Object.values(typeKeywords).flat(), ...general]);

/**
 * Keywords that a value must be checked against, and that a grammar cannot keep to; each with what shows that it asks
 * for nothing.
 */
const unsupported: ReadonlyMap<string, (value: unknown, schema: Keywords) => boolean> = new Map<
  string,
  (value: unknown, schema: Keywords) => boolean
>([
  ["if", (_, schema) => schema["then"] === undefined && schema["else"] === undefined],
  ["contains", (_, { minContains, maxContains }) => minContains === 0 && maxContains === undefined],
  ["dependentRequired", isEmptyObject],
  ["dependentSchemas", isEmptyObject],
]);

function isEmptyObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

/**
 * The keywords of the schema that cannot be kept to. Keywords that JSON Schema does not know say nothing about a value.
 */
export function unsupportedKeywords(schema: Keywords): string[] {
  return Object.keys(schema).filter((keyword) => unsupported.get(keyword)?.(schema[keyword], schema) === false);
}

/** The keywords that say something about a value, and are not left to a check: others only describe it. */
export function assertions(schema: Keywords): string[] {
  return Object.keys(schema).filter(
    (keyword) => implemented.has(keyword) && (keyword !== "uniqueItems" || schema[keyword] === true),
  );
}
