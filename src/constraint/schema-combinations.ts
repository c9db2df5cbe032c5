/** @module Schemas that hold at once, or of which one must: as schemas that a grammar can be made of. */
import type { Budget } from "./budget.ts";
import { inside, type Lose, malformed, type Place, unlessRefused } from "./place.ts";
import type { Dialect } from "./schema-dialect.ts";
import { areDisjoint, byDiscriminator, byRequired } from "./schema-disjoint.ts";
import { assertions, typeKeywords } from "./schema-keywords.ts";
import { asList, mergeSchemas, own, type Schema } from "./schema-merge.ts";
import type { SchemaReferences } from "./schema-references.ts";
import { isTypeName, type TypeName } from "./schema-types.ts";

interface Setting {
  readonly budget: Budget;
  readonly dialect: Dialect;
  readonly targets: SchemaReferences;
  readonly keepable: (read: Schema, place: Place) => Schema;
  readonly lose: (place: Place) => Lose;
}

/** References that lead to each other, where only types are asked for. */
const longestWay = 16;
/** Unions in unions. */
const deepestUnion = 8;
const unevaluated = ["unevaluatedProperties", "unevaluatedItems"] as const;

export class Combinations {
  readonly #setting: Setting;

  constructor(setting: Setting) {
    this.#setting = setting;
  }

  /** One schema of what all say, references and `allOf` resolved. */
  merged(schemas: readonly unknown[], place: Place): Schema | boolean {
    const { budget, keepable, lose } = this.#setting;
    const parts = this.#partsOf(schemas, place);
    if (parts === null) return false;
    for (const [i, part] of parts.entries()) {
      keepable(part, place);
      // Only the outermost sees all that is evaluated.
      for (const keyword of i === 0 ? [] : unevaluated)
        if (own(part, keyword) !== undefined)
          lose(place)(keyword, `'${keyword}' in one of several schemas that must hold at once is not supported`, null);
    }
    const heard = parts.filter((part) => assertions(part).length > 0);
    return heard.length === 0 ? true : mergeSchemas(heard, budget, lose(place));
  }

  /** Each schema once, and those that it refers to; null where one allows nothing. */
  #partsOf(schemas: readonly unknown[], place: Place): Schema[] | null {
    const { budget, dialect, targets } = this.#setting;
    const seen = new Set<unknown>();
    const parts: Schema[] = [];
    const open = [...schemas].reverse();
    while (open.length > 0) {
      const schema = open.pop();
      const read = dialect.read(schema, place);
      if (read === true || seen.has(read)) continue;
      budget.spend(16);
      seen.add(read);
      if (read === false) return null;
      const { $ref: reference, allOf, ...siblings } = read;
      if (allOf !== undefined && !Array.isArray(allOf))
        throw malformed(inside(place, "allOf"), "must be a list of schemas");
      if (reference === undefined && allOf === undefined) {
        parts.push(read);
        continue;
      }
      if (assertions(siblings).length > 0 || parts.length === 0) parts.push(siblings);
      open.push(...asList(allOf).toReversed());
      if (reference !== undefined) open.push(targets.resolve(reference, place));
    }
    return parts;
  }

  /** The alternatives, each with what stands beside them. */
  branches(
    keyword: "anyOf" | "oneOf",
    list: readonly unknown[],
    siblings: Schema,
    place: Place,
  ): { readonly branches: readonly (Schema | boolean)[]; readonly areAsWritten: boolean } {
    const { budget, lose } = this.#setting;
    const isAlone = assertions(siblings).length === 0;
    if (keyword === "anyOf" && isAlone) return { branches: [], areAsWritten: true };
    const branches = list.map((branch) => this.merged([siblings, branch], place));
    if (keyword === "anyOf" || areDisjoint(branches, budget)) return { branches, areAsWritten: isAlone };
    const flat = this.#flattened(branches, place);
    if (flat.length > branches.length && areDisjoint(flat, budget)) return { branches: flat, areAsWritten: false };
    const marked = byDiscriminator(flat, budget) ?? byRequired(flat, budget);
    if (marked !== null) return { branches: marked, areAsWritten: false };
    lose(place)(
      "oneOf",
      "its alternatives may hold at once; use anyOf, or tell them apart by a property with a constant",
    );
    return { branches, areAsWritten: isAlone };
  }

  /** With the alternatives of each alternative that has some, as where unions of objects hold each other. */
  #flattened(branches: readonly (Schema | boolean)[], place: Place, depth = 0): readonly (Schema | boolean)[] {
    return branches.flatMap((branch) => {
      const keyword = (["oneOf", "anyOf"] as const).find((one) => typeof branch === "object" && own(branch, one));
      if (keyword === undefined || typeof branch !== "object" || depth >= deepestUnion) return [branch];
      const { [keyword]: inner, ...others } = branch;
      if (!Array.isArray(inner)) return [branch];
      const merged = inner.map((one) => this.merged([others, one], place));
      return this.#flattened(merged, place, depth + 1);
    });
  }

  /** The types that a schema says, as far as that is seen at once; none where it is not. */
  typesIn(schema: unknown, place: Place, way = 0): readonly TypeName[] {
    const { dialect, targets } = this.#setting;
    const read = dialect.read(schema, place);
    if (typeof read === "boolean") return [];
    const [type, reference] = [own(read, "type"), own(read, "$ref")];
    if (type !== undefined) return asList(type).filter(isTypeName);
    if (reference !== undefined && way < longestWay) {
      const target = unlessRefused(["unkeepable"], () => targets.resolve(reference, place));
      return target === null ? [] : this.typesIn(target, place, way + 1);
    }
    const said = assertions(read);
    const isText = said.length > 0 && said.every((keyword) => typeKeywords.string.some((one) => one === keyword));
    return isText ? ["string"] : [];
  }
}
