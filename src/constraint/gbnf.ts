/** @module Grammars in llama.cpp's notation, GBNF. */
import { Budget } from "./budget.ts";
import type { Ranges } from "./character-ranges.ts";
import { type Body, namesIn, readBody } from "./gbnf-reader.ts";
import { checkSize, UnfitGrammar } from "./gbnf-size.ts";
import { type Place, pathOf, unkeepable } from "./place.ts";

const longestName = 40;
/** A longer class of characters is a rule, which all its places share. */
const longestClass = 24;

/** Rules under unique names. What is added counts as work. */
export class Grammar {
  readonly budget: Budget;
  readonly #rules = new Map<string, { readonly body: string; readonly place: Place }>();
  /** The number that a name was last given, where it was taken. */
  readonly #numbers = new Map<string, number>();
  readonly #shared = new Map<string, string>();
  readonly #bodies = new Map<string, string>();
  /** Of rules of schemas: places that they do not keep to. */
  readonly #relaxed = new Map<string, readonly Place[]>();

  constructor(budget: Budget = new Budget()) {
    this.budget = budget;
  }

  /** Adds a rule, and returns the name that it got: the hint, with a number where that is taken. */
  add(hint: string, body: string): string {
    const name = this.reserve(hint);
    this.define(name, body);
    return name;
  }

  /** A name for a rule that is defined later: rules may refer to themselves. */
  reserve(hint: string): string {
    const base = nameOf(hint);
    let name = base;
    let number = this.#numbers.get(base) ?? 1;
    while (this.#rules.has(name) || name === "root") name = `${base}-${++number}`;
    this.#numbers.set(base, number);
    this.define(name, "");
    return name;
  }

  define(name: string, body: string): void {
    this.budget.spend(ruleWork + body.length);
    this.#rules.set(name, { body, place: this.#rules.get(name)?.place ?? this.budget.at });
    this.#lastReached = null;
  }

  /**
   * The gateway's own rule of this name, which is made at its first use. A client's schema may have taken the name:
   * `make` is told what it is.
   */
  shared(name: string, make: (rule: string) => string): string {
    const known = this.#shared.get(name);
    if (known !== undefined) return known;
    const rule = this.reserve(name);
    this.#shared.set(name, rule);
    this.budget.freely(() => this.define(rule, make(rule)));
    return rule;
  }

  /** The rule of this body: what is written twice is one rule. */
  same(hint: string, body: string): string {
    this.budget.spend(body.length);
    const known = this.#bodies.get(body);
    if (known !== undefined) return known;
    const name = this.add(hint, body);
    this.#bodies.set(body, name);
    return name;
  }

  /** One character out of the ranges. */
  oneOf(ranges: Ranges): string {
    this.budget.spend(4 * ranges.length);
    const text = oneOf(ranges);
    return text.length <= longestClass ? text : this.same("class", text);
  }

  /** What the rule does not keep to. */
  relax(rule: string, places: readonly Place[]): void {
    if (places.length > 0) this.#relaxed.set(rule, places);
  }

  /**
   * The whole grammar; its texts are those of `root`. Throws "invalid_request" naming the place of what would be too
   * much for an engine, or would never end in it.
   */
  toGbnf(root: string): string {
    const bodies = this.#reachedFrom(root);
    try {
      checkSize(bodies);
    } catch (error) {
      if (error instanceof UnfitGrammar)
        throw unkeepable(this.#rules.get(error.rule)?.place ?? this.budget.at, error.message);
      throw error;
    }
    return [...bodies.keys()].map((name) => `${name} ::= ${this.#rules.get(name)?.body ?? root}`).join("\n");
  }

  /** Places that a text of `root` may not keep to, each once. */
  relaxedFrom(root: string): string[] {
    const names = [...this.#reachedFrom(root).keys()];
    return [...new Set(names.flatMap((name) => (this.#relaxed.get(name) ?? []).map(pathOf)))];
  }

  #lastReached: { readonly root: string; readonly bodies: ReadonlyMap<string, Body> } | null = null;

  /** "root", and the rules that it needs, in the order in which they were made: what was given up is left out. */
  #reachedFrom(root: string): ReadonlyMap<string, Body> {
    if (this.#lastReached?.root === root) return this.#lastReached.bodies;
    const reached = new Map<string, Body>([["root", readBody(root)]]);
    for (const body of reached.values())
      for (const name of namesIn(body))
        if (!reached.has(name)) reached.set(name, readBody(this.#rules.get(name)?.body ?? ""));
    const made = [...this.#rules.keys()].filter((name) => reached.has(name));
    const bodies = new Map(["root", ...made].map((name) => [name, reached.get(name) as Body]));
    this.#lastReached = { root, bodies };
    return bodies;
  }
}

/** A rule costs an engine more than its text. */
const ruleWork = 60;

function nameOf(hint: string): string {
  const clean = hint.slice(0, 2 * longestName).replace(/[^A-Za-z0-9]+/gu, "-");
  return clean.replace(/^-|-$/gu, "").slice(0, longestName) || "rule";
}

/** A text as it is. */
export function literal(text: string): string {
  return `"${text.replace(special, escapeInLiteral)}"`;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must be escaped
const special = /["\\\u0000-\u001f\u007f]/gu;

function escapeInLiteral(character: string): string {
  if (character === '"' || character === "\\") return `\\${character}`;
  return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
}

/** Beyond this depth texts stand side by side, whatever they begin with. */
const deepestTree = 32;

/**
 * One of the texts, none of which is there twice. What several begin with stands once: an engine follows every
 * alternative that a text may still become, and thousands side by side would take it seconds a token.
 */
export function oneText(texts: readonly string[], depth = 0): string {
  if (texts.length === 1 || depth >= deepestTree) return alternatives(texts.map(literal));
  const groups = new Map<number | undefined, string[]>();
  for (const text of texts) {
    const first = text.codePointAt(0);
    const group = groups.get(first);
    if (group === undefined) groups.set(first, [text]);
    else group.push(text);
  }
  return alternatives([...groups.values()].map((group) => branch(group, depth)));
}

/** Texts of the same first character. */
function branch(texts: readonly string[], depth: number): string {
  if (texts.length === 1) return literal(texts[0] as string);
  const shared = sharedBeginning(texts);
  const rest = texts.map((text) => text.slice(shared.length));
  return `${literal(shared)} ${oneText(rest, depth + 1)}`;
}

function sharedBeginning(texts: readonly string[]): string {
  const [first = "", ...others] = texts;
  let length = first.length;
  for (const other of others) {
    let same = 0;
    while (same < length && other[same] === first[same]) same += 1;
    length = same;
  }
  const isHalf = /[\uD800-\uDBFF]/u.test(first[length - 1] ?? "");
  return first.slice(0, isHalf ? length - 1 : length);
}

function oneOf(ranges: Ranges): string {
  const escaped = (code: number): string =>
    code > 0xffff ? `\\U${code.toString(16).padStart(8, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  return `[${ranges.map(([first, last]) => (first === last ? escaped(first) : `${escaped(first)}-${escaped(last)}`)).join("")}]`;
}

/** `body` so many times; no upper bound: any number from `least` on. */
export function repeat(body: string, least: number, most: number | undefined): string {
  if (least === 1 && most === 1) return body;
  if (most === 0) return "";
  if (least === 0 && most === 1) return `( ${body} )?`;
  if (most === undefined) return least <= 1 ? `( ${body} )${least === 0 ? "*" : "+"}` : `( ${body} ){${least},}`;
  return `( ${body} ){${least},${most}}`;
}

export function alternatives(bodies: readonly string[]): string {
  return bodies.length === 1 ? (bodies[0] as string) : `( ${bodies.join(" | ")} )`;
}
