/**
 * @module Deterministic automata over characters, and grammars of them: what several things ask of a text at once is
 * taken by one automaton. A grammar of it has a rule for each state, so that an engine follows one way at a time.
 */
import type { Budget } from "./budget.ts";
import { everything, intersect, type Ranges, union } from "./character-ranges.ts";
import { alternatives, type Grammar } from "./gbnf.ts";

/** Characters that lead to a state. */
export interface Step<State> {
  readonly ranges: Ranges;
  readonly to: State;
}

export interface Automaton<State> {
  readonly start: State;
  /** Two states of one key are the same. */
  readonly key: (state: State) => string;
  /** No character leads to two states. */
  readonly steps: (state: State) => readonly Step<State>[];
  /** Whether a text may end here. */
  readonly accepts: (state: State) => boolean;
}

/** It has more states than a grammar may be made of. */
export class LargeAutomaton extends Error {}

const mostStates = 2_000;
/** Of work. */
const stateWork = 60;
const stepWork = 20;

/** Takes the texts that both take. */
export function bothOf<A, B>(a: Automaton<A>, b: Automaton<B>): Automaton<readonly [A, B]> {
  return {
    start: [a.start, b.start],
    key: ([x, y]) => `${a.key(x)};${b.key(y)}`,
    steps: ([x, y]) => {
      const others = b.steps(y);
      return a.steps(x).flatMap((one) =>
        others.flatMap((other) => {
          const ranges = intersect(one.ranges, other.ranges);
          return ranges.length === 0 ? [] : [{ ranges, to: [one.to, other.to] as const }];
        }),
      );
    },
    accepts: ([x, y]) => a.accepts(x) && b.accepts(y),
  };
}

/** Takes all texts of so many characters, both ends included. */
export function ofLength(least: number, most: number): Automaton<number> {
  const isOpen = !Number.isFinite(most);
  return {
    start: 0,
    key: String,
    steps: (length) =>
      isOpen
        ? [{ ranges: everything, to: Math.min(length + 1, least) }]
        : length < most
          ? [{ ranges: everything, to: length + 1 }]
          : [],
    accepts: (length) => length >= least,
  };
}

/**
 * GBNF of the texts that it takes; null where there are none. `write`: one character out of ranges, as a rule's body.
 * Throws LargeAutomaton.
 */
export function automatonGrammar<State>(
  grammar: Grammar,
  automaton: Automaton<State>,
  write: (grammar: Grammar, ranges: Ranges) => string,
): string | null {
  const { key, steps, accepts, start } = explored(automaton, grammar.budget);
  const names = new Map<string, string>();
  const open = new Set<string>();
  /** "": nothing can follow. */
  const ruleOf = (state: State): string => {
    const at = key(state);
    const known = names.get(at);
    if (known !== undefined) return known;
    if (open.has(at)) {
      const name = grammar.reserve("state");
      names.set(at, name);
      return name;
    }
    open.add(at);
    const ways = new Map<string, Ranges>();
    for (const { ranges, to } of steps(state)) {
      const name = ruleOf(to);
      ways.set(name, union([...(ways.get(name) ?? []), ...ranges]));
    }
    open.delete(at);
    const bodies = [...ways].map(([name, ranges]) => `${write(grammar, ranges)} ${name}`.trim());
    const body = alternatives([...bodies, ...(accepts(state) ? ['""'] : [])]);
    // States that go on alike are one rule, and those that lead back to themselves have a name already.
    const reserved = names.get(at);
    if (reserved !== undefined) grammar.define(reserved, body);
    const name = reserved ?? (ways.size === 0 ? "" : grammar.same("state", body));
    names.set(at, name);
    return name;
  };
  if (steps(start).length === 0) return accepts(start) ? '""' : null;
  return ruleOf(start);
}

/** The same, whose steps all lead to an end. Throws LargeAutomaton. */
function explored<State>({ start, key, steps, accepts }: Automaton<State>, budget: Budget): Automaton<State> {
  const states = new Map<string, State>([[key(start), start]]);
  const ways = new Map<string, readonly Step<State>[]>();
  const sources = new Map<string, string[]>();
  for (const [at, state] of states) {
    if (states.size > mostStates) throw new LargeAutomaton();
    const taken = steps(state);
    budget.spend(stateWork + stepWork * taken.length);
    ways.set(at, taken);
    for (const { to } of taken) {
      const next = key(to);
      states.set(next, states.get(next) ?? to);
      sources.set(next, [...(sources.get(next) ?? []), at]);
    }
  }
  const alive = new Set([...states].flatMap(([at, state]) => (accepts(state) ? [at] : [])));
  for (const at of alive) for (const source of sources.get(at) ?? []) alive.add(source);
  const lead = (state: State): readonly Step<State>[] =>
    (ways.get(key(state)) ?? []).filter(({ to }) => alive.has(key(to)));
  return { start, key, steps: lead, accepts };
}
