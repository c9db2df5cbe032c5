/**
 * @module Patterns that operators write and that users' texts are held against. They are RE2's: without looking around
 * and references back, so that matching takes time in proportion to the text, whatever the pattern and whatever the
 * text.
 */
import { RE2JS } from "re2js";
import { messageOf } from "../types/error.ts";

/** Of a text, so many characters are looked at. */
export const matchedCharacters = 4096;
/** Steps of a pattern's program: what each character may cost. `(?:.{0,100}){9}` takes some 900. */
const largestProgram = 1000;
const longestSource = 1000;

export type Pattern = (text: string) => boolean;

/**
 * `most`: characters of a text that it looks at. Throws an `Error` that says what is wrong with the pattern.
 * JavaScript's spellings (`\u00e9`, `(?<name>…)`) are understood.
 */
export function compilePattern(source: string, most = matchedCharacters): Pattern {
  if (source.length > longestSource) throw new Error(`it is longer than ${longestSource} characters`);
  const pattern = RE2JS.compile(RE2JS.translateRegExp(source));
  const steps = pattern.programSize();
  if (steps > largestProgram) throw new Error(`its repetitions take ${steps} steps, of ${largestProgram} at most`);
  return (text) => pattern.test(text.slice(0, most));
}

/** What is wrong with a pattern; null: nothing. */
export function problemWith(source: string): string | null {
  try {
    compilePattern(source);
    return null;
  } catch (error) {
    return messageOf(error);
  }
}
