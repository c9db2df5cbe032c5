/** @module What the keywords of JSON Schema (2020-12) mean to the gateway. */

/** What each type's own keywords are. */
export const typeKeywords = {
  object: ["properties", "required", "additionalProperties"],
  array: ["items", "prefixItems", "minItems", "maxItems"],
  string: ["minLength", "maxLength", "pattern", "format"],
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
} as const;

const general = ["type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "nullable"];

/** Say something about a value, and can be kept to. */
const implemented = new Set<string>([...Object.values(typeKeywords).flat(), ...general]);

/**
 * Keywords that a value must be checked against, and that a grammar cannot keep to; each with the values that ask for
 * nothing.
 */
const unsupported: ReadonlyMap<string, (value: unknown) => boolean> = new Map([
  ["not", () => false],
  ["if", () => false],
  ["then", () => true],
  ["else", () => true],
  ["uniqueItems", (value) => value === false],
  ["contains", () => false],
  ["minContains", () => true],
  ["maxContains", () => true],
  ["minProperties", (value) => value === 0],
  ["maxProperties", () => false],
  ["patternProperties", isEmptyObject],
  ["propertyNames", (value) => value === true || isEmptyObject(value)],
  ["dependentRequired", isEmptyObject],
  ["dependentSchemas", isEmptyObject],
  ["dependencies", isEmptyObject],
  ["unevaluatedItems", (value) => value === true],
  ["unevaluatedProperties", (value) => value === true],
  ["additionalItems", () => false],
  ["$dynamicRef", () => false],
  ["$recursiveRef", () => false],
]);

function isEmptyObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

/**
 * A keyword of the schema that cannot be kept to, if it holds one. Keywords that JSON Schema does not know say nothing
 * about a value.
 */
export function unsupportedKeyword(schema: Readonly<Record<string, unknown>>): string | undefined {
  return Object.keys(schema).find((keyword) => unsupported.get(keyword)?.(schema[keyword]) === false);
}

/** The keywords that say something about a value: others only describe it. */
export function assertions(schema: Readonly<Record<string, unknown>>): string[] {
  return Object.keys(schema).filter((keyword) => implemented.has(keyword));
}
