/**
 * @module Whether no value can be valid against two of several schemas, as `oneOf` asks. Where that cannot be seen, the
 * answer is no.
 */
import type { Budget } from "./budget.ts";
import { canonicalJson } from "./json-text.ts";
import { assertions, combinations, typeKeywords } from "./schema-keywords.ts";
import { asList, asObject, own, type Schema } from "./schema-merge.ts";

type Constants = ReadonlySet<string>;

/** What tells objects apart: the constants of properties that they require. */
type Marks = ReadonlyMap<string, Constants>;

interface Marked {
  readonly marks: Marks;
  readonly required: ReadonlySet<string>;
  /** The names that a text of it may hold; null: any. */
  readonly names: ReadonlySet<string> | null;
}

/**
 * Everything is held against sets. Pairs are looked at only among objects that no single property tells apart. Objects
 * are those that a grammar writes: they have no properties that their schema does not name.
 */
export function areDisjoint(schemas: readonly (Schema | boolean)[], budget: Budget): boolean {
  const possible = schemas.filter((schema) => schema !== false);
  if (possible.length <= 1) return true;
  const constants: Constants[] = [];
  const objects: Marked[] = [];
  /** Types of those that list constants; how many of the others allow a type. */
  const listed = new Set<string>();
  const open = new Map<string, number>();
  for (const schema of possible) {
    budget.spend(60);
    const types = schema === true ? null : typesOf(schema, budget);
    if (schema === true || types === null) return false;
    const values = constantsOf(schema);
    if (values !== null) {
      constants.push(writtenSet(values, budget));
      for (const type of types) listed.add(type);
      continue;
    }
    for (const type of types) open.set(type, (open.get(type) ?? 0) + 1);
    if (types.size === 1 && types.has("object")) objects.push(markedOf(schema, budget));
  }
  for (const [type, count] of open)
    if (listed.has(type) || (count > 1 && !(type === "object" && count === objects.length))) return false;
  return components(constants, budget).length === constants.length && areToldApart(objects, budget);
}

/**
 * The same schemas, where a property that none has to have, but all give constants, tells them apart: each requires it.
 * Programs leave out what has a default. Null where no property does.
 */
export function byDiscriminator(schemas: readonly (Schema | boolean)[], budget: Budget): Schema[] | null {
  const objects = schemas.filter((schema) => typeof schema === "object");
  const [first] = objects;
  if (first === undefined || objects.length < schemas.length) return null;
  for (const [name, property] of Object.entries(asObject(own(first, "properties")))) {
    budget.spend(4 * objects.length);
    if (constantsOf(asObject(property)) === null) continue;
    const marked = objects.map((schema) => ({
      ...schema,
      required: [...new Set([...asList(own(schema, "required")), name])],
    }));
    if (areDisjoint(marked, budget)) return marked;
  }
  return null;
}

/**
 * The same schemas, where each requires a property that no other requires: those of the others are left out of it, as
 * they have to be. Null where one does not.
 */
export function byRequired(schemas: readonly (Schema | boolean)[], budget: Budget): Schema[] | null {
  const objects = schemas.filter((schema) => typeof schema === "object");
  if (objects.length < schemas.length) return null;
  const holders = new Map<unknown, number>();
  for (const schema of objects)
    for (const name of new Set(asList(own(schema, "required")))) {
      budget.spend(4);
      holders.set(name, (holders.get(name) ?? 0) + 1);
    }
  const marks = objects.map((schema) => asList(own(schema, "required")).find((name) => holders.get(name) === 1));
  if (marks.includes(undefined)) return null;
  const apart = objects.map((schema, i) => {
    const others = marks.filter((_, j) => j !== i);
    budget.spend(16 * others.length);
    const impossible = Object.fromEntries(others.map((name) => [String(name), false]));
    return { ...schema, properties: { ...asObject(own(schema, "properties")), ...impossible } };
  });
  return areDisjoint(apart, budget) ? apart : null;
}

function areToldApart(objects: readonly Marked[], budget: Budget): boolean {
  const [first, ...others] = objects;
  if (first === undefined || others.length === 0) return true;
  for (const name of first.marks.keys()) {
    budget.spend(4 * objects.length);
    if (!others.every(({ marks }) => marks.has(name))) continue;
    const groups = components(
      objects.map(({ marks }) => marks.get(name) as Constants),
      budget,
    );
    if (groups.length > 1)
      return groups.every((group) =>
        areToldApart(
          group.map((i) => objects[i] as Marked),
          budget,
        ),
      );
  }
  return objects.every((a, i) => objects.slice(i + 1).every((b) => differ(a, b, budget)));
}

/** Some property has constants in both, none of them in common; or each requires what the other does not write. */
function differ(a: Marked, b: Marked, budget: Budget): boolean {
  budget.spend(4);
  if (requiresMore(a, b, budget) && requiresMore(b, a, budget)) return true;
  const [fewer, more] = a.marks.size <= b.marks.size ? [a.marks, b.marks] : [b.marks, a.marks];
  for (const [name, values] of fewer) {
    const others = more.get(name);
    budget.spend(2 + values.size);
    if (others !== undefined && ![...values].some((value) => others.has(value))) return true;
  }
  return false;
}

function requiresMore({ required }: Marked, { names }: Marked, budget: Budget): boolean {
  budget.spend(required.size);
  return names !== null && [...required].some((name) => !names.has(name));
}

/**
 * Which of the sets hang together by values in common: the indices of each group. An empty set is a group of its own.
 */
function components(sets: readonly Constants[], budget: Budget): number[][] {
  /** Of each set, another of its group; of a group's first, itself. */
  const parents = sets.map((_, i) => i);
  const groupOf = (i: number): number => {
    let at = i;
    while (parents[at] !== at) {
      budget.spend(1);
      parents[at] = parents[parents[at] as number] as number;
      at = parents[at] as number;
    }
    return at;
  };
  const holders = new Map<string, number>();
  for (const [i, set] of sets.entries())
    for (const value of set) {
      budget.spend(4);
      const holder = holders.get(value);
      if (holder === undefined) holders.set(value, i);
      else parents[groupOf(i)] = groupOf(holder);
    }
  const groups = new Map<number, number[]>();
  for (const i of sets.keys()) {
    const group = groups.get(groupOf(i));
    if (group === undefined) groups.set(groupOf(i), [i]);
    else group.push(i);
  }
  return [...groups.values()];
}

function markedOf(schema: Schema, budget: Budget): Marked {
  const properties = asObject(own(schema, "properties"));
  const marks = new Map<string, Constants>();
  const required = new Set<string>();
  for (const name of asList(own(schema, "required"))) {
    budget.spend(4);
    if (typeof name !== "string" || required.has(name)) continue;
    required.add(name);
    const values = constantsOf(asObject(own(properties, name)));
    if (values !== null) marks.set(name, writtenSet(values, budget));
  }
  const named = Object.keys(properties).filter((name) => properties[name] !== false);
  const names = new Set([...named, ...required]);
  budget.spend(names.size);
  // What stands in combinations may name more; where nothing is named, anything may be.
  const isOpen = names.size === 0 || combinations.some((keyword) => own(schema, keyword) !== undefined);
  return { marks, required, names: isOpen && own(schema, "additionalProperties") !== false ? null : names };
}

/** The constants that a schema allows; null where it does not list them. */
function constantsOf(schema: Schema): readonly unknown[] | null {
  if (Object.hasOwn(schema, "const")) return [schema["const"]];
  const listed = own(schema, "enum");
  return Array.isArray(listed) ? listed : null;
}

function writtenSet(values: readonly unknown[], budget: Budget): Constants {
  return new Set(values.map((value) => canonicalJson(value, budget)));
}

/** Integers count as numbers. Null where the schema does not say. */
function typesOf(schema: Schema, budget: Budget): ReadonlySet<string> | null {
  const said = own(schema, "type");
  const values = said === undefined ? constantsOf(schema) : null;
  if (said === undefined && values === null) return isWrittenAsObject(schema) ? new Set(["object"]) : null;
  budget.spend(values?.length ?? asList(said).length);
  const types = values?.map(typeOfJson) ?? asList(said).map((type) => (type === "integer" ? "number" : String(type)));
  return new Set([...types, ...(own(schema, "nullable") === true ? ["null"] : [])]);
}

/** It names no type, and nothing but what objects have. */
function isWrittenAsObject(schema: Schema): boolean {
  const said = assertions(schema);
  return said.length > 0 && said.every((keyword) => typeKeywords.object.some((one) => one === keyword));
}

function typeOfJson(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}
