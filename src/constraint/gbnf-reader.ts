/** @module The bodies of rules in GBNF, read as far as their size and their beginnings go. */

export type Body =
  /** So many characters, and which, as they are written; or one of a class, written with so many ranges. */
  | { readonly type: "text"; readonly elements: number; readonly text: string | null }
  | { readonly type: "rule"; readonly name: string }
  | { readonly type: "sequence"; readonly parts: readonly Body[] }
  | { readonly type: "choice"; readonly parts: readonly Body[] }
  | { readonly type: "repeat"; readonly body: Body; readonly least: number; readonly most: number };

const name = /[\w-]+/uy;
const bounds = /\{(\d+)(,?)(\d*)\}/uy;
/** A text, or a class: up to its end, with what is escaped in it. */
const text = /"(?:[^"\\]|\\.)*"/suy;
const characterClass = /\[(?:[^\]\\]|\\.)*\]/suy;

/** Reads what `gbnf.ts` and `client-grammar.ts` write. */
export function readBody(source: string): Body {
  return new BodyReader(source).read();
}

/** The rules that a body names. */
export function namesIn(body: Body, names: string[] = []): string[] {
  if (body.type === "rule") names.push(body.name);
  else if (body.type === "repeat") namesIn(body.body, names);
  else if (body.type !== "text") for (const part of body.parts) namesIn(part, names);
  return names;
}

class BodyReader {
  readonly #source: string;
  #at = 0;

  constructor(source: string) {
    this.#source = source;
  }

  read(): Body {
    const body = this.#choice();
    if (this.#at < this.#source.length) throw new Error(`Not GBNF: ${this.#source.slice(this.#at, this.#at + 20)}`);
    return body;
  }

  #choice(): Body {
    const parts = [this.#sequence()];
    while (this.#skip("|")) parts.push(this.#sequence());
    return parts.length === 1 ? (parts[0] as Body) : { type: "choice", parts };
  }

  #sequence(): Body {
    const parts: Body[] = [];
    for (this.#space(); this.#at < this.#source.length && !"|)".includes(this.#peek()); this.#space())
      parts.push(this.#repeated());
    return parts.length === 1 ? (parts[0] as Body) : { type: "sequence", parts };
  }

  #repeated(): Body {
    const body = this.#item();
    if (this.#skip("*")) return { type: "repeat", body, least: 0, most: Number.POSITIVE_INFINITY };
    if (this.#skip("+")) return { type: "repeat", body, least: 1, most: Number.POSITIVE_INFINITY };
    if (this.#skip("?")) return { type: "repeat", body, least: 0, most: 1 };
    if (this.#peek() !== "{") return body;
    const [, least, comma, most] = this.#take(bounds);
    const last = comma === "" ? Number(least) : most === "" ? Number.POSITIVE_INFINITY : Number(most);
    return { type: "repeat", body, least: Number(least), most: last };
  }

  #item(): Body {
    if (this.#skip("(")) {
      const body = this.#choice();
      if (!this.#skip(")")) throw new Error("Not GBNF: a parenthesis is open");
      return body;
    }
    if (this.#skip(".")) return { type: "text", elements: 1, text: null };
    const first = this.#peek();
    if (first === '"') {
      const written = this.#take(text)[0].slice(1, -1);
      return { type: "text", elements: written.length, text: written };
    }
    if (first === "[")
      return { type: "text", elements: Math.max(1, this.#take(characterClass)[0].length / 6), text: null };
    return { type: "rule", name: this.#take(name)[0] };
  }

  #take(pattern: RegExp): RegExpExecArray {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#source);
    if (match === null) throw new Error(`Not GBNF: ${this.#source.slice(this.#at, this.#at + 20)}`);
    this.#at = pattern.lastIndex;
    return match;
  }

  #space(): void {
    while (this.#peek() === " ") this.#at += 1;
  }

  #peek(): string {
    return this.#source[this.#at] ?? "";
  }

  #skip(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#at += 1;
    return true;
  }
}
