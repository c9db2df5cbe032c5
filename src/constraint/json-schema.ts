/**
 * @module JSON Schema as a grammar of JSON text. Every text of the grammar is valid; what cannot be guaranteed is refused by name. Not every valid
 * text is in the grammar: it is written on one line, properties in the schema's order, and without those that the schema does not name.
 */
import { GatewayError } from "../types/error.ts";
import { alternatives, type Grammar, literal, repeat } from "./gbnf.ts";
import { type Bounds, integersWithin, numbersWithin } from "./json-number.ts";
import { anyString, formatImplies, knownFormats, stringOfFormat, stringOfLength, stringOfPattern } from "./json-string.ts";
import { mostRepetitions, UnsupportedPattern } from "./pattern.ts";
import { areDisjoint } from "./schema-disjoint.ts";
import { assertions, typeKeywords, unsupportedKeyword } from "./schema-keywords.ts";
import { asList, asObject, mergeSchemas, own, type Schema, UnmergeableSchemas } from "./schema-merge.ts";

const deepest = 64;
const mostRules = 5_000;
/** Entries of an object that names no properties; a small model may not find an end otherwise. */
const mostEntries = 64;

/**
 * Adds the rules of JSON text that is valid against the schema; returns the name of the first. `path` is where the schema stands in the request.
 * Throws "invalid_request" naming the place of what cannot be kept to.
 */
export function addJsonSchema(grammar: Grammar, schema: unknown, path: string): string {
  return new SchemaRules(grammar, schema, path).value(schema, { path, hint: "json", depth: 0 });
}

/** Adds the rules of any JSON object. */
export function addJsonObject(grammar: Grammar): string {
  anyValue(grammar);
  return "object";
}

function anyValue(grammar: Grammar): string {
  return grammar.shared("value", () => {
    const string = anyString(grammar);
    const number = grammar.shared("number", () => numbersWithin({}) ?? "");
    const pair = grammar.shared("pair", () => `${string} ${literal(": ")} value`);
    const list = (item: string): string => `( ${item} ( ${literal(", ")} ${item} )* )?`;
    const object = grammar.shared("object", () => `"{" ${list(pair)} "}"`);
    const array = grammar.shared("array", () => `"[" ${list("value")} "]"`);
    return alternatives([object, array, string, number, ...["true", "false", "null"].map(literal)]);
  });
}

/** Where in the request a schema stands, and how deep in another. */
interface Place {
  readonly path: string;
  readonly hint: string;
  readonly depth: number;
}

const typeNames = ["object", "array", "string", "number", "integer", "boolean", "null"] as const;
type TypeName = (typeof typeNames)[number];

class SchemaRules {
  readonly #grammar: Grammar;
  readonly #root: unknown;
  readonly #rootPath: string;
  /** Rules of what has been referred to. */
  readonly #references = new Map<string, string>();

  constructor(grammar: Grammar, root: unknown, path: string) {
    this.#grammar = grammar;
    this.#root = root;
    this.#rootPath = path;
  }

  /** The name of the rule of values valid against the schema. */
  value(schema: unknown, place: Place): string {
    if (schema === true) return anyValue(this.#grammar);
    if (schema === false) throw refusal(place, "no value can be valid against false");
    if (typeof schema !== "object" || schema === null || Array.isArray(schema))
      throw refusal(place, "a schema must be an object or a boolean");
    if (place.depth > deepest) throw refusal(place, `schemas may stand ${deepest} deep in each other at most`);
    if (this.#grammar.size > mostRules) throw refusal(place, "the schema is too large");
    const own = schema as Schema;
    const keyword = unsupportedKeyword(own);
    if (keyword !== undefined) throw refusal(place, `'${keyword}' is not supported here; leave it out`);
    if (assertions(own).length === 0) return anyValue(this.#grammar);
    if (assertions(own).length === 1 && typeof own["$ref"] === "string") return this.#reference(own["$ref"], place);
    return this.#grammar.add(place.hint, this.#body(own, place));
  }

  #body(schema: Schema, place: Place): string {
    for (const keyword of ["$ref", "allOf", "anyOf", "oneOf"] as const) {
      const { [keyword]: combined, ...siblings } = schema;
      if (combined !== undefined) return this.#combination(keyword, combined, siblings, place);
    }
    if (own(schema, "const") !== undefined || own(schema, "enum") !== undefined || Object.hasOwn(schema, "const"))
      return this.#values(schema, place);
    const bodies = typesOf(schema, place).map((type) => this.#ofType(type, schema, place));
    if (schema["nullable"] === true) bodies.push(literal("null"));
    if (bodies.length === 0) throw refusal(place, "no value can be of all the types that it must have at once");
    return alternatives([...new Set(bodies)]);
  }

  #combination(keyword: "$ref" | "allOf" | "anyOf" | "oneOf", combined: unknown, siblings: Schema, place: Place): string {
    const deeper = { ...place, depth: place.depth + 1 };
    if (keyword === "$ref") return this.value(this.#merged([siblings, this.#resolve(combined, place)], place), deeper);
    if (!Array.isArray(combined) || combined.length === 0) throw refusal(inside(place, keyword), "must be a list of schemas");
    const isAlone = assertions(siblings).length === 0;
    if (keyword === "allOf") {
      if (isAlone && combined.length === 1) return this.value(combined[0], { ...inside(place, keyword, 0), hint: place.hint });
      return this.value(this.#merged([siblings, ...combined.map((part) => this.#open(part, place))], place), deeper);
    }
    const branches = combined.map((branch) => this.#merged([siblings, this.#open(branch, place)], place));
    if (keyword === "oneOf" && !areDisjoint(branches))
      throw refusal(
        inside(place, keyword),
        "its alternatives may hold at once; use anyOf, or tell them apart by a property with a constant",
      );
    // As they stand where possible: a reference remains one, so that schemas can hold themselves.
    const possible = (isAlone ? combined : branches).filter((branch) => branch !== false);
    if (possible.length === 0) throw refusal(inside(place, keyword), "no value is possible");
    const rules = possible.map((branch, i) => this.value(branch, { ...inside(place, keyword, i), hint: place.hint }));
    return alternatives([...new Set(rules)]);
  }

  /** A schema with its reference resolved, so that it can be merged. */
  #open(schema: unknown, place: Place): unknown {
    if (typeof schema !== "object" || schema === null || typeof own(schema as Schema, "$ref") !== "string") return schema;
    const { $ref: reference, ...siblings } = schema as Schema;
    return this.#merged([siblings, this.#resolve(reference, place)], place);
  }

  #merged(schemas: readonly unknown[], place: Place): Schema | boolean {
    const objects: Schema[] = [];
    for (const schema of schemas) {
      if (schema === false) return false;
      if (schema === true) continue;
      if (typeof schema !== "object" || schema === null || Array.isArray(schema))
        throw refusal(place, "a schema must be an object or a boolean");
      const keyword = unsupportedKeyword(schema as Schema);
      if (keyword !== undefined) throw refusal(place, `'${keyword}' is not supported here; leave it out`);
      if (assertions(schema as Schema).length > 0) objects.push(schema as Schema);
    }
    try {
      return objects.length === 0 ? true : objects.reduce(mergeSchemas);
    } catch (error) {
      if (error instanceof UnmergeableSchemas) throw refusal(place, `${error.message}; put them into one`);
      throw error;
    }
  }

  /** References are rules of their own, so that schemas can hold themselves. */
  #reference(reference: string, place: Place): string {
    const known = this.#references.get(reference);
    if (known === "") throw refusal(place, `${reference} refers to nothing but itself`);
    if (known !== undefined) return known;
    const target = this.#resolve(reference, place);
    const deeper = { ...place, depth: place.depth + 1 };
    if (typeof target === "object" && target !== null && typeof own(target as Schema, "$ref") === "string") {
      this.#references.set(reference, "");
      const rule = this.value(target, deeper);
      this.#references.set(reference, rule);
      return rule;
    }
    const name = this.#grammar.reserve(reference.split("/").at(-1) || "root-schema");
    this.#references.set(reference, name);
    this.#grammar.define(name, this.value(target, { ...deeper, hint: `${name}-value` }));
    return name;
  }

  /** What a local JSON pointer refers to. */
  #resolve(reference: unknown, place: Place): unknown {
    if (typeof reference !== "string" || !/^#(?:\/|$)/u.test(reference))
      throw refusal(inside(place, "$ref"), "only references within the schema (#/$defs/…) can be followed");
    let target = this.#root;
    for (const part of reference.split("/").slice(1)) {
      const key = decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~");
      if (typeof target !== "object" || target === null || !Object.hasOwn(target, key))
        throw refusal(inside(place, "$ref"), `${reference} does not exist in ${this.#rootPath}`);
      target = (target as Schema)[key];
    }
    return target;
  }

  /** Constants that are of the schema's types, and keep to what else it says. */
  #values(schema: Schema, place: Place): string {
    const { const: constant, enum: listed, type, nullable, ...others } = schema;
    const rest = assertions(others);
    if (rest.length > 0) throw refusal(place, `'${rest[0]}' beside constants is not supported; leave out the constants that it forbids`);
    if (listed !== undefined && !Array.isArray(listed)) throw refusal(inside(place, "enum"), "must be a list of values");
    const values = Object.hasOwn(schema, "const") ? [constant] : ((listed as unknown[] | undefined) ?? []);
    const common = listed === undefined ? values : values.filter((value) => listed.some((other) => sameJson(other, value)));
    const types = type === undefined ? undefined : typesOf({ type }, place);
    const possible = common.filter(
      (value) => types === undefined || types.some((one) => isOfType(value, one)) || (nullable === true && value === null),
    );
    if (possible.length === 0) throw refusal(place, "no value is possible");
    return alternatives([...new Set(possible.map((value) => literal(writeJson(value))))]);
  }

  #ofType(type: TypeName, schema: Schema, place: Place): string {
    switch (type) {
      case "object":
        return this.#object(schema, place);
      case "array":
        return this.#array(schema, place);
      case "string":
        return this.#string(schema, place);
      case "number":
      case "integer":
        return this.#number(type, schema, place);
      case "boolean":
        return alternatives([literal("true"), literal("false")]);
      case "null":
        return literal("null");
    }
  }

  #object(schema: Schema, place: Place): string {
    const properties = asObject(own(schema, "properties"));
    const required = asList(own(schema, "required")).map(String);
    const additional = own(schema, "additionalProperties");
    const unnamed = required.filter((name) => !Object.hasOwn(properties, name));
    if (unnamed.length > 0 && additional === false)
      throw refusal(inside(place, "required"), `'${unnamed[0]}' is required, but not allowed`);
    const named: [string, unknown][] = [
      ...Object.entries(properties),
      ...unnamed.map((name): [string, unknown] => [name, additional ?? true]),
    ];
    // A property that cannot have a value is left out.
    const possible = named.filter(([name, property]) => property !== false || required.includes(name));
    if (possible.length === 0 && additional !== undefined && additional !== false) return this.#entries(additional, place);
    const pairs = possible.map(([name, property]) => {
      const value = this.value(property, { ...inside(place, "properties", name), hint: `${place.hint}-${name}` });
      return { text: `${literal(`${JSON.stringify(name)}: `)} ${value}`, required: required.includes(name) };
    });
    return `"{" ${this.#list(pairs, place)} "}"`;
  }

  /** Any number of entries with values of one schema. */
  #entries(schema: unknown, place: Place): string {
    const value = this.value(schema, { ...inside(place, "additionalProperties"), hint: `${place.hint}-value` });
    const entry = this.#grammar.add(`${place.hint}-entry`, `${anyString(this.#grammar)} ${literal(": ")} ${value}`);
    const next = this.#grammar.add(`${place.hint}-next`, `${literal(", ")} ${entry}`);
    return `"{" ( ${entry} ${repeat(next, 0, mostEntries - 1)} )? "}"`;
  }

  /** The pairs in order, optional ones or not, with commas between those that are there. From the last to the first, a rule or two for each. */
  #list(pairs: readonly { readonly text: string; readonly required: boolean }[], place: Place): string {
    let [first, later] = ['""', '""'];
    for (const [i, { text, required }] of [...pairs.entries()].toReversed()) {
      const isLast = i === pairs.length - 1;
      const afterThis = isLast ? "" : this.#grammar.add(`${place.hint}-rest`, later);
      const started = `${text} ${afterThis}`.trim();
      const withComma = `${literal(", ")} ${started}`;
      const unstarted = isLast ? '""' : required ? "" : this.#grammar.add(`${place.hint}-first`, first);
      [first, later] = required ? [started, withComma] : [`( ${started} | ${unstarted} )`, `( ${withComma} | ${afterThis || '""'} )`];
    }
    return first;
  }

  #array(schema: Schema, place: Place): string {
    const prefix = asList(own(schema, "prefixItems"));
    const least = countOf(schema, "minItems", place) ?? 0;
    const most = Math.min(
      countOf(schema, "maxItems", place) ?? Number.POSITIVE_INFINITY,
      own(schema, "items") === false ? prefix.length : Number.POSITIVE_INFINITY,
    );
    if (least > most || least > mostRepetitions) throw refusal(inside(place, "minItems"), `no array of so many items can be written`);
    const given = prefix
      .slice(0, most)
      .map((item, i) => this.value(item, { ...inside(place, "prefixItems", i), hint: `${place.hint}-item` }));
    const more = this.#moreItems(schema, least - given.length, most - given.length, given.length > 0, place);
    const items = [given.join(` ${literal(", ")} `), more].filter((part) => part !== "");
    return ['"["', ...items, '"]"'].join(" ");
  }

  /** Items after those of the prefix. */
  #moreItems(schema: Schema, least: number, most: number, hasPrefix: boolean, place: Place): string {
    if (most <= 0) return "";
    const item = this.value(own(schema, "items") ?? true, { ...inside(place, "items"), hint: `${place.hint}-item` });
    const next = this.#grammar.add(`${place.hint}-next`, `${literal(", ")} ${item}`);
    const bound = Number.isFinite(most) ? Math.min(most, mostRepetitions) : undefined;
    if (hasPrefix) return repeat(next, Math.max(0, least), bound);
    const list = `${item} ${repeat(next, Math.max(0, least - 1), bound === undefined ? undefined : bound - 1)}`.trim();
    return least > 0 ? list : `( ${list} )?`;
  }

  #string(schema: Schema, place: Place): string {
    const [least, most] = [countOf(schema, "minLength", place), countOf(schema, "maxLength", place)];
    const [pattern, format] = [own(schema, "pattern"), own(schema, "format")];
    const bounded = least !== undefined || most !== undefined;
    if (pattern !== undefined && format === undefined) {
      if (bounded)
        throw refusal(inside(place, "pattern"), "a pattern and a length cannot be kept to at once; write the length into the pattern");
      return this.#pattern(String(pattern), inside(place, "pattern"));
    }
    if (format !== undefined) return this.#format(String(format), pattern, bounded, place);
    const body = stringOfLength(this.#grammar, least ?? 0, most);
    if (body === null)
      throw refusal(
        inside(place, "minLength"),
        `no text of that length can be written (at most ${mostRepetitions} characters are counted)`,
      );
    return body;
  }

  #format(format: string, pattern: unknown, bounded: boolean, place: Place): string {
    const at = inside(place, "format");
    if (!knownFormats.includes(format)) throw refusal(at, `the format '${format}' is not known; known are ${knownFormats.join(", ")}`);
    if (bounded) throw refusal(at, "a format and a length cannot be kept to at once; leave out the length");
    if (pattern !== undefined && !formatImplies(format, String(pattern)))
      throw refusal(inside(place, "pattern"), "a format and a pattern cannot be kept to at once; leave out one of them");
    return stringOfFormat(this.#grammar, format);
  }

  #pattern(pattern: string, place: Place): string {
    try {
      return stringOfPattern(this.#grammar, pattern);
    } catch (error) {
      if (error instanceof UnsupportedPattern) throw refusal(place, `this pattern is not supported: ${error.message}`);
      throw error;
    }
  }

  #number(type: "number" | "integer", schema: Schema, place: Place): string {
    const decimals = decimalsOf(schema, type, place);
    const bounds = boundsOf(schema, type, decimals, place);
    const body = decimals === 0 ? integersWithin(bounds) : numbersWithin(bounds, decimals);
    if (body === null) throw refusal(place, "no number can be written within its bounds");
    return body;
  }
}

/** The types that values may have; where none is said, those whose keywords the schema uses. */
function typesOf(schema: Schema, place: Place): TypeName[] {
  const said = own(schema, "type");
  if (said !== undefined) {
    const unknown = asList(said).find((type) => !typeNames.some((name) => name === type));
    if (unknown !== undefined) throw refusal(inside(place, "type"), `${JSON.stringify(unknown)} is no type`);
    const types = asList(said) as TypeName[];
    return types.includes("number") ? types.filter((type) => type !== "integer") : types;
  }
  const used = assertions(schema);
  return (Object.keys(typeKeywords) as (keyof typeof typeKeywords)[]).filter((type) =>
    typeKeywords[type].some((keyword) => used.includes(keyword)),
  );
}

function isOfType(value: unknown, type: TypeName): boolean {
  switch (type) {
    case "object":
      return typeof value === "object" && value !== null && !Array.isArray(value);
    case "array":
      return Array.isArray(value);
    case "integer":
      return Number.isInteger(value);
    case "null":
      return value === null;
    case "string":
      return typeof value === "string";
    case "number":
      return typeof value === "number";
    case "boolean":
      return typeof value === "boolean";
  }
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
  const isNarrow = decimals > 0 && Math.ceil(bounds.minimum ?? 0) > Math.floor(bounds.maximum ?? Number.POSITIVE_INFINITY);
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

function countOf(schema: Schema, keyword: string, place: Place): number | undefined {
  const value = own(schema, keyword);
  if (value === undefined) return undefined;
  if (!Number.isInteger(value) || (value as number) < 0) throw refusal(inside(place, keyword), "must be a whole number, 0 or more");
  return value as number;
}

/** JSON as the grammar writes it. */
function writeJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(writeJson).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([key, field]) => `${JSON.stringify(key)}: ${writeJson(field)}`)
    .join(", ")}}`;
}

/** Equal as JSON values: the order of properties does not matter. */
function sameJson(a: unknown, b: unknown): boolean {
  return sorted(a) === sorted(b);
}

function sorted(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

function inside(place: Place, ...keys: readonly (string | number)[]): Place {
  return { ...place, path: [place.path, ...keys].join("."), depth: place.depth + 1 };
}

function refusal({ path }: Place, reason: string): GatewayError {
  return new GatewayError("invalid_request", `Invalid '${path}': ${reason}.`, { param: path });
}
