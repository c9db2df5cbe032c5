/**
 * @module Draws random texts from a grammar in GBNF. Repetitions are short, and past a depth the alternatives are taken
 * that need the fewest rules.
 */

type Node =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "class"; readonly ranges: readonly (readonly [number, number])[] }
  | { readonly type: "rule"; readonly name: string }
  | { readonly type: "sequence"; readonly nodes: readonly Node[] }
  | { readonly type: "choice"; readonly nodes: readonly Node[] }
  | { readonly type: "repeat"; readonly node: Node; readonly least: number; readonly most: number };

/** Past so many rules in each other, texts come to an end. */
const deepest = 12;

export class GbnfSampler {
  readonly #rules = new Map<string, Node>();
  /** So many rules stand in each other at least, in a text of the rule. */
  readonly #heights = new Map<string, number>();
  readonly #random: () => number;

  constructor(gbnf: string, random: () => number) {
    this.#random = random;
    for (const line of gbnf.split("\n")) {
      const [, name, body] = /^([\w-]+) ::= (.*)$/su.exec(line) ?? [];
      if (name === undefined || body === undefined) throw new Error(`Not a rule: ${line}`);
      this.#rules.set(name, new BodyReader(body).read());
    }
    for (let isChanged = true; isChanged; ) {
      isChanged = false;
      for (const [name, body] of this.#rules) {
        const height = 1 + this.#heightOf(body);
        isChanged ||= height < (this.#heights.get(name) ?? Number.POSITIVE_INFINITY);
        this.#heights.set(name, height);
      }
    }
  }

  draw(): string {
    return this.#draw({ type: "rule", name: "root" }, 0);
  }

  #draw(node: Node, depth: number): string {
    switch (node.type) {
      case "text":
        return node.text;
      case "class":
        return this.#character(node.ranges);
      case "rule": {
        const body = this.#rules.get(node.name);
        if (body === undefined) throw new Error(`No rule ${node.name}`);
        return this.#draw(body, depth + 1);
      }
      case "sequence":
        return node.nodes.map((inner) => this.#draw(inner, depth)).join("");
      case "choice": {
        const nodes = depth > deepest ? this.#lowest(node.nodes) : node.nodes;
        return this.#draw(nodes[Math.floor(this.#random() * nodes.length)] as Node, depth);
      }
      case "repeat": {
        const most = Math.min(node.most, node.least + (depth > deepest ? 0 : 4));
        const times = node.least + Math.floor(this.#random() * (most - node.least + 1));
        return Array.from({ length: times }, () => this.#draw(node.node, depth)).join("");
      }
    }
  }

  #lowest(nodes: readonly Node[]): readonly Node[] {
    const heights = nodes.map((node) => this.#heightOf(node));
    const least = Math.min(...heights);
    return nodes.filter((_, i) => heights[i] === least);
  }

  #heightOf(node: Node): number {
    switch (node.type) {
      case "text":
      case "class":
        return 0;
      case "rule":
        return this.#heights.get(node.name) ?? Number.POSITIVE_INFINITY;
      case "sequence":
        return Math.max(0, ...node.nodes.map((inner) => this.#heightOf(inner)));
      case "choice":
        return Math.min(...node.nodes.map((inner) => this.#heightOf(inner)));
      case "repeat":
        return node.least === 0 ? 0 : this.#heightOf(node.node);
    }
  }

  /** The ends of a range more often than what lies between. */
  #character(ranges: readonly (readonly [number, number])[]): string {
    const [first, last] = ranges[Math.floor(this.#random() * ranges.length)] as readonly [number, number];
    const draw = this.#random();
    const code =
      draw < 0.1
        ? first
        : draw < 0.2
          ? last
          : first + Math.floor(this.#random() * (Math.min(last, first + 90) - first + 1));
    return String.fromCodePoint(code);
  }
}

class BodyReader {
  readonly #characters: readonly string[];
  #at = 0;

  constructor(body: string) {
    this.#characters = Array.from(body);
  }

  read(): Node {
    const node = this.#choice();
    if (this.#at < this.#characters.length) throw new Error(`Unread: ${this.#characters.slice(this.#at).join("")}`);
    return node;
  }

  #choice(): Node {
    const nodes = [this.#sequence()];
    while (this.#skip("|")) nodes.push(this.#sequence());
    return nodes.length === 1 ? (nodes[0] as Node) : { type: "choice", nodes };
  }

  #sequence(): Node {
    const nodes: Node[] = [];
    for (this.#space(); this.#at < this.#characters.length && !"|)".includes(this.#peek()); this.#space())
      nodes.push(this.#repeated());
    return { type: "sequence", nodes };
  }

  #repeated(): Node {
    const node = this.#item();
    if (this.#skip("*")) return { type: "repeat", node, least: 0, most: Number.POSITIVE_INFINITY };
    if (this.#skip("+")) return { type: "repeat", node, least: 1, most: Number.POSITIVE_INFINITY };
    if (this.#skip("?")) return { type: "repeat", node, least: 0, most: 1 };
    if (!this.#skip("{")) return node;
    let bounds = "";
    while (!this.#skip("}")) bounds += this.#next();
    const [least = "", most] = bounds.split(",");
    return {
      type: "repeat",
      node,
      least: Number(least),
      most: most === undefined ? Number(least) : most === "" ? Number.POSITIVE_INFINITY : Number(most),
    };
  }

  #item(): Node {
    if (this.#skip("(")) {
      const node = this.#choice();
      if (!this.#skip(")")) throw new Error("A parenthesis is open");
      return node;
    }
    if (this.#skip('"')) {
      let text = "";
      while (!this.#skip('"')) text += this.#character();
      return { type: "text", text };
    }
    if (this.#skip("[")) return this.#class();
    let name = "";
    while (/[\w-]/u.test(this.#peek())) name += this.#next();
    if (name === "") throw new Error(`Unexpected ${this.#peek()}`);
    return { type: "rule", name };
  }

  #class(): Node {
    if (this.#peek() === "^") throw new Error("Negated classes are not read here");
    const ranges: [number, number][] = [];
    while (!this.#skip("]")) {
      const first = this.#character().codePointAt(0) as number;
      ranges.push([first, this.#skip("-") ? (this.#character().codePointAt(0) as number) : first]);
    }
    return { type: "class", ranges };
  }

  #character(): string {
    const character = this.#next();
    if (character !== "\\") return character;
    const kind = this.#next();
    const length = { x: 2, u: 4, U: 8 }[kind];
    if (length === undefined) return kind === "n" ? "\n" : kind;
    let digits = "";
    for (let i = 0; i < length; i++) digits += this.#next();
    return String.fromCodePoint(Number.parseInt(digits, 16));
  }

  #space(): void {
    while (this.#skip(" "));
  }

  #peek(): string {
    return this.#characters[this.#at] ?? "";
  }

  #next(): string {
    return this.#characters[this.#at++] ?? "";
  }

  #skip(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#at += 1;
    return true;
  }
}
