/**
 * @module How large a grammar becomes in an engine, and how many ways there are to go on in it. llama.cpp writes
 * repetitions out, looks for left recursion along every path, and holds each token against every alternative that the
 * text may still become. It looks for neither bound itself.
 */
import { ambiguousRule } from "./gbnf-ambiguity.ts";
import type { Body } from "./gbnf-reader.ts";

/** What is in the way of a grammar: the rule, and why. */
export class UnfitGrammar extends Error {
  readonly rule: string;

  constructor(rule: string, reason: string) {
    super(reason);
    this.rule = rule;
  }
}

/**
 * Elements of rules, once repetitions are written out. Each takes an engine about 100 bytes, and half a microsecond,
 * for every candidate.
 */
const mostElements = 100_000;
/** Alternatives at one place. */
const mostAlternatives = 600;
/** Steps that lead to them, from one rule and from all. */
const mostSteps = 4_000;
const mostStepsOfAll = 3_000_000;
/** Rules that begin with each other. */
const longestChain = 620;

/** What a body may begin with. */
interface Beginning {
  readonly isEmpty: boolean;
  readonly alternatives: number;
  readonly steps: number;
}

/** Throws UnfitGrammar. */
export function checkSize(bodies: ReadonlyMap<string, Body>): void {
  let elements = 0;
  for (const [name, body] of bodies) {
    elements += 2 + elementsOf(body);
    if (elements > mostElements)
      throw new UnfitGrammar(
        name,
        "written out, its repetitions and constants are too long; lower its bounds (minLength, maxItems, {m,n})",
      );
  }
  const beginnings = new Beginnings(bodies);
  let steps = 0;
  for (const name of bodies.keys()) {
    steps += beginnings.of(name).steps;
    if (steps > mostStepsOfAll) throw new UnfitGrammar(name, tooMany);
  }
  for (const [name, body] of bodies) beginnings.check(body, name);
  const rule = ambiguousRule(bodies);
  if (rule !== null)
    throw new UnfitGrammar(
      rule,
      "its alternatives begin alike and hold each other; let what they begin with tell them apart",
    );
}

const tooMany = "an answer could go on in too many ways at one place; use fewer alternatives and optional properties";

/** As llama.cpp writes a body out. What may follow a number of times is a rule for each time. */
function elementsOf(body: Body): number {
  switch (body.type) {
    case "text":
      return body.elements;
    case "rule":
      return 1;
    case "sequence":
    case "choice":
      return body.parts.reduce((sum, part) => sum + 1 + elementsOf(part), 0);
    case "repeat": {
      const { least, most } = body;
      const optional = Number.isFinite(most) ? most - least : 1;
      return elementsOf(body.body) + least + 4 * optional;
    }
  }
}

/** What each rule may begin with. */
class Beginnings {
  readonly #bodies: ReadonlyMap<string, Body>;
  /** Null: being looked at. */
  readonly #known = new Map<string, Beginning | null>();

  constructor(bodies: ReadonlyMap<string, Body>) {
    this.#bodies = bodies;
  }

  of(name: string, depth = 0): Beginning {
    const known = this.#known.get(name);
    if (known === null)
      throw new UnfitGrammar(name, "it holds itself with nothing before it; put an object or an array around it");
    if (known !== undefined) return known;
    if (depth > longestChain) throw new UnfitGrammar(name, tooMany);
    this.#known.set(name, null);
    const body = this.#bodies.get(name);
    if (body === undefined) throw new Error(`No rule ${name}`);
    const beginning = limited(this.#beginning(body, name, depth), name);
    this.#known.set(name, beginning);
    return beginning;
  }

  /** Looks at every place in a rule, once the beginnings of all rules are known. Returns that of the body. */
  check(body: Body, rule: string): Beginning {
    switch (body.type) {
      case "text":
      case "rule":
        return this.#beginning(body, rule, 0);
      case "choice":
        return either(body.parts.map((part) => this.check(part, rule)));
      case "repeat":
        return repeated(body, this.check(body.body, rule), rule);
      case "sequence":
        return body.parts.toReversed().reduce((after: Beginning, part) => {
          const beginning = this.check(part, rule);
          // What has been repeated once may be repeated again, or be over.
          const then = limited(added([beginning, after]), rule);
          return beginning.isEmpty ? { ...then, isEmpty: after.isEmpty } : beginning;
        }, nothing);
    }
  }

  #beginning(body: Body, rule: string, depth: number): Beginning {
    switch (body.type) {
      case "text":
        return { isEmpty: body.elements === 0, alternatives: 1, steps: 1 };
      case "rule": {
        const { isEmpty, alternatives, steps } = this.of(body.name, depth + 1);
        return { isEmpty, alternatives, steps: steps + 1 };
      }
      case "sequence": {
        const leading: Beginning[] = [];
        for (const part of body.parts) {
          const beginning = this.#beginning(part, rule, depth);
          leading.push(beginning);
          if (!beginning.isEmpty) return { ...added(leading), isEmpty: false };
        }
        return { ...added(leading), isEmpty: true };
      }
      case "choice":
        return either(body.parts.map((part) => this.#beginning(part, rule, depth)));
      case "repeat":
        return repeated(body, this.#beginning(body.body, rule, depth), rule);
    }
  }
}

const nothing: Beginning = { isEmpty: true, alternatives: 0, steps: 0 };

function either(parts: readonly Beginning[]): Beginning {
  return { ...added(parts), isEmpty: parts.some(({ isEmpty }) => isEmpty) };
}

function repeated({ least, most }: Extract<Body, { type: "repeat" }>, once: Beginning, rule: string): Beginning {
  if (!once.isEmpty) return { ...added([once]), isEmpty: least === 0 };
  if (!Number.isFinite(most))
    throw new UnfitGrammar(
      rule,
      "what is repeated without end in its pattern may be empty; take '*' or '?' from what stands in it",
    );
  return { isEmpty: true, alternatives: most * once.alternatives, steps: most * (once.steps + 1) };
}

function limited(beginning: Beginning, rule: string): Beginning {
  if (beginning.alternatives > mostAlternatives || beginning.steps > mostSteps) throw new UnfitGrammar(rule, tooMany);
  return beginning;
}

function added(parts: readonly Beginning[]): Beginning {
  let [alternatives, steps] = [0, 1];
  for (const part of parts) {
    alternatives += part.alternatives;
    steps += part.steps;
  }
  return { alternatives, steps, isEmpty: false };
}
