/**
 * @module JSON Schema as a grammar of JSON text. Every text of the grammar is valid; what cannot be guaranteed is
 * refused by name. Not every valid text is in the grammar: it is written on one line, properties in the schema's order,
 * and without those that the schema does not name.
 */
import { alternatives, type Grammar, literal, oneText } from "./gbnf.ts";
import { numbersWithin } from "./json-number.ts";
import { anyString } from "./json-string.ts";
import { canonicalJson, measure, writeJson } from "./json-text.ts";
import { clipped, inside, outermost, type Place, refusal } from "./place.ts";
import { arrayBody, objectBody } from "./schema-containers.ts";
import { areDisjoint } from "./schema-disjoint.ts";
import { assertions, unsupportedKeyword } from "./schema-keywords.ts";
import { mergeSchemas, own, type Schema, UnmergeableSchemas } from "./schema-merge.ts";
import { numberRule } from "./schema-number.ts";
import { stringBody } from "./schema-string.ts";
import { isOfType, type TypeName, typesOf } from "./schema-types.ts";

const deepest = 64;
/** Of a schema, whatever it says. */
const schemaWork = 80;

/**
 * Adds the rules of JSON text that is valid against the schema; returns the name of the first. `path` is where the
 * schema stands in the request. Throws "invalid_request" naming the place of what cannot be kept to.
 */
export function addJsonSchema(grammar: Grammar, schema: unknown, path: string): string {
  const place = outermost(path);
  grammar.budget.at = place;
  measure(schema, grammar.budget, place);
  return new SchemaRules(grammar, schema, path).value(schema, place, "json");
}

/** Adds the rules of any JSON object. */
export function addJsonObject(grammar: Grammar): string {
  const string = anyString(grammar);
  return grammar.shared("object", () => {
    const pair = grammar.shared("pair", () => `${string} ${literal(": ")} ${anyValue(grammar)}`);
    return `"{" ${listOf(pair)} "}"`;
  });
}

function anyValue(grammar: Grammar): string {
  return grammar.shared("value", (value) => {
    const number = grammar.shared("number", () => numbersWithin({}) ?? "");
    const array = grammar.shared("array", () => `"[" ${listOf(value)} "]"`);
    return alternatives([
      addJsonObject(grammar),
      array,
      anyString(grammar),
      number,
      ...["true", "false", "null"].map(literal),
    ]);
  });
}

function listOf(item: string): string {
  return `( ${item} ( ${literal(", ")} ${item} )* )?`;
}

/** Adds the rules of one schema. `hint` is what a rule is called, where that is free. */
class SchemaRules {
  readonly #grammar: Grammar;
  readonly #root: unknown;
  readonly #rootPath: string;
  /** What has been referred to, and the rules of that. */
  readonly #targets = new Map<string, unknown>();
  readonly #references = new Map<string, string>();

  constructor(grammar: Grammar, root: unknown, path: string) {
    this.#grammar = grammar;
    this.#root = root;
    this.#rootPath = path;
  }

  /** The name of the rule of values valid against the schema. */
  value(schema: unknown, place: Place, hint: string): string {
    const { budget } = this.#grammar;
    budget.at = place;
    budget.spend(schemaWork);
    if (schema === true) return anyValue(this.#grammar);
    if (schema === false) throw refusal(place, "no value can be valid against false");
    if (place.depth > deepest) throw refusal(place, `schemas may stand ${deepest} deep in each other at most`);
    const checked = this.#checked(schema, place);
    const said = assertions(checked);
    if (said.length === 0) return anyValue(this.#grammar);
    if (said.length === 1 && typeof checked["$ref"] === "string") return this.#reference(checked["$ref"], place);
    return this.#grammar.add(hint, this.#body(checked, place, hint));
  }

  /** A schema that says nothing that a grammar cannot keep to, as far as its own keywords go. */
  #checked(schema: unknown, place: Place): Schema {
    if (typeof schema !== "object" || schema === null || Array.isArray(schema))
      throw refusal(place, "a schema must be an object or a boolean");
    const own = schema as Schema;
    this.#grammar.budget.spend(2 * Object.keys(own).length);
    const keyword = unsupportedKeyword(own);
    if (keyword !== undefined) throw refusal(place, `'${keyword}' is not supported here; leave it out`);
    return own;
  }

  #body(schema: Schema, place: Place, hint: string): string {
    for (const keyword of ["$ref", "allOf", "anyOf", "oneOf"] as const)
      if (own(schema, keyword) !== undefined) return this.#combination(keyword, schema, place, hint);
    if (own(schema, "enum") !== undefined || Object.hasOwn(schema, "const")) return this.#values(schema, place);
    const bodies = typesOf(schema, place).map((type) => this.#ofType(type, schema, place, hint));
    if (schema["nullable"] === true) bodies.push(literal("null"));
    if (bodies.length === 0) throw refusal(place, "no value can be of all the types that it must have at once");
    return alternatives([...new Set(bodies)]);
  }

  #combination(keyword: "$ref" | "allOf" | "anyOf" | "oneOf", schema: Schema, place: Place, hint: string): string {
    const { [keyword]: combined, ...siblings } = schema;
    const deeper = { ...place, depth: place.depth + 1 };
    if (keyword === "$ref")
      return this.value(this.#merged([siblings, this.#resolve(combined, place)], place), deeper, hint);
    if (!Array.isArray(combined) || combined.length === 0)
      throw refusal(inside(place, keyword), "must be a list of schemas");
    const isAlone = assertions(siblings).length === 0;
    if (keyword === "allOf") {
      if (isAlone && combined.length === 1) return this.value(combined[0], inside(place, keyword, 0), hint);
      return this.value(
        this.#merged([siblings, ...combined.map((part) => this.#open(part, place))], place),
        deeper,
        hint,
      );
    }
    const needsMerging = keyword === "oneOf" || !isAlone;
    const branches = needsMerging
      ? combined.map((branch) => this.#merged([siblings, this.#open(branch, place)], place))
      : combined;
    if (keyword === "oneOf" && !areDisjoint(branches as (Schema | boolean)[], this.#grammar.budget))
      throw refusal(
        inside(place, keyword),
        "its alternatives may hold at once; use anyOf, or tell them apart by a property with a constant",
      );
    // As they stand where possible: a reference remains one, so that schemas can hold themselves.
    const rules = new Set<string>();
    for (const [i, branch] of (isAlone ? combined : branches).entries())
      if (branch !== false) rules.add(this.value(branch, inside(place, keyword, i), hint));
    if (rules.size === 0) throw refusal(inside(place, keyword), "no value is possible");
    return alternatives([...rules]);
  }

  /** A schema with its reference resolved, so that it can be merged. */
  #open(schema: unknown, place: Place): unknown {
    if (typeof schema !== "object" || schema === null || typeof own(schema as Schema, "$ref") !== "string")
      return schema;
    const { $ref: reference, ...siblings } = schema as Schema;
    return this.#merged([siblings, this.#resolve(reference, place)], place);
  }

  #merged(schemas: readonly unknown[], place: Place): Schema | boolean {
    const objects: Schema[] = [];
    for (const schema of schemas) {
      if (schema === false) return false;
      if (schema === true) continue;
      const checked = this.#checked(schema, place);
      if (assertions(checked).length > 0) objects.push(checked);
    }
    try {
      return objects.length === 0 ? true : mergeSchemas(objects, this.#grammar.budget);
    } catch (error) {
      if (error instanceof UnmergeableSchemas) throw refusal(place, `${error.message}; put them into one`);
      throw error;
    }
  }

  /** References are rules of their own, so that schemas can hold themselves. */
  #reference(reference: string, place: Place): string {
    const known = this.#references.get(reference);
    if (known === "") throw refusal(place, `${clipped(reference)} refers to nothing but itself`);
    if (known !== undefined) return known;
    const target = this.#resolve(reference, place);
    const deeper = { ...place, depth: place.depth + 1 };
    if (typeof target === "object" && target !== null && typeof own(target as Schema, "$ref") === "string") {
      this.#references.set(reference, "");
      const rule = this.value(target, deeper, "json");
      this.#references.set(reference, rule);
      return rule;
    }
    const name = this.#grammar.reserve(reference.split("/").at(-1) || "root-schema");
    this.#references.set(reference, name);
    this.#grammar.define(name, this.value(target, deeper, `${name}-value`));
    return name;
  }

  /** What a local JSON pointer refers to. */
  #resolve(reference: unknown, place: Place): unknown {
    if (typeof reference !== "string" || !/^#(?:\/|$)/u.test(reference))
      throw refusal(inside(place, "$ref"), "only references within the schema (#/$defs/…) can be followed");
    if (this.#targets.has(reference)) return this.#targets.get(reference);
    this.#grammar.budget.spend(4 * reference.length);
    let target = this.#root;
    for (const part of reference.split("/").slice(1)) {
      const key = keyOf(part);
      if (key === null)
        throw refusal(inside(place, "$ref"), `${clipped(reference)} is no JSON pointer: '%' begins no character in it`);
      if (typeof target !== "object" || target === null || !Object.hasOwn(target, key))
        throw refusal(inside(place, "$ref"), `${clipped(reference)} does not exist in ${this.#rootPath}`);
      target = (target as Schema)[key];
    }
    this.#targets.set(reference, target);
    return target;
  }

  /** Constants that are of the schema's types, and keep to what else it says. */
  #values(schema: Schema, place: Place): string {
    const { const: constant, enum: listed, type, nullable, ...others } = schema;
    const rest = assertions(others);
    if (rest.length > 0)
      throw refusal(place, `'${rest[0]}' beside constants is not supported; leave out the constants that it forbids`);
    if (listed !== undefined && !Array.isArray(listed))
      throw refusal(inside(place, "enum"), "must be a list of values");
    const { budget } = this.#grammar;
    const types = type === undefined ? undefined : typesOf({ type }, place);
    const isAllowed = (value: unknown): boolean =>
      types === undefined || types.some((one) => isOfType(value, one)) || (nullable === true && value === null);
    let values = (listed ?? []) as readonly unknown[];
    if (Object.hasOwn(schema, "const")) {
      const wanted = canonicalJson(constant, budget);
      values =
        listed === undefined || values.some((value) => canonicalJson(value, budget) === wanted) ? [constant] : [];
    }
    const texts = new Set(values.filter(isAllowed).map((value) => writeJson(value, budget)));
    if (texts.size === 0) throw refusal(place, "no value is possible");
    return oneText([...texts]);
  }

  #ofType(type: TypeName, schema: Schema, place: Place, hint: string): string {
    const grammar = this.#grammar;
    const container = { grammar, place, hint, value: this.value.bind(this) };
    switch (type) {
      case "object":
        return objectBody(schema, container);
      case "array":
        return arrayBody(schema, container);
      case "string":
        return stringBody(grammar, schema, place);
      case "number":
      case "integer":
        return numberRule(grammar, type, schema, place);
      case "boolean":
        return alternatives([literal("true"), literal("false")]);
      case "null":
        return literal("null");
    }
  }
}

/** A part of a JSON pointer in a URI; null where it is none. */
function keyOf(part: string): string | null {
  try {
    return decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~");
  } catch {
    return null;
  }
}
