/** @module The objects and arrays that a schema allows, as grammars. */
import { type Grammar, literal, repeat } from "./gbnf.ts";
import { anyString } from "./json-string.ts";
import { mostRepetitions } from "./pattern.ts";
import { clipped, inside, type Place, refusal } from "./place.ts";
import { asList, asObject, own, type Schema } from "./schema-merge.ts";
import { countOf } from "./schema-number.ts";

/** Entries of an object that names no properties; a small model may not find an end otherwise. */
const mostEntries = 64;

/** Where a schema stands, what its rules are called, and what makes a rule of those in it. */
export interface Container {
  readonly grammar: Grammar;
  readonly place: Place;
  readonly hint: string;
  readonly value: (schema: unknown, place: Place, hint: string) => string;
}

/** Of a property, beside its schema. */
const propertyWork = 60;

interface Pair {
  readonly text: string;
  readonly required: boolean;
}

export function objectBody(schema: Schema, container: Container): string {
  const { grammar, place, hint, value } = container;
  const properties = asObject(own(schema, "properties"));
  const required = namesIn(schema, container);
  const additional = own(schema, "additionalProperties");
  const unnamed = [...required].filter((name) => !Object.hasOwn(properties, name));
  if (unnamed.length > 0 && additional === false)
    throw refusal(inside(place, "required"), `'${clipped(unnamed[0] as string)}' is required, but not allowed`);
  const named: [string, unknown][] = [
    ...Object.entries(properties),
    ...unnamed.map((name): [string, unknown] => [name, additional ?? true]),
  ];
  grammar.budget.spend(propertyWork * named.length);
  // A property that cannot have a value is left out.
  const possible = named.filter(([name, property]) => property !== false || required.has(name));
  if (possible.length === 0 && additional !== undefined && additional !== false) return entries(additional, container);
  const pairs = possible.map(([name, property]): Pair => {
    const rule = value(property, inside(place, "properties", name), hintOf(hint, name));
    grammar.budget.spend(name.length);
    return { text: `${literal(`${JSON.stringify(name)}: `)} ${rule}`, required: required.has(name) };
  });
  return `"{" ${list(pairs, container)} "}"`;
}

function namesIn(schema: Schema, { grammar, place }: Container): ReadonlySet<string> {
  const names = new Set<string>();
  for (const name of asList(own(schema, "required"))) {
    grammar.budget.spend(4);
    if (typeof name !== "string") throw refusal(inside(place, "required"), "must be a list of names");
    names.add(name);
  }
  return names;
}

/** Any number of entries with values of one schema. */
function entries(schema: unknown, { grammar, place, hint, value }: Container): string {
  const rule = value(schema, inside(place, "additionalProperties"), hintOf(hint, "value"));
  const entry = grammar.add(hintOf(hint, "entry"), `${anyString(grammar)} ${literal(": ")} ${rule}`);
  const next = grammar.add(hintOf(hint, "next"), `${literal(", ")} ${entry}`);
  return `"{" ( ${entry} ${repeat(next, 0, mostEntries - 1)} )? "}"`;
}

/**
 * The pairs in order, optional ones or not, with commas between those that are there. From the last to the first, a
 * rule or two for each.
 */
function list(pairs: readonly Pair[], { grammar, hint }: Container): string {
  let [first, later] = ['""', '""'];
  for (const [i, { text, required }] of [...pairs.entries()].toReversed()) {
    const isLast = i === pairs.length - 1;
    const afterThis = isLast ? "" : grammar.add(hintOf(hint, "rest"), later);
    const started = `${text} ${afterThis}`.trim();
    const withComma = `${literal(", ")} ${started}`;
    const unstarted = isLast ? '""' : required ? "" : grammar.add(hintOf(hint, "first"), first);
    [first, later] = required
      ? [started, withComma]
      : [`( ${started} | ${unstarted} )`, `( ${withComma} | ${afterThis || '""'} )`];
  }
  return first;
}

export function arrayBody(schema: Schema, { grammar, place, hint, value }: Container): string {
  const prefix = asList(own(schema, "prefixItems"));
  const least = countOf(schema, "minItems", place) ?? 0;
  const most = Math.min(
    countOf(schema, "maxItems", place) ?? Number.POSITIVE_INFINITY,
    own(schema, "items") === false ? prefix.length : Number.POSITIVE_INFINITY,
  );
  if (least > most || least > mostRepetitions)
    throw refusal(inside(place, "minItems"), `no array of so many items can be written`);
  const given = prefix
    .slice(0, most)
    .map((item, i) => value(item, inside(place, "prefixItems", i), hintOf(hint, "item")));
  const parts = ['"["', given.join(` ${literal(", ")} `)];
  if (most > given.length) {
    const item = value(own(schema, "items") ?? true, inside(place, "items"), hintOf(hint, "item"));
    const next = grammar.add(hintOf(hint, "next"), `${literal(", ")} ${item}`);
    parts.push(
      moreItems({ item, next, least: least - given.length, most: most - given.length, areFirst: given.length === 0 }),
    );
  }
  return [...parts, '"]"'].filter((part) => part !== "").join(" ");
}

interface MoreItems {
  readonly item: string;
  /** A comma before it. */
  readonly next: string;
  readonly least: number;
  readonly most: number;
  readonly areFirst: boolean;
}

/** Items after those of the prefix. */
function moreItems({ item, next, least, most, areFirst }: MoreItems): string {
  const bound = Number.isFinite(most) ? Math.min(most, mostRepetitions) : undefined;
  if (!areFirst) return repeat(next, Math.max(0, least), bound);
  const list = `${item} ${repeat(next, Math.max(0, least - 1), bound === undefined ? undefined : bound - 1)}`.trim();
  return least > 0 ? list : `( ${list} )?`;
}

/** A rule's name begins with what it is part of; no more of a long one is kept. */
function hintOf(hint: string, part: string): string {
  return `${hint.slice(0, 40)}-${part.slice(0, 40)}`;
}
