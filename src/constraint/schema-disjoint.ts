/**
 * @module Whether no value can be valid against two of several schemas, as `oneOf` asks. Where that cannot be seen, the
 * answer is no.
 */
import type { Budget } from "./budget.ts";
import { canonicalJson } from "./json-text.ts";
import { asList, asObject, own, type Schema } from "./schema-merge.ts";

type Constants = ReadonlySet<string>;

/** What tells objects apart: the constants of properties that they require. */
type Marks = ReadonlyMap<string, Constants>;

/** Everything is held against sets. Pairs are looked at only among objects that no single property tells apart. */
export function areDisjoint(schemas: readonly (Schema | boolean)[], budget: Budget): boolean {
  const possible = schemas.filter((schema) => schema !== false);
  if (possible.length <= 1) return true;
  const constants: Constants[] = [];
  const objects: Marks[] = [];
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
    if (types.size === 1 && types.has("object")) objects.push(marksOf(schema, budget));
  }
  for (const [type, count] of open)
    if (listed.has(type) || (count > 1 && !(type === "object" && count === objects.length))) return false;
  return components(constants, budget).length === constants.length && areToldApart(objects, budget);
}

function areToldApart(objects: readonly Marks[], budget: Budget): boolean {
  const [first, ...others] = objects;
  if (first === undefined || others.length === 0) return true;
  for (const name of first.keys()) {
    budget.spend(4 * objects.length);
    if (!others.every((marks) => marks.has(name))) continue;
    const groups = components(
      objects.map((marks) => marks.get(name) as Constants),
      budget,
    );
    if (groups.length > 1)
      return groups.every((group) =>
        areToldApart(
          group.map((i) => objects[i] as Marks),
          budget,
        ),
      );
  }
  return objects.every((a, i) => objects.slice(i + 1).every((b) => differ(a, b, budget)));
}

/** Some property has constants in both, none of them in common. */
function differ(a: Marks, b: Marks, budget: Budget): boolean {
  const [fewer, more] = a.size <= b.size ? [a, b] : [b, a];
  budget.spend(4);
  for (const [name, values] of fewer) {
    const others = more.get(name);
    budget.spend(2 + values.size);
    if (others !== undefined && ![...values].some((value) => others.has(value))) return true;
  }
  return false;
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

function marksOf(schema: Schema, budget: Budget): Marks {
  const properties = asObject(own(schema, "properties"));
  const marks = new Map<string, Constants>();
  for (const name of asList(own(schema, "required"))) {
    budget.spend(4);
    if (typeof name !== "string" || marks.has(name)) continue;
    const values = constantsOf(asObject(own(properties, name)));
    if (values !== null) marks.set(name, writtenSet(values, budget));
  }
  return marks;
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
  if (said === undefined && values === null) return null;
  budget.spend(values?.length ?? asList(said).length);
  const types = values?.map(typeOfJson) ?? asList(said).map((type) => (type === "integer" ? "number" : String(type)));
  return new Set([...types, ...(own(schema, "nullable") === true ? ["null"] : [])]);
}

function typeOfJson(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}
