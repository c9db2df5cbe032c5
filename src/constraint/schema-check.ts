/**
 * @module Whether a value is valid against a schema: JSON Schema 2020-12 and what `schema-dialect.ts` reads as it. What
 * a grammar does not keep to is checked so, once it is sampled. Nothing is compiled, and all work is counted: a schema
 * that costs too much is not checked to its end. Patterns are RE2's, which take time in proportion to the text.
 */
import type { Budget } from "./budget.ts";
import { hasFormat } from "./format-check.ts";
import { canonicalJson } from "./json-text.ts";
import { PatternCheck } from "./pattern-check.ts";
import { outermost, type Place, SchemaRefusal } from "./place.ts";
import { Dialect } from "./schema-dialect.ts";
import { asList, asObject, own, type Schema } from "./schema-merge.ts";
import { SchemaReferences } from "./schema-references.ts";
import { isOfType, isTypeName } from "./schema-types.ts";

/** Null: that cannot be seen. */
export type Truth = boolean | null;

const deepest = 200;
/** Of work, for each schema that a value is held against. */
const nodeWork = 100;

/** What of an object or array has been looked at by a schema that allows it. */
interface Evaluated {
  readonly names: Set<string>;
  /** So many from the front, and these. */
  items: number;
  readonly others: Set<number>;
}

export class SchemaCheck {
  readonly #root: unknown;
  readonly #place: Place;
  readonly #budget: Budget;
  readonly #dialect = new Dialect();
  readonly #targets: SchemaReferences;
  readonly #patterns: PatternCheck;

  constructor(root: unknown, path: string, budget: Budget) {
    this.#root = root;
    this.#place = outermost(path);
    this.#budget = budget;
    this.#targets = new SchemaReferences(root, path, budget);
    this.#patterns = new PatternCheck(budget);
  }

  /** Whether the value is valid against the whole schema. Throws nothing: null where it would take too much work. */
  fits(value: unknown): Truth {
    try {
      return this.evaluate(value, this.#root);
    } catch (error) {
      if (error instanceof SchemaRefusal) return null;
      throw error;
    }
  }

  /** Against a schema in it. Throws "invalid_request" where that is none, and where it would take too much work. */
  evaluate(value: unknown, schema: unknown): Truth {
    return this.#evaluate(value, schema, nothingYet(), 0);
  }

  #evaluate(value: unknown, schema: unknown, seen: Evaluated, depth: number): Truth {
    this.#budget.spend(nodeWork);
    if (depth > deepest) return null;
    const read = this.#dialect.read(schema, this.#place);
    if (typeof read === "boolean") return read;
    const inner = (one: unknown, part: unknown): Truth => this.#evaluate(one, part, nothingYet(), depth + 1);
    const here: Here = (part, also) => {
      // A part does not see what its neighbours have looked at.
      const own = also ?? nothingYet();
      const holds = this.#evaluate(value, part, own, depth + 1);
      if (also === undefined && holds !== false) merge(seen, own);
      return holds;
    };
    return all([
      () => (read["nullable"] === true && value === null ? true : this.#isOfTypes(value, read)),
      () => this.#isConstant(value, read),
      () => (typeof value === "string" ? this.#text(value, read) : true),
      () => (typeof value === "number" ? isWithin(value, read) : true),
      () => this.#combined(read, here, seen),
      () => (isOfType(value, "object") ? this.#object(value as Schema, read, { seen, inner, here }) : true),
      () => (Array.isArray(value) ? this.#array(value, read, { seen, inner, here }) : true),
    ]);
  }

  #isOfTypes(value: unknown, read: Schema): Truth {
    const types = asList(own(read, "type"));
    this.#budget.spend(types.length);
    return types.length === 0 || types.some((type) => !isTypeName(type) || isOfType(value, type));
  }

  #isConstant(value: unknown, read: Schema): Truth {
    const listed = own(read, "enum");
    if (listed === undefined && !Object.hasOwn(read, "const")) return true;
    const written = canonicalJson(value, this.#budget);
    const isSame = (one: unknown): boolean => canonicalJson(one, this.#budget) === written;
    if (Object.hasOwn(read, "const") && !isSame(read["const"])) return false;
    return listed === undefined || asList(listed).some(isSame);
  }

  #text(value: string, read: Schema): Truth {
    const [least, most] = [numberOf(read, "minLength"), numberOf(read, "maxLength")];
    this.#budget.spend(value.length);
    const length = least === undefined && most === undefined ? 0 : [...value].length;
    if (length < (least ?? 0) || length > (most ?? length)) return false;
    const [pattern, format] = [own(read, "pattern"), own(read, "format")];
    if (typeof format === "string" && !hasFormat(value, format)) return false;
    return typeof pattern === "string" ? this.#patterns.matches(pattern, value) : true;
  }

  /** What stands beside each other, or of which some must hold. */
  #combined(read: Schema, here: Here, seen: Evaluated): Truth {
    const [reference, not, condition] = [own(read, "$ref"), own(read, "not"), own(read, "if")];
    return all([
      () => (reference === undefined ? true : here(this.#targets.resolve(reference, this.#place))),
      ...asList(own(read, "allOf")).map((part) => () => here(part)),
      () => (not === undefined ? true : negated(here(not, nothingYet()))),
      () => this.#some(asList(own(read, "anyOf")), here, seen),
      () => this.#one(asList(own(read, "oneOf")), here, seen),
      () => {
        if (condition === undefined) return true;
        const then = nothingYet();
        const holds = here(condition, then);
        if (holds === null) return null;
        if (holds) merge(seen, then);
        return here(own(read, holds ? "then" : "else") ?? true);
      },
    ]);
  }

  #some(parts: readonly unknown[], here: Here, seen: Evaluated): Truth {
    if (parts.length === 0) return true;
    let said: Truth = false;
    for (const part of parts) {
      const also = nothingYet();
      const holds = here(part, also);
      if (holds !== false) merge(seen, also);
      if (said !== true && holds !== false) said = holds;
    }
    return said;
  }

  #one(parts: readonly unknown[], here: Here, seen: Evaluated): Truth {
    if (parts.length === 0) return true;
    const said = parts.map((part) => {
      const also = nothingYet();
      const holds = here(part, also);
      if (holds !== false) merge(seen, also);
      return holds;
    });
    const certain = said.filter((holds) => holds === true).length;
    if (certain > 1) return false;
    return said.includes(null) ? null : certain === 1;
  }

  #object(value: Schema, read: Schema, { seen, inner, here }: Looking): Truth {
    const names = Object.keys(value);
    const [least, most] = [numberOf(read, "minProperties"), numberOf(read, "maxProperties")];
    if (names.length < (least ?? 0) || names.length > (most ?? names.length)) return false;
    const properties = asObject(own(read, "properties"));
    const patterns = Object.entries(asObject(own(read, "patternProperties")));
    const allowed = own(read, "propertyNames");
    const needs = (required: unknown): boolean => {
      const all = asList(required);
      this.#budget.spend(all.length);
      return all.every((name) => typeof name !== "string" || Object.hasOwn(value, name));
    };
    const dependencies = Object.entries(asObject(own(read, "dependentRequired")));
    const schemas = Object.entries(asObject(own(read, "dependentSchemas")));
    const isThere = ([name]: [string, unknown]): boolean => Object.hasOwn(value, name);
    return all([
      () => needs(own(read, "required")),
      () => draft3Required(properties, value),
      () => dependencies.filter(isThere).every(([, required]) => needs(required)),
      ...schemas.filter(isThere).map(
        ([, part]) =>
          () =>
            here(part),
      ),
      ...names.map((name) => () => {
        const holds = allowed === undefined ? true : inner(name, allowed);
        if (holds === false) return false;
        return all([() => holds, () => this.#entry(name, value[name], { properties, patterns, read, inner, seen })]);
      }),
      () => {
        const rest = own(read, "unevaluatedProperties");
        if (rest === undefined) return true;
        return all(names.filter((name) => !seen.names.has(name)).map((name) => () => inner(value[name], rest)));
      },
    ]);
  }

  #entry(name: string, value: unknown, { properties, patterns, read, inner, seen }: Entry): Truth {
    const parts: unknown[] = Object.hasOwn(properties, name) ? [properties[name]] : [];
    let isUncertain = false;
    for (const [pattern, part] of patterns) {
      const isMatch = this.#patterns.matches(pattern, name);
      if (isMatch === null) isUncertain = true;
      if (isMatch === true) parts.push(part);
    }
    const additional = own(read, "additionalProperties");
    if (parts.length === 0 && additional !== undefined && !isUncertain) parts.push(additional);
    if (parts.length > 0) seen.names.add(name);
    return all([...parts.map((part) => () => inner(value, part)), () => (isUncertain ? null : true)]);
  }

  #array(value: readonly unknown[], read: Schema, { seen, inner }: Looking): Truth {
    const [least, most] = [numberOf(read, "minItems"), numberOf(read, "maxItems")];
    if (value.length < (least ?? 0) || value.length > (most ?? value.length)) return false;
    const prefix = asList(own(read, "prefixItems"));
    const [items, contains, rest] = [own(read, "items"), own(read, "contains"), own(read, "unevaluatedItems")];
    return all([
      () => (own(read, "uniqueItems") === true ? this.#areDifferent(value) : true),
      ...value.map((item, i) => () => {
        const part = i < prefix.length ? prefix[i] : items;
        return part === undefined ? true : inner(item, part);
      }),
      () => {
        seen.items = Math.max(seen.items, items === undefined ? Math.min(prefix.length, value.length) : value.length);
        return contains === undefined ? true : this.#contains(value, read, { seen, inner });
      },
      () => {
        if (rest === undefined) return true;
        const left = value.filter((_, i) => i >= seen.items && !seen.others.has(i));
        return all(left.map((item) => () => inner(item, rest)));
      },
    ]);
  }

  #contains(value: readonly unknown[], read: Schema, { seen, inner }: Pick<Looking, "seen" | "inner">): Truth {
    const said = value.map((item) => inner(item, own(read, "contains")));
    for (const [i, holds] of said.entries()) if (holds === true) seen.others.add(i);
    const certain = said.filter((holds) => holds === true).length;
    const possible = said.filter((holds) => holds !== false).length;
    const [least, most] = [numberOf(read, "minContains") ?? 1, numberOf(read, "maxContains") ?? value.length];
    if (possible < least || certain > most) return false;
    return certain >= least && possible <= most ? true : null;
  }

  #areDifferent(value: readonly unknown[]): boolean {
    return new Set(value.map((item) => canonicalJson(item, this.#budget))).size === value.length;
  }
}

type Here = (part: unknown, also?: Evaluated) => Truth;

/** How parts of a value are looked at. */
interface Looking {
  readonly seen: Evaluated;
  /** What stands in the value. */
  readonly inner: (one: unknown, part: unknown) => Truth;
  /** The value itself. */
  readonly here: Here;
}

interface Entry extends Pick<Looking, "seen" | "inner"> {
  readonly properties: Schema;
  readonly patterns: readonly (readonly [string, unknown])[];
  readonly read: Schema;
}

function nothingYet(): Evaluated {
  return { names: new Set(), items: 0, others: new Set() };
}

function merge(seen: Evaluated, also: Evaluated): void {
  for (const name of also.names) seen.names.add(name);
  for (const i of also.others) seen.others.add(i);
  seen.items = Math.max(seen.items, also.items);
}

/** The first that is false decides. */
function all(parts: readonly (() => Truth)[]): Truth {
  let said: Truth = true;
  for (const part of parts) {
    const holds = part();
    if (holds === false) return false;
    if (holds === null) said = null;
  }
  return said;
}

function negated(holds: Truth): Truth {
  return holds === null ? null : !holds;
}

function draft3Required(properties: Schema, value: Schema): boolean {
  return Object.entries(properties).every(
    ([name, property]) => asObject(property)["required"] !== true || Object.hasOwn(value, name),
  );
}

function numberOf(read: Schema, keyword: string): number | undefined {
  const value = own(read, keyword);
  return typeof value === "number" ? value : undefined;
}

/** Decimals are not exact in binary: a multiple may be off by its last digits. */
const tolerance = 1e-9;

function isWithin(value: number, read: Schema): boolean {
  const [least, most] = [numberOf(read, "minimum"), numberOf(read, "maximum")];
  const [above, below] = [numberOf(read, "exclusiveMinimum"), numberOf(read, "exclusiveMaximum")];
  const multiple = numberOf(read, "multipleOf");
  if (value < (least ?? value) || value > (most ?? value)) return false;
  if ((above !== undefined && value <= above) || (below !== undefined && value >= below)) return false;
  if (multiple === undefined || multiple <= 0) return true;
  const times = value / multiple;
  return Math.abs(times - Math.round(times)) <= tolerance * Math.max(1, Math.abs(times));
}
