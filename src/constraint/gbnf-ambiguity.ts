/**
 * @module Alternatives that begin alike and hold each other. While a text may still be either, an engine follows both,
 * in each of them both again, and so on: with each level of the text there are so many times more.
 */
import { type Body, namesIn } from "./gbnf-reader.ts";

type Bodies = ReadonlyMap<string, Body>;

/**
 * Alternatives that begin alike and come back to themselves. One token may open many lists, but few objects: what is
 * left of the danger there is for the engine to see, as it comes.
 */
const mostLists = 2;
const mostOthers = 12;
/** Alternatives that begin alike, in each other, where none comes back to itself. */
const mostTogether = 600;
/** Characters of a beginning. */
const longestBeginning = 200;

/** The first rule with too many of them; null where there is none. No rule may begin with itself. */
export function ambiguousRule(bodies: Bodies): string | null {
  const { order, groups } = components(bodies);
  const look = new Look(bodies, groups);
  return order.find((rule) => look.widthOfRule(rule) > mostTogether) ?? null;
}

/** The text that a body begins with, as far as there is only one; whether that is all of it. */
interface Lead {
  readonly text: string;
  readonly isWhole: boolean;
}

interface Alternative {
  readonly text: string;
  readonly width: number;
  /** It leads to where it stands. */
  readonly returns: boolean;
}

/**
 * How many alternatives of a rule, and of those in it, a text can be at once: those that begin alike count together.
 */
class Look {
  readonly #bodies: Bodies;
  /** Rules of one number lead to each other. */
  readonly #groups: ReadonlyMap<string, number>;
  readonly #leads = new Map<string, Lead>();
  readonly #widths = new Map<string, number>();
  /** Alternatives of others, with which they are counted. */
  readonly #inner = new Set<string>();

  constructor(bodies: Bodies, groups: ReadonlyMap<string, number>) {
    this.#bodies = bodies;
    this.#groups = groups;
    for (const [rule, body] of bodies)
      if (body.type === "choice")
        for (const part of body.parts) this.#followed(part, rule, (name) => this.#inner.add(name));
  }

  /** What a rule that comes back to this one stands for, where it is no more than another's name. */
  #followed(body: Body, rule: string, tell: (name: string) => void = () => {}): Body {
    let at = body;
    while (at.type === "rule" && this.#returns(at, rule)) {
      tell(at.name);
      at = this.#bodies.get(at.name) as Body;
    }
    return at;
  }

  /** To be asked in the order of `components`. Infinity: too many come back to where they stand. */
  widthOfRule(rule: string): number {
    const width = this.#widthOf(this.#bodies.get(rule) as Body, rule);
    this.#widths.set(rule, width);
    return width;
  }

  #widthOf(body: Body, rule: string): number {
    switch (body.type) {
      case "text":
        return 1;
      case "rule":
        return this.#widths.get(body.name) ?? 1; // one that comes back to this has no width yet
      case "repeat":
        return this.#widthOf(body.body, rule);
      case "sequence":
        return body.parts.reduce((width, part) => Math.max(width, this.#widthOf(part, rule)), 1);
      case "choice":
        return widest(body.parts.flatMap((part) => this.#alternatives(part, rule)));
    }
  }

  /** One, or those of a rule that comes back to this one and is a choice itself. */
  #alternatives(body: Body, rule: string): Alternative[] {
    const inner = this.#followed(body, rule);
    if (inner.type === "choice" && !this.#inner.has(rule))
      return inner.parts.flatMap((part) => this.#alternatives(part, rule));
    return [{ text: this.#leadOf(body).text, width: this.#widthOf(body, rule), returns: this.#returns(body, rule) }];
  }

  #returns(body: Body, rule: string): boolean {
    if (body.type === "rule") return this.#groups.get(body.name) === this.#groups.get(rule);
    if (body.type === "repeat") return this.#returns(body.body, rule);
    return body.type !== "text" && body.parts.some((part) => this.#returns(part, rule));
  }

  #leadOf(body: Body): Lead {
    switch (body.type) {
      case "text":
        return {
          text: body.text?.slice(0, longestBeginning) ?? "",
          isWhole: body.text !== null && body.elements <= longestBeginning,
        };
      case "rule":
        return this.#leadOfRule(body.name);
      case "sequence": {
        let text = "";
        for (const part of body.parts) {
          const lead = this.#leadOf(part);
          text += lead.text;
          if (!lead.isWhole || text.length > longestBeginning) return { text, isWhole: false };
        }
        return { text, isWhole: true };
      }
      case "choice":
      case "repeat":
        return { text: "", isWhole: false };
    }
  }

  #leadOfRule(name: string): Lead {
    const known = this.#leads.get(name);
    if (known !== undefined) return known;
    // Meanwhile, and where it comes back to itself.
    this.#leads.set(name, { text: "", isWhole: false });
    const lead = this.#leadOf(this.#bodies.get(name) as Body);
    this.#leads.set(name, lead);
    return lead;
  }
}

/**
 * Of alternatives with the same beginning, as many as there are in all of them. Infinity: too many come back to where
 * they stand.
 */
function widest(alternatives: readonly Alternative[]): number {
  const sorted = alternatives.toSorted((a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : 0));
  /** Each begins with the text of the one before it. */
  const open: Alternative[] = [];
  let [most, width, returning] = [1, 0, 0];
  for (const alternative of sorted) {
    const { text } = alternative;
    width = text !== "" && open.at(-1)?.text === text ? width + alternative.width : alternative.width;
    most = Math.max(most, width);
    for (let last = open.at(-1); last !== undefined && !text.startsWith(last.text); last = open.at(-1)) {
      returning -= last.returns ? 1 : 0;
      open.pop();
    }
    open.push(alternative);
    returning += alternative.returns ? 1 : 0;
    if (returning > (text.startsWith("[") ? mostLists : mostOthers)) return Number.POSITIVE_INFINITY;
  }
  return most;
}

/**
 * The rules, each after those that it leads to unless they lead back; those that lead to each other have a number in
 * common (Tarjan).
 */
function components(bodies: Bodies): {
  readonly order: readonly string[];
  readonly groups: ReadonlyMap<string, number>;
} {
  const order: string[] = [];
  const groups = new Map<string, number>();
  const indices = new Map<string, number>();
  const lowest = new Map<string, number>();
  const waiting: string[] = [];
  for (const start of bodies.keys()) {
    if (indices.has(start)) continue;
    const path: { name: string; next: Iterator<string> }[] = [];
    const enter = (name: string): void => {
      lowest.set(name, indices.size);
      indices.set(name, indices.size);
      waiting.push(name);
      path.push({ name, next: namesIn(bodies.get(name) as Body).values() });
    };
    enter(start);
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const { name, next } = top;
      const { value: inner, done } = next.next();
      const low = lowest.get(name) as number;
      if (!done) {
        if (!indices.has(inner)) enter(inner);
        else if (!groups.has(inner)) lowest.set(name, Math.min(low, indices.get(inner) as number));
        continue;
      }
      path.pop();
      const outer = path.at(-1)?.name;
      if (outer !== undefined) lowest.set(outer, Math.min(lowest.get(outer) as number, low));
      if (low !== indices.get(name)) continue;
      for (let member = waiting.pop(); member !== undefined; member = member === name ? undefined : waiting.pop()) {
        groups.set(member, low);
        order.push(member);
      }
    }
  }
  return { order, groups };
}
