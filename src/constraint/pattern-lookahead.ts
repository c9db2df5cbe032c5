/**
 * @module Patterns that look ahead from where they begin, as `^(?=.*[0-9])(?!admin).+$` does: they are several patterns,
 * all of which must match, or not, from the beginning.
 */

export interface Conjunction {
  /** Matches once the looks ahead are left out. */
  readonly rest: string;
  readonly ahead: readonly { readonly source: string; readonly isNegative: boolean }[];
}

/** Null where the pattern does not begin with looking ahead, or is more than what follows that. */
export function splitLookaheads(pattern: string): Conjunction | null {
  if (!/^\^\(\?[=!]/u.test(pattern)) return null;
  const ahead: { source: string; isNegative: boolean }[] = [];
  let at = 1;
  while (pattern.startsWith("(?=", at) || pattern.startsWith("(?!", at)) {
    const end = endOfGroup(pattern, at);
    if (end < 0) return null;
    ahead.push({ source: `^(?:${pattern.slice(at + 3, end)})`, isNegative: pattern[at + 2] === "!" });
    at = end + 1;
  }
  // What follows a group may say how often it stands there.
  if (/[*+?{]/u.test(pattern[at] ?? "") || hasAlternatives(pattern, at)) return null;
  return { rest: `^${pattern.slice(at)}`, ahead };
}

/** Of the group that begins at `start`: its closing parenthesis; −1 where there is none. */
function endOfGroup(pattern: string, start: number): number {
  return scan(pattern, start, (character, depth) => character === ")" && depth === 0);
}

function hasAlternatives(pattern: string, start: number): boolean {
  return scan(pattern, start, (character, depth) => character === "|" && depth === 0) >= 0;
}

/** Where a character outside of classes is what is looked for. `depth`: groups that stand around it. */
function scan(pattern: string, start: number, isFound: (character: string, depth: number) => boolean): number {
  let [depth, inClass] = [0, false];
  for (let i = start; i < pattern.length; i++) {
    const character = pattern[i] as string;
    if (character === "\\") i += 1;
    else if (inClass) inClass = character !== "]";
    else if (character === "[") inClass = true;
    else {
      if (character === ")") depth -= 1;
      if (isFound(character, depth)) return i;
      if (character === "(") depth += 1;
    }
  }
  return -1;
}
