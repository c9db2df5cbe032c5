/**
 * @module JSON schemas that nobody should send: each kind is one loop or recursion of a compiler driven as far as a
 * size says; and trees of any keywords.
 */

/** A whole number below a bound. */
export type Random = (below: number) => number;

export type Schema = Record<string, unknown> | boolean;

const names = (count: number, prefix = "name"): string[] => Array.from({ length: count }, (_, i) => `${prefix}${i}`);
const object = (properties: Record<string, unknown>, more: Record<string, unknown> = {}): Schema => ({
  type: "object",
  properties,
  ...more,
});
const each = <Value>(keys: readonly string[], value: (index: number) => Value): Record<string, Value> =>
  Object.fromEntries(keys.map((key, i) => [key, value(i)]));
const wrapped = (depth: number, wrap: (inner: unknown) => unknown): Schema => {
  let schema: unknown = { type: "string" };
  for (let level = 0; level < depth; level++) schema = wrap(schema);
  return schema as Schema;
};
/**
 * Definitions of which each names the next: followed one by one, what is twice in each becomes two to the power of
 * their number.
 */
const chain = (length: number, link: (next: { $ref: string }) => unknown): Schema => ({
  $ref: "#/$defs/d0",
  $defs: {
    ...each(names(length, "d"), (i) => link({ $ref: `#/$defs/d${i + 1}` })),
    [`d${length}`]: { type: "string" },
  },
});
const string = (pattern: string): Schema => ({ type: "string", pattern });
/** A body's lists and objects stand a hundred deep at most. */
const deep = (size: number): number => Math.min(size, 90);

/** Each by its name, for a size from 1 to some ten thousand. */
export const schemaKinds: Readonly<Record<string, (size: number) => Schema>> = {
  "allOf of the next, twice": (size) => chain(Math.min(size, 200), (next) => ({ allOf: [next, next] })),
  "anyOf of the next, twice": (size) => chain(Math.min(size, 200), (next) => ({ anyOf: [next, next] })),
  "oneOf of the next and what is like it": (size) =>
    chain(Math.min(size, 200), (next) => ({ oneOf: [next, { allOf: [next] }] })),
  "two properties of the next": (size) =>
    chain(Math.min(size, 200), (next) => object({ a: next, b: next }, { required: ["a", "b"] })),
  "allOf of objects of the next": (size) =>
    chain(Math.min(size, 200), (next) => ({ allOf: [object({ a: next }), object({ a: next }), object({ b: next })] })),
  "definitions in a row": (size) => chain(Math.min(size, 5_000), (next) => next),
  "an enum of strings": (size) => ({ enum: names(size) }),
  "an enum of strings that begin alike": (size) => ({
    enum: Array.from({ length: Math.min(size, 2_000) }, (_, i) => "a".repeat(i)),
  }),
  "an enum of one string, again and again": (size) => ({ enum: Array.from({ length: size }, () => "again") }),
  "an enum of numbers": (size) => ({ enum: Array.from({ length: size }, (_, i) => i / 7) }),
  "an enum of objects": (size) => ({ enum: Array.from({ length: size }, (_, i) => ({ a: i, b: [i] })) }),
  "an enum in an enum": (size) => ({ allOf: [{ enum: names(size) }, { enum: names(size).reverse() }] }),
  "a long constant": (size) => ({ const: "x".repeat(size * 5) }),
  "a constant with many properties": (size) => ({ const: each(names(size), (i) => i) }),
  "many properties": (size) => object(each(names(size), () => ({ type: "integer" }))),
  "many properties, all of them required": (size) =>
    object(
      each(names(size), () => ({})),
      { required: names(size) },
    ),
  "many names required": (size) => ({ type: "object", required: names(size) }),
  "names required again and again": (size) => object({ a: {} }, { required: Array.from({ length: size }, () => "a") }),
  "many patterns of properties": (size) => ({ type: "object", patternProperties: each(names(size), () => ({})) }),
  "many properties in allOf": (size) => ({
    allOf: names(size).map((name) => object({ [name]: { type: "string" } }, { required: [name] })),
  }),
  "the same properties in allOf": (size) => {
    const side = Math.ceil(Math.sqrt(size));
    return { allOf: Array.from({ length: side }, () => object(each(names(side), () => ({ type: "string" })))) };
  },
  "many that depend": (size) => ({ type: "object", dependentRequired: each(names(size), (i) => [`name${i + 1}`]) }),
  "oneOf of objects": (size) => ({
    oneOf: names(size).map((name) => object({ kind: { const: name } }, { required: ["kind"] })),
  }),
  "oneOf of objects that are alike": (size) => ({
    oneOf: names(Math.min(size, 3_000)).map((name) => object({ [name]: {} })),
  }),
  "oneOf of patterns": (size) => ({ oneOf: names(Math.min(size, 3_000)).map((name) => string(`^${name}.*$`)) }),
  "anyOf of anything": (size) => ({ anyOf: Array.from({ length: size }, () => ({})) }),
  "anyOf crossed with anyOf": (size) => {
    const side = Array.from({ length: Math.ceil(Math.sqrt(size)) }, (_, i) => object({ [`n${i}`]: { minimum: i } }));
    return { allOf: [{ anyOf: side }, { anyOf: side }, { anyOf: side }] };
  },
  "a pattern of options": (size) => string(`^${"a?".repeat(size)}$`),
  "a pattern of repetitions": (size) => string(`^${"[a-z]*".repeat(size)}$`),
  "a pattern of groups": (size) => string(`${"(".repeat(size)}a${")".repeat(size)}`),
  "a pattern of alternatives": (size) => string(`^(${names(size).join("|")})$`),
  "a pattern of repetitions in repetitions": (size) =>
    string(`^${"(".repeat(deep(size))}a${"+)*".repeat(deep(size))}$`),
  "a pattern of counted repetitions": (size) => string(`^(?:(?:a{1,${size}}){1,${size}}){1,${size}}$`),
  "a pattern of a long class": (size) =>
    string(
      `^[${Array.from({ length: size }, (_, i) => String.fromCodePoint(0x4e00 + ((i * 2) % 20_000))).join("")}]+$`,
    ),
  "a pattern of many classes": (size) => string(`^${"[^a-z\\d\\s]".repeat(size)}$`),
  "a pattern that is a long text": (size) => string("x".repeat(size * 5)),
  "a pattern that looks ahead": (size) => string(`^${"(?=a)".repeat(size)}`),
  "a pattern of escapes": (size) => string(`^${"\\u{1F600}\\x41\\cA\\p{L}".repeat(size)}$`),
  "lists in lists": (size) => wrapped(deep(size), (items) => ({ type: "array", items })),
  "objects in objects": (size) => wrapped(Math.floor(deep(size) / 2), (a) => object({ a }, { required: ["a"] })),
  "allOf in allOf": (size) => wrapped(Math.floor(deep(size) / 2), (inner) => ({ allOf: [inner, {}] })),
  "a long list of items": (size) => ({
    type: "array",
    prefixItems: Array.from({ length: size }, () => ({ type: "integer" })),
  }),
  "very many items": (size) => ({ type: "array", items: { type: "integer" }, minItems: size, maxItems: size * 1_000 }),
  "many items of many items": (size) =>
    wrapped(Math.min(deep(size), 20), (items) => ({ type: "array", items, minItems: size, maxItems: size })),
  "a very long string": (size) => ({ type: "string", minLength: size, maxLength: size * 1_000_000 }),
  "a narrow number": (size) => ({
    type: "number",
    minimum: -1 / size,
    maximum: 10 ** Math.min(size, 308),
    multipleOf: 1 / size,
  }),
  "a wide integer": (size) => ({
    type: "integer",
    minimum: -(10 ** Math.min(size, 300)),
    exclusiveMaximum: 10 ** Math.min(size, 300) + 0.5,
  }),
  "a long description": (size) => ({ type: "string", description: "x".repeat(size * 5), title: "y".repeat(size) }),
  "definitions that nobody needs": (size) => ({ type: "string", $defs: each(names(size), () => ({ type: "object" })) }),
  itself: () => ({ $ref: "#" }),
  "itself, or a string": () => ({ anyOf: [{ $ref: "#" }, { type: "string" }] }),
  "itself, by turns": (size) => ({
    $ref: "#/$defs/d0",
    $defs: each(names(Math.min(size, 300), "d"), (i) => ({
      anyOf: [{ $ref: `#/$defs/d${(i + 1) % Math.min(size, 300)}` }, { type: "null" }],
    })),
  }),
  "a tree of itself": () =>
    object({ left: { $ref: "#" }, right: { $ref: "#" }, kids: { type: "array", items: { $ref: "#" } } }),
  "a reference that cannot be read": () => ({ $ref: "#/%ZZ" }),
  "a reference to nothing": (size) => ({ $ref: `#/$defs/${"a/".repeat(size)}` }),
  "a reference to elsewhere": () => ({ $ref: "http://127.0.0.1:1/schema.json" }),
  "a reference into a prototype": () => ({
    $ref: "#/constructor/prototype",
    properties: JSON.parse('{"__proto__":{"type":"string"}}'),
  }),
};

const words = ["", "a", "name", "é", "😀", "\ud83d", '"', "\\", "\n", "__proto__", "constructor", "$ref", "toString"];
const patterns = [
  "^a+$",
  "(a*)*",
  "[",
  "\\d{3}-\\d{4}",
  "^(?:x|y){2,}$",
  "\\p{Letter}+",
  "(?<n>a)\\k<n>",
  "^.{0,9}$",
  "[^\\]]",
  "$^",
];
const types = ["string", "number", "integer", "boolean", "null", "array", "object", "nothing"];
const formats = ["date-time", "date", "time", "email", "uuid", "ipv4", "uri", "regex", "nobody-knows"];

/** A tree of keywords, most of them with values that they can have. */
export function randomSchema(random: Random, depth = 4): Schema {
  const pick = <Item>(items: readonly Item[]): Item => items[random(items.length)] as Item;
  const inner = (): Schema => (depth <= 0 ? { type: pick(types) } : randomSchema(random, depth - 1));
  const some = <Item>(make: () => Item, most = 4): Item[] => Array.from({ length: random(most + 1) }, make);
  const value = (): unknown =>
    pick<unknown>([0, -1, 1.5, 1e308, "", "a", true, null, [], {}, [1, "a"], { a: 1 }, pick(words)]);
  const count = (): unknown => pick<unknown>([0, 1, 2, 7, 100, 1e6, -1, 1.5, "3", 2 ** 53]);
  const properties = () => Object.fromEntries(some(() => [pick(words), inner()]));
  const keywords: Readonly<Record<string, () => unknown>> = {
    type: () => (random(5) === 0 ? some(() => pick(types)) : pick(types)),
    enum: () => some(value),
    const: value,
    properties,
    required: () => some(() => pick(words)),
    additionalProperties: () => pick<unknown>([false, true, inner()]),
    patternProperties: () => ({ [pick(patterns)]: inner() }),
    propertyNames: inner,
    minProperties: count,
    maxProperties: count,
    items: inner,
    prefixItems: () => some(inner),
    contains: inner,
    uniqueItems: () => true,
    minItems: count,
    maxItems: count,
    minLength: count,
    maxLength: count,
    pattern: () => pick(patterns),
    format: () => pick(formats),
    minimum: count,
    maximum: count,
    exclusiveMinimum: count,
    multipleOf: count,
    allOf: () => some(inner, 3),
    anyOf: () => some(inner, 3),
    oneOf: () => some(inner, 3),
    not: inner,
    if: inner,
    else: inner,
    $ref: () => pick(["#", "#/$defs/a", "#/$defs/b", "#/properties/a", "#/%ZZ", "#a", "/", ""]),
    $defs: () => ({ a: inner(), b: inner() }),
    description: () => pick(words),
    default: value,
    unevaluatedProperties: () => false,
    nobodyKnows: value,
  };
  if (random(20) === 0) return random(2) === 0;
  const usual = random(3) > 0 ? [pick(["type", "anyOf", "allOf", "enum", "properties"])] : [];
  const chosen = new Set([...usual, ...some(() => pick(Object.keys(keywords)))]);
  return Object.fromEntries(
    [...chosen].map((keyword) => [keyword, random(40) === 0 ? value() : keywords[keyword]?.()]),
  );
}

/** A size from 1 to about `most`, each order of magnitude as likely as the next. */
export function randomSize(random: Random, most: number): number {
  return Math.ceil(most ** (random(1_000_000) / 1_000_000));
}
