/** @module The objects that a schema allows, as grammars. */
import { addJsonObject, mostEntries } from "./any-json.ts";
import { type Grammar, literal, repeat } from "./gbnf.ts";
import { clipped, impossible, inside, type Lose, malformed, type Place, unlessImpossible } from "./place.ts";
import { asList, asObject, own, type Schema, together } from "./schema-merge.ts";
import { countOf } from "./schema-number.ts";

/** Where a schema stands, what its rules are called, and what makes a rule of those in it. */
export interface Container {
  readonly grammar: Grammar;
  readonly place: Place;
  readonly hint: string;
  readonly value: (schema: unknown, place: Place, hint: string) => string;
  /** As `value`, for what must be there: where it is impossible, and the schema is not strict, any value. */
  readonly needed: (schema: unknown, place: Place, hint: string) => string;
  readonly lose: Lose;
  /** The values that a schema lists, as JSON; null: it does not. */
  readonly texts: (schema: unknown, place: Place) => readonly string[] | null;
  /** Whether a text keeps to a schema; null: that cannot be seen. */
  readonly fits: (text: string, schema: unknown) => boolean | null;
}

/** Of a property, beside its schema. */
const propertyWork = 60;

interface Property {
  readonly name: string;
  readonly schema: unknown;
  readonly required: boolean;
}

interface Pair {
  readonly text: string;
  readonly required: boolean;
}

export function objectBody(schema: Schema, container: Container): string {
  const { grammar, place, hint, value, needed } = container;
  const named = propertiesOf(schema, container);
  if (named.length === 0) return unnamedEntries(schema, container);
  grammar.budget.spend(propertyWork * named.length);
  const pairs: Pair[] = [];
  for (const { name, schema: property, required } of named) {
    const [at, called] = [inside(place, "properties", name), hintOf(hint, name)];
    // A property that cannot have a value is left out.
    const rule = required ? needed(property, at, called) : unlessImpossible(() => value(property, at, called));
    if (rule === null) continue;
    grammar.budget.spend(name.length);
    pairs.push({ text: `${literal(`${JSON.stringify(name)}: `)} ${rule}`, required });
  }
  grammar.budget.at = place;
  return `"{" ${counted(pairs, schema, container)} "}"`;
}

/** Those that a text may name, in order. Throws where one is required that is not allowed. */
function propertiesOf(schema: Schema, container: Container): Property[] {
  const { place, fits, lose } = container;
  const properties = schemasIn(schema, "properties", place);
  const required = namesIn(schema, container);
  const others = own(schema, "additionalProperties") ?? own(schema, "unevaluatedProperties");
  const names = own(schema, "propertyNames");
  const patterns = Object.entries(schemasIn(schema, "patternProperties", place));
  const all = new Set([...Object.keys(properties), ...required]);
  if (all.size === 0) for (const name of constantsOf(names)) all.add(name);
  const named: Property[] = [];
  for (const name of all) {
    const own = Object.hasOwn(properties, name) ? [properties[name]] : [];
    const matched = patterns.filter(([pattern]) => {
      const isMatch = fits(name, { pattern });
      if (isMatch === null) lose("patternProperties", "whether a property's name matches a pattern cannot be seen");
      return isMatch === true;
    });
    const said = [...own, ...matched.map(([, matching]) => matching)];
    const isAllowed = names === undefined ? true : fits(name, names);
    if (isAllowed === null) lose("propertyNames", "whether a property's name is allowed cannot be seen");
    const value = isAllowed === false ? false : said.length > 0 ? together(said) : (others ?? true);
    // Draft 3 says it of a property.
    const isRequired = required.has(name) || asObject(properties[name])["required"] === true;
    if (value === false && isRequired && own.length === 0)
      throw impossible(inside(place, "required"), `'${clipped(name)}' is required, but not allowed`);
    if (value !== false || isRequired) named.push({ name, schema: value, required: isRequired });
  }
  return named;
}

function schemasIn(schema: Schema, keyword: string, place: Place): Schema {
  const value = own(schema, keyword);
  if (value !== undefined && (typeof value !== "object" || Array.isArray(value)))
    throw malformed(inside(place, keyword), "must be an object of schemas");
  return asObject(value);
}

function namesIn(schema: Schema, { grammar, place }: Container): ReadonlySet<string> {
  const names = new Set<string>();
  const required = own(schema, "required");
  if (required !== undefined && !Array.isArray(required))
    throw malformed(inside(place, "required"), "must be a list of names");
  for (const name of asList(required)) {
    grammar.budget.spend(4);
    if (typeof name !== "string") throw malformed(inside(place, "required"), "must be a list of names");
    names.add(name);
  }
  return names;
}

/** Names that a schema of names lists. */
function constantsOf(names: unknown): string[] {
  const said = asObject(names);
  const listed = Object.hasOwn(said, "const") ? [said["const"]] : asList(own(said, "enum"));
  return listed.filter((name) => typeof name === "string");
}

/** Any number of entries, where no property has a name of its own. */
function unnamedEntries(schema: Schema, container: Container): string {
  const { grammar, place, hint, value, lose } = container;
  const patterns = Object.entries(schemasIn(schema, "patternProperties", place));
  const additional = own(schema, "additionalProperties") ?? own(schema, "unevaluatedProperties");
  const names = own(schema, "propertyNames");
  const [least, most] = countsOf(schema, container);
  if (patterns.length > 1) lose("patternProperties", "more than one pattern cannot be kept to");
  const [pattern, matching] = patterns[0] ?? [];
  const entry = pattern === undefined ? (additional ?? true) : matching;
  if (pattern === undefined && additional === undefined && names === undefined && least === 0 && most === mostEntries)
    return addJsonObject(grammar);
  const rule = unlessImpossible(() => value(entry, inside(place, "additionalProperties"), hintOf(hint, "value")));
  const key = rule === null ? null : unlessImpossible(() => keyRule(names, pattern, container));
  if (rule === null || key === null || most === 0) {
    if (least > 0) throw impossible(inside(place, "minProperties"), "no entry is possible");
    return literal("{}");
  }
  grammar.budget.at = place;
  const pair = grammar.add(hintOf(hint, "entry"), `${key} ${literal(": ")} ${rule}`);
  const next = grammar.add(hintOf(hint, "next"), `${literal(", ")} ${pair}`);
  const entries = `${pair} ${repeat(next, Math.max(0, least - 1), most - 1)}`.trim();
  return least > 0 ? `"{" ${entries} "}"` : `"{" ( ${entries} )? "}"`;
}

function keyRule(names: unknown, pattern: string | undefined, { place, hint, value }: Container): string {
  const said = [names, pattern === undefined ? undefined : { pattern }].filter((one) => one !== undefined);
  return value({ allOf: [{ type: "string" }, ...said] }, inside(place, "propertyNames"), hintOf(hint, "key"));
}

/** How many entries there may be. A name may come twice, and counts once. */
function countsOf(schema: Schema, { place, lose }: Container): [least: number, most: number] {
  const least = countOf(schema, "minProperties", place) ?? 0;
  const most = countOf(schema, "maxProperties", place) ?? mostEntries;
  if (least > most) throw impossible(inside(place, "minProperties"), "no object of so many entries can be written");
  if (least > 1) lose("minProperties", "that so many names are different cannot be kept to");
  return [Math.min(least, mostEntries), Math.min(most, mostEntries)];
}

/** The pairs, as many of them as there may be. */
function counted(pairs: readonly Pair[], schema: Schema, container: Container): string {
  const { place, lose } = container;
  const least = countOf(schema, "minProperties", place) ?? 0;
  const most = countOf(schema, "maxProperties", place) ?? Number.POSITIVE_INFINITY;
  const required = pairs.filter((pair) => pair.required);
  if (most < required.length || least > most)
    throw impossible(inside(place, "maxProperties"), "more properties are required than are allowed");
  if (most < pairs.length && most > required.length && !(most === 1 && least <= 1))
    lose("maxProperties", "how many optional properties there are cannot be kept to");
  if (least > pairs.length || (least > Math.max(1, required.length) && least < pairs.length))
    lose("minProperties", "how many optional properties there are cannot be kept to");
  if (most === required.length) return list(required, container);
  if (most === 1) return `( ${[...pairs.map(({ text }) => text), ...(least === 0 ? ['""'] : [])].join(" | ")} )`;
  if (least === pairs.length)
    return list(
      pairs.map((pair) => ({ ...pair, required: true })),
      container,
    );
  return list(pairs, container, least > 0);
}

/**
 * The pairs in order, optional ones or not, with commas between those that are there. From the last to the first, a
 * rule or two for each.
 */
function list(pairs: readonly Pair[], { grammar, hint }: Container, isFilled = false): string {
  let [first, later] = ['""', '""'];
  for (const [i, { text, required }] of [...pairs.entries()].toReversed()) {
    const isLast = i === pairs.length - 1;
    const afterThis = isLast ? "" : grammar.add(hintOf(hint, "rest"), later);
    const started = `${text} ${afterThis}`.trim();
    const withComma = `${literal(", ")} ${started}`;
    const unstarted = isLast ? (isFilled ? null : '""') : required ? "" : grammar.add(hintOf(hint, "first"), first);
    [first, later] = required
      ? [started, withComma]
      : [unstarted === null ? started : `( ${started} | ${unstarted} )`, `( ${withComma} | ${afterThis || '""'} )`];
  }
  return first;
}

/** A rule's name begins with what it is part of; no more of a long one is kept. */
export function hintOf(hint: string, part: string): string {
  return `${hint.slice(0, 40)}-${part.slice(0, 40)}`;
}
