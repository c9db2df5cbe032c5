/**
 * @module JSON Schema as a grammar of JSON text. Every text of the grammar of a strict schema is valid; what cannot be
 * guaranteed is refused by name. Of another, what cannot be guaranteed is left out, and its place is told. Not every
 * valid text is in the grammar: it is written on one line, properties in the schema's order, and without those that the
 * schema does not name.
 */
import { addJsonObject, anyValue } from "./any-json.ts";
import { alternatives, type Grammar, literal } from "./gbnf.ts";
import { measure } from "./json-text.ts";
import {
  clipped,
  impossible,
  inside,
  type Lose,
  malformed,
  outermost,
  type Place,
  pathOf,
  SchemaRefusal,
  unkeepable,
  unlessImpossible,
} from "./place.ts";
import { arrayBody } from "./schema-arrays.ts";
import { SchemaCheck } from "./schema-check.ts";
import { Combinations } from "./schema-combinations.ts";
import { constantTexts, listedTexts } from "./schema-constants.ts";
import { Dialect } from "./schema-dialect.ts";
import { assertions, combinations, typeKeywords, unsupportedKeywords } from "./schema-keywords.ts";
import { asList, asObject, own, type Schema } from "./schema-merge.ts";
import { numberRule } from "./schema-number.ts";
import { objectBody } from "./schema-objects.ts";
import { SchemaReferences } from "./schema-references.ts";
import { stringBody } from "./schema-string.ts";
import { allTypes, distinctTypes, isTypeName, otherTypes, type TypeName } from "./schema-types.ts";

const deepest = 64;
/** Of a schema, whatever it says. */
const schemaWork = 80;
/** Of a schema that is given up, or refused. */
const relaxWork = 2_000;

/** A schema, and where it stands in the request. */
export interface PlacedSchema {
  readonly schema: unknown;
  readonly path: string;
  /** It is kept to, or refused by its place. */
  readonly strict?: boolean | undefined;
}

/**
 * Adds the rules of JSON text that is valid against the schema; returns the name of the first. Throws "invalid_request"
 * naming the place of what is no schema, and of what a grammar cannot keep to, where it is strict. Where it is not,
 * `grammar.relaxedFrom` tells the places. Of those in `tooMuch`, nothing is kept to.
 */
export function addJsonSchema(
  grammar: Grammar,
  placed: PlacedSchema,
  tooMuch: ReadonlySet<string> = new Set(),
): string {
  return new SchemaRules(grammar, placed, tooMuch).whole();
}

/** As `addJsonSchema`, for the arguments of a tool, which are an object. */
export function addArguments(grammar: Grammar, placed: PlacedSchema, tooMuch: ReadonlySet<string> = new Set()): string {
  return new SchemaRules(grammar, placed, tooMuch).object();
}

/** Adds the rules of one schema. `hint` is what a rule is called, where that is free. */
class SchemaRules {
  readonly #grammar: Grammar;
  readonly #root: unknown;
  readonly #place: Place;
  readonly #isStrict: boolean;
  readonly #tooMuch: ReadonlySet<string>;
  readonly #dialect = new Dialect();
  readonly #targets: SchemaReferences;
  readonly #check: SchemaCheck;
  readonly #combinations: Combinations;
  /** What has been referred to; whether something in it is not kept to. */
  readonly #references = new Map<string, { readonly rule: string; isRelaxed: boolean }>();
  /** Of the schema that is being read: what is not kept to. */
  readonly #lost: Place[] = [];
  /** So many rules do not keep to their schemas. */
  #relaxed = 0;

  constructor(grammar: Grammar, { schema, path, strict }: PlacedSchema, tooMuch: ReadonlySet<string>) {
    this.#grammar = grammar;
    this.#root = schema;
    this.#place = outermost(path);
    this.#isStrict = strict === true;
    this.#tooMuch = tooMuch;
    this.#targets = new SchemaReferences(schema, path, grammar.budget);
    this.#check = new SchemaCheck(schema, path, grammar.budget);
    this.#combinations = new Combinations({
      budget: grammar.budget,
      dialect: this.#dialect,
      targets: this.#targets,
      keepable: (read, place) => this.#keepable(read, place),
      lose: (place) => this.#loserAt(place),
    });
  }

  whole(): string {
    return this.#orElse(anyValue, () => {
      measure(this.#root, this.#grammar.budget, this.#place);
      return this.#rule(this.#root, this.#place, "json");
    });
  }

  object(): string {
    return this.#orElse(addJsonObject, () => {
      measure(this.#root, this.#grammar.budget, this.#place);
      const read = this.#dialect.read(this.#root, this.#place);
      if (takesNothing(read)) return this.#grammar.add("json", literal("{}"));
      if (typeof read === "object" && own(read, "type") === "object") return this.#rule(read, this.#place, "json");
      return this.#rule({ allOf: [{ type: "object" }, read] }, this.#place, "json");
    });
  }

  /** What `make` makes; where the schema is not strict and it cannot be kept to at all, what is put in its place. */
  #orElse(replacement: (grammar: Grammar) => string, make: () => string): string {
    const { budget } = this.#grammar;
    budget.at = this.#place;
    if (this.#isStrict) return make();
    try {
      return budget.onPart(make);
    } catch (error) {
      if (!(error instanceof SchemaRefusal) || error.kind === "malformed") throw error;
      return budget.freely(() => this.#replaced(replacement, this.#place, "json"));
    }
  }

  /** The name of the rule of values valid against the schema. */
  readonly value = (schema: unknown, place: Place, hint: string): string => {
    if (this.#isStrict) return this.#rule(schema, place, hint);
    const before = this.#lost.length;
    try {
      return this.#grammar.budget.onPart(() => this.#rule(schema, place, hint));
    } catch (error) {
      this.#lost.length = before;
      if (!(error instanceof SchemaRefusal) || error.kind !== "unkeepable") throw error;
      return this.#replaced(anyValue, place, hint);
    }
  };

  readonly #needed = (schema: unknown, place: Place, hint: string): string => {
    if (this.#isStrict) return this.value(schema, place, hint);
    return unlessImpossible(() => this.value(schema, place, hint)) ?? this.#replaced(anyValue, place, hint);
  };

  #replaced(replacement: (grammar: Grammar) => string, place: Place, hint: string): string {
    const { budget } = this.#grammar;
    budget.spend(relaxWork);
    return this.#relaxedRule(this.#grammar.add(hint, replacement(this.#grammar)), [place]);
  }

  #relaxedRule(rule: string, places: readonly Place[]): string {
    if (places.length > 0) this.#relaxed += 1;
    this.#grammar.relax(rule, places);
    return rule;
  }

  #rule(schema: unknown, place: Place, hint: string): string {
    const { budget } = this.#grammar;
    budget.at = place;
    budget.spend(schemaWork);
    if (place.depth > deepest) throw unkeepable(place, `schemas may stand ${deepest} deep in each other at most`);
    if (this.#tooMuch.size > 0 && this.#tooMuch.has(pathOf(place))) throw unkeepable(place, "it is too much");
    const read = this.#dialect.read(schema, place);
    if (read === true) return anyValue(this.#grammar);
    if (read === false) throw impossible(place, "no value can be valid against false");
    const before = this.#lost.length;
    const keepable = this.#keepable(read, place);
    const said = assertions(keepable);
    const known =
      said.length === 0
        ? anyValue(this.#grammar)
        : said.length === 1 && typeof keepable["$ref"] === "string"
          ? this.#reference(keepable["$ref"], place)
          : null;
    if (known !== null && this.#lost.length === before) return known;
    const body = known ?? this.#body(keepable, place, hint);
    budget.at = place;
    return this.#relaxedRule(this.#grammar.add(hint, body), this.#lost.splice(before));
  }

  /** The schema, once it is told which of its keywords a grammar does not know. */
  #keepable(read: Schema, place: Place): Schema {
    this.#grammar.budget.spend(2 * Object.keys(read).length);
    const lose = this.#loserAt(place);
    for (const keyword of unsupportedKeywords(read))
      lose(keyword, `'${keyword}' is not supported here; leave it out`, null);
    return read;
  }

  #loserAt(place: Place): Lose {
    return (keyword, reason, named = keyword) => {
      if (this.#isStrict) throw unkeepable(named === null ? place : inside(place, named), reason);
      this.#lost.push(inside(place, keyword));
    };
  }

  #body(schema: Schema, place: Place, hint: string): string {
    const lose = this.#loserAt(place);
    const texts = constantTexts(schema, { budget: this.#grammar.budget, check: this.#check, place, lose });
    if (texts !== null) return texts;
    const { not, ...others } = schema;
    if (not !== undefined) return this.#body(this.#without(not, others, place), place, hint);
    if (assertions(schema).length === 0) return anyValue(this.#grammar);
    for (const keyword of combinations)
      if (own(schema, keyword) !== undefined) return this.#combination(keyword, schema, place, hint);
    const bodies = this.#typesOf(schema, place).flatMap(
      (type) => unlessImpossible(() => this.#ofType(type, schema, place, hint)) ?? [],
    );
    if (schema["nullable"] === true) bodies.push(literal("null"));
    if (bodies.length === 0) return this.#ofNoType(schema, place, hint);
    return alternatives([...new Set(bodies)]);
  }

  /** Says why none is possible. */
  #ofNoType(schema: Schema, place: Place, hint: string): string {
    for (const type of this.#typesOf(schema, place)) this.#ofType(type, schema, place, hint);
    throw impossible(place, "no value can be of all the types that it must have at once");
  }

  /** What is left of a schema beside `not`. */
  #without(not: unknown, others: Schema, place: Place): Schema {
    const read = this.#dialect.read(not, inside(place, "not"));
    if (read === false) return others;
    const said = read === true ? [] : [...assertions(read), ...unsupportedKeywords(read)];
    if (read === true || said.length === 0) throw impossible(place, "no value is possible: its 'not' allows none");
    const only = said.length === 1 ? said[0] : undefined;
    if (only === "type" && own(others, "nullable") === undefined) {
      const but = asList(read["type"]).filter(isTypeName);
      const type = otherTypes(others["type"] === undefined ? allTypes : asList(others["type"]).filter(isTypeName), but);
      if (type !== null) return { ...others, type };
    }
    const [name, ...more] = only === "required" ? asList(read["required"]) : [];
    if (typeof name === "string" && more.length === 0 && own(others, "type") === "object")
      return { ...others, allOf: [...asList(own(others, "allOf")), { properties: { [name]: false } }] };
    this.#loserAt(place)("not", "'not' is not supported here; leave it out", null);
    return others;
  }

  /** The values that a schema, or what it refers to, lists. */
  readonly #texts = (schema: unknown, place: Place): readonly string[] | null => {
    const read = this.#dialect.read(schema, place);
    if (typeof read === "boolean") return null;
    const [said, ...more] = assertions(read);
    const reference = own(read, "$ref");
    if (said === "$ref" && more.length === 0 && typeof reference === "string") {
      const target = this.#targets.resolve(reference, place);
      // What leads on is not followed: it may lead to itself.
      return target === schema || own(asObject(target), "$ref") !== undefined ? null : this.#texts(target, place);
    }
    if (said === "type" && more.length === 0 && read["type"] === "boolean") return ["true", "false"];
    const lose = this.#loserAt(place);
    return listedTexts(read, { budget: this.#grammar.budget, check: this.#check, place, lose });
  };

  #combination(keyword: (typeof combinations)[number], schema: Schema, place: Place, hint: string): string {
    const { [keyword]: combined, ...siblings } = schema;
    const isAlone = assertions(siblings).length === 0;
    const deeper = { ...place, depth: place.depth + 1 };
    if (keyword === "$ref" || keyword === "allOf") {
      const list = keyword === "$ref" ? [] : this.#listIn(combined, keyword, place);
      if (list?.length === 1 && isAlone) return this.value(list[0], inside(place, keyword, 0), hint);
      return this.value(this.#combinations.merged([schema], place), deeper, hint);
    }
    const list = this.#listIn(combined, keyword, place);
    if (list === null) return this.value(siblings, deeper, hint);
    const { branches, areAsWritten } = this.#combinations.branches(keyword, list, siblings, place);
    // As they stand where possible: a reference remains one, so that schemas can hold themselves.
    return this.#anyOf(areAsWritten ? list : branches, keyword, place, hint);
  }

  /** Null: an empty list, which is let pass where the schema is not strict. */
  #listIn(combined: unknown, keyword: string, place: Place): readonly unknown[] | null {
    if (!Array.isArray(combined)) throw malformed(inside(place, keyword), "must be a list of schemas");
    if (combined.length > 0) return combined;
    this.#loserAt(place)(keyword, "must be a list of schemas, one or more");
    return null;
  }

  /** An alternative that is impossible goes; so does one that cannot be kept to, where others can stand for it. */
  #anyOf(list: readonly unknown[], keyword: "anyOf" | "oneOf", place: Place, hint: string): string {
    const kept: { readonly rule: string; readonly types: readonly TypeName[]; readonly isRelaxed: boolean }[] = [];
    let refused: SchemaRefusal | undefined;
    for (const [i, branch] of list.entries()) {
      const before = this.#relaxed;
      try {
        const rule = this.value(branch, inside(place, keyword, i), hint);
        kept.push({ rule, types: this.#combinations.typesIn(branch, place), isRelaxed: this.#relaxed > before });
      } catch (error) {
        if (!(error instanceof SchemaRefusal) || error.kind === "malformed") throw error;
        refused = refused?.kind === "unkeepable" ? refused : error;
        this.#grammar.budget.spend(relaxWork);
      }
    }
    const isText = (types: readonly TypeName[]): boolean => types.length === 1 && types[0] === "string";
    const hasText = kept.some(({ types, isRelaxed }) => isText(types) && !isRelaxed);
    const stays = kept.filter(({ types, isRelaxed }) => !(isRelaxed && hasText && isText(types)));
    const isOnlyNull = stays.every(({ types }) => types.every((type) => type === "null"));
    if (refused?.kind === "unkeepable" && isOnlyNull) throw refused;
    if (stays.length === 0) throw impossible(inside(place, keyword), "no value is possible");
    return alternatives([...new Set(stays.map(({ rule }) => rule))]);
  }

  /** References are rules of their own, so that schemas can hold themselves. */
  #reference(reference: string, place: Place): string {
    const known = this.#references.get(reference);
    if (known?.rule === "") throw unkeepable(place, `${clipped(reference)} refers to nothing but itself`);
    if (known !== undefined) {
      if (known.isRelaxed) this.#relaxed += 1;
      return known.rule;
    }
    const target = this.#targets.resolve(reference, place);
    const deeper = { ...place, depth: place.depth + 1 };
    const [before, relaxed] = [this.#references.size, this.#relaxed];
    const keep = (rule: string): string => {
      this.#references.set(reference, { rule, isRelaxed: this.#relaxed > relaxed });
      return rule;
    };
    try {
      if (typeof target === "object" && target !== null && typeof (target as Schema)["$ref"] === "string") {
        keep("");
        return keep(this.value(target, deeper, "json"));
      }
      const name = this.#grammar.reserve(reference.split("/").at(-1) || "root-schema");
      keep(name);
      this.#grammar.define(name, this.value(target, deeper, `${name}-value`));
      return keep(name);
    } catch (error) {
      // What was made of it meanwhile may lead to it.
      for (const made of [...this.#references.keys()].slice(before)) this.#references.delete(made);
      throw error;
    }
  }

  /** Each once; where none is said, those whose keywords the schema uses. */
  #typesOf(schema: Schema, place: Place): TypeName[] {
    const said = own(schema, "type");
    const used = assertions(schema);
    const inUse = (Object.keys(typeKeywords) as (keyof typeof typeKeywords)[]).filter((type) =>
      typeKeywords[type].some((keyword) => used.includes(keyword)),
    );
    if (said === undefined) return inUse.length > 0 ? inUse : [...allTypes];
    const unknown = asList(said).find((type) => !isTypeName(type));
    if (unknown === undefined) return distinctTypes(asList(said) as TypeName[]);
    const reason = `${clipped(JSON.stringify(unknown))} is no type`;
    if (typeof unknown !== "string") throw malformed(inside(place, "type"), reason);
    this.#loserAt(place)("type", reason);
    const known = distinctTypes(asList(said).filter(isTypeName));
    return known.length > 0 ? known : [...allTypes];
  }

  #ofType(type: TypeName, schema: Schema, place: Place, hint: string): string {
    const grammar = this.#grammar;
    const lose = this.#loserAt(place);
    const fits = (text: string, names: unknown): boolean | null => this.#check.evaluate(text, names);
    const container = { grammar, place, hint, value: this.value, needed: this.#needed, texts: this.#texts, lose, fits };
    switch (type) {
      case "object":
        return objectBody(schema, container);
      case "array":
        return arrayBody(schema, container);
      case "string":
        return stringBody(grammar, schema, place, lose);
      case "number":
      case "integer":
        return numberRule(grammar, type, schema, place, lose);
      case "boolean":
        return alternatives([literal("true"), literal("false")]);
      case "null":
        return literal("null");
    }
  }
}

/** An object whose properties are listed, and are none: the tool takes no arguments. */
function takesNothing(read: Schema | boolean): boolean {
  if (typeof read === "boolean") return false;
  const properties = own(read, "properties");
  const isEmpty = typeof properties === "object" && properties !== null && Object.keys(properties).length === 0;
  return isEmpty && assertions(read).every((keyword) => keyword === "type" || keyword === "properties");
}
