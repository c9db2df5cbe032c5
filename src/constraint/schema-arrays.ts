/** @module The arrays that a schema allows, as grammars. */
import { alternatives, literal, repeat } from "./gbnf.ts";
import { type Lengths, mostRepetitions } from "./pattern-length.ts";
import { impossible, inside, malformed, unlessImpossible } from "./place.ts";
import { asList, own, type Schema } from "./schema-merge.ts";
import { countOf } from "./schema-number.ts";
import { type Container, hintOf } from "./schema-objects.ts";

/** Constants of which an array may hold each once. */
const mostDifferent = 8;

export function arrayBody(schema: Schema, container: Container): string {
  const { grammar, place, hint, lose } = container;
  const given = givenItems(schema, container);
  const rest = own(schema, "items") ?? own(schema, "unevaluatedItems") ?? true;
  const possible = asList(own(schema, "prefixItems")).length === given.length ? rest : false;
  // What must be found in it, stands in it.
  const found = own(schema, "contains") === undefined ? 0 : (countOf(schema, "minContains", place) ?? 1);
  const least = Math.max(countOf(schema, "minItems", place) ?? 0, found);
  const most = countOf(schema, "maxItems", place) ?? Number.POSITIVE_INFINITY;
  const reason = "no array of so many items can be written";
  if (least > most) throw impossible(inside(place, "minItems"), reason);
  if (least > mostRepetitions) lose("minItems", reason);
  if (own(schema, "uniqueItems") === true && most > 1) {
    const body = differentItems(schema, { least, most }, container);
    if (body !== null) return body;
    lose(
      "uniqueItems",
      `'uniqueItems' can be kept to where the items are up to ${mostDifferent} constants; leave it out`,
      null,
    );
  }
  const item =
    most <= given.length
      ? null
      : unlessImpossible(() => container.value(possible, inside(place, "items"), hintOf(hint, "item")));
  if (item === null && least > given.length) throw impossible(inside(place, "minItems"), reason);
  grammar.budget.at = place;
  const shown = given.slice(0, most);
  const parts = ['"["', shown.join(` ${literal(", ")} `)];
  if (item !== null) {
    const next = grammar.add(hintOf(hint, "next"), `${literal(", ")} ${item}`);
    const bounds = { least: Math.min(least, mostRepetitions) - given.length, most: most - given.length };
    parts.push(moreItems({ item, next, ...bounds, areFirst: given.length === 0 }));
  }
  return [...parts, '"]"'].filter((part) => part !== "").join(" ");
}

/**
 * GBNF of arrays of different constants, in any order; null where the items are others, or too many. What may follow
 * goes by the set of those that stand there, of which there are 2ⁿ.
 */
function differentItems(schema: Schema, { least, most }: Lengths, container: Container): string | null {
  const { grammar, place, hint } = container;
  if (own(schema, "prefixItems") !== undefined) return null;
  const texts = container.texts(own(schema, "items") ?? true, inside(place, "items"));
  if (texts === null || texts.length > mostDifferent) return null;
  if (texts.length < least) throw impossible(inside(place, "minItems"), `its items are ${texts.length} constants`);
  const rules = new Map<string, string>();
  const after = (taken: readonly number[]): string => {
    const key = taken.toSorted().join();
    const known = rules.get(key);
    if (known !== undefined) return known;
    const separator = taken.length === 0 ? "" : ", ";
    const next = taken.length < most ? [...texts.entries()].filter(([i]) => !taken.includes(i)) : [];
    const ways = next.map(([i, text]) => `${literal(separator + text)} ${after([...taken, i])}`);
    const rule = grammar.same(hintOf(hint, "other"), alternatives([...ways, ...(taken.length < least ? [] : ['""'])]));
    rules.set(key, rule);
    return rule;
  };
  return `"[" ${after([])} "]"`;
}

/** The rules of the items that have schemas of their own, up to the first that is impossible. */
function givenItems(schema: Schema, { place, hint, value }: Container): string[] {
  const prefix = own(schema, "prefixItems");
  if (prefix !== undefined && !Array.isArray(prefix))
    throw malformed(inside(place, "prefixItems"), "must be a list of schemas");
  const most = countOf(schema, "maxItems", place);
  const rules: string[] = [];
  for (const [i, item] of asList(prefix).slice(0, most).entries()) {
    const rule = unlessImpossible(() => value(item, inside(place, "prefixItems", i), hintOf(hint, "item")));
    if (rule === null) break;
    rules.push(rule);
  }
  return rules;
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
