/** @module Whether texts match a client's patterns. They are RE2's: time in proportion to the text, whatever they are. */
import { RE2JS } from "re2js";
import type { Budget } from "./budget.ts";
import { splitLookaheads } from "./pattern-lookahead.ts";

const longestSource = 2_000;
/** Steps of a pattern's program: what each character may cost. */
const largestProgram = 1_000;
/** Of work, for each character of a pattern, and for each step at each character of a text. */
const compileWork = 200;
const stepWork = 0.5;

type Matcher = (text: string) => boolean;

export class PatternCheck {
  readonly #budget: Budget;
  readonly #matchers = new Map<string, Matcher | null>();

  constructor(budget: Budget) {
    this.#budget = budget;
  }

  /** Null: RE2 does not know the pattern, or it is too large. Throws "invalid_request" where that would take too much. */
  matches(pattern: string, text: string): boolean | null {
    const matcher = this.#matcherOf(pattern);
    return matcher === null ? null : matcher(text);
  }

  #matcherOf(pattern: string): Matcher | null {
    const known = this.#matchers.get(pattern);
    if (known !== undefined) return known;
    const matcher = this.#compile(pattern) ?? this.#conjunction(pattern);
    this.#matchers.set(pattern, matcher);
    return matcher;
  }

  /** Of a pattern that looks ahead from where it begins. */
  #conjunction(pattern: string): Matcher | null {
    const split = splitLookaheads(pattern);
    const rest = split && this.#compile(split.rest);
    if (!split || !rest) return null;
    const ahead = split.ahead.map(({ source, isNegative }) => ({ matcher: this.#compile(source), isNegative }));
    if (ahead.some(({ matcher }) => matcher === null)) return null;
    return (text) => rest(text) && ahead.every(({ matcher, isNegative }) => matcher?.(text) !== isNegative);
  }

  #compile(source: string): Matcher | null {
    if (source.length > longestSource) return null;
    this.#budget.spend(compileWork * source.length);
    try {
      const pattern = RE2JS.compile(RE2JS.translateRegExp(source));
      const steps = pattern.programSize();
      this.#budget.spend(steps);
      if (steps > largestProgram) return null;
      return (text) => {
        this.#budget.spend(stepWork * steps * (text.length + 1));
        return pattern.test(text);
      };
    } catch (error) {
      if (isRe2s(error)) return null;
      throw error;
    }
  }
}

/** What RE2 says of a pattern that it does not know. */
function isRe2s(error: unknown): boolean {
  return error instanceof Error && error.name.startsWith("RE2JS");
}
