/** @module Grammars in llama.cpp's notation, GBNF. */

const longestName = 40;

/** Rules under unique names. */
export class Grammar {
  readonly #rules = new Map<string, string>();

  /** Adds a rule, and returns the name that it got: the hint, with a number where that is taken. */
  add(hint: string, body: string): string {
    const name = this.reserve(hint);
    this.define(name, body);
    return name;
  }

  /** A name for a rule that is defined later: rules may refer to themselves. */
  reserve(hint: string): string {
    const base =
      hint
        .replace(/[^A-Za-z0-9]+/gu, "-")
        .replace(/^-|-$/gu, "")
        .slice(0, longestName) || "rule";
    let name = base;
    for (let number = 2; this.#rules.has(name) || name === "root"; number++) name = `${base}-${number}`;
    this.#rules.set(name, "");
    return name;
  }

  define(name: string, body: string): void {
    this.#rules.set(name, body);
  }

  /** The rule of this name, which is made at its first use. */
  shared(name: string, make: () => string): string {
    if (this.#rules.has(name)) return name;
    this.#rules.set(name, "");
    this.define(name, make());
    return name;
  }

  get size(): number {
    return this.#rules.size;
  }

  /** The whole grammar; its texts are those of `root`. */
  toGbnf(root: string): string {
    return [`root ::= ${root}`, ...[...this.#rules].map(([name, body]) => `${name} ::= ${body}`)].join("\n");
  }
}

/** A text as it is. */
export function literal(text: string): string {
  return `"${Array.from(text, escapeInLiteral).join("")}"`;
}

function escapeInLiteral(character: string): string {
  if (character === '"' || character === "\\") return `\\${character}`;
  const code = character.codePointAt(0) as number;
  return code < 0x20 || code === 0x7f ? `\\x${code.toString(16).padStart(2, "0")}` : character;
}

/** Code points from the first to the last of each pair, in order, none of them twice. */
export type Ranges = readonly (readonly [first: number, last: number])[];

/** One character out of the ranges. */
export function oneOf(ranges: Ranges): string {
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
