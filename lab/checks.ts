/** @module Rules that an answer's text is held against: the share of them that it passes is its reward. */
import { isDeepStrictEqual } from "node:util";
import { type Conversation, compilePattern } from "icdpo-gateway/laboratory";
import type { Check } from "./checked-prompts.ts";
import { languageOf } from "./language.ts";
import { isAnsweredBy } from "./short-answer.ts";
import { comparable, holds } from "./word-match.ts";

/**
 * In [0, 1]: how many of the checks the answer passes, of all. An empty answer passes none, though it lacks whatever it
 * may lack.
 */
export function shareOfChecks(checks: readonly Check[], answer: string, conversation: Conversation): number {
  if (answer.trim() === "") return 0;
  return checks.filter((check) => passes(check, answer, conversation)).length / checks.length;
}

export function passes(check: Check, answer: string, conversation: Conversation): boolean {
  const text = answer.trim();
  switch (check.type) {
    case "words":
    case "sentences":
    case "bullets":
    case "lines":
    case "paragraphs": {
      const count = counts[check.type](text);
      return count >= (check.min ?? 0) && count <= (check.max ?? Number.POSITIVE_INFINITY);
    }
    case "contains":
      return (
        (check.any?.some((part) => holds(text, part, check.word)) ?? true) &&
        (check.all?.every((part) => holds(text, part, check.word)) ?? true)
      );
    case "lacks":
      return !check.any.some((part) => holds(text, part, check.word));
    case "matches":
      return matcher(check.pattern)(text);
    case "lacks-match":
      return !matcher(check.pattern)(text);
    case "starts":
      return comparable(text).startsWith(comparable(check.with).trim());
    case "ends":
      return comparable(text).endsWith(comparable(check.with).trim());
    case "language":
      return languageOf(text) === check.is;
    case "json":
      return isAskedJson(text, check);
    case "case":
      return isInCase(text, check.is);
    case "answer":
      return isAnsweredBy(text, check.is, askedIn(conversation));
  }
}

/** What the user has said: its numbers may come again in an answer. */
function askedIn(conversation: Conversation): string {
  return conversation.flatMap(({ role, content }) => (role === "user" ? [content] : [])).join("\n");
}

/** RE2 takes time in proportion to the text: all of it can be looked at. */
function matcher(pattern: string): (text: string) => boolean {
  return compilePattern(pattern, Number.POSITIVE_INFINITY);
}

const hasWord = (text: string): boolean => /[\p{L}\p{N}]/u.test(text);
const linesOf = (text: string): string[] => text.split(/\r?\n/u).filter((line) => line.trim() !== "");

const counts = {
  /** What stands between white space and holds a letter or a digit: "well-known" is one, "–" none. */
  words: (text: string) => text.split(/\s+/u).filter(hasWord).length,
  sentences: (text: string) => linesOf(text).reduce((sum, line) => sum + sentencesOf(line), 0),
  /** Lines that begin with -, *, •, "1." or "1)"; `**bold**`, `---` and "-5" do not. */
  bullets: (text: string) =>
    linesOf(text).filter((line) => /^\s*(?:(?:[-*]|\d{1,3}[.)])\s+\S|-\p{L}|•)/u.test(line)).length,
  lines: (text: string) => linesOf(text).length,
  /** What blank lines part. */
  paragraphs: (text: string) => text.split(/\n[^\S\n]*\n\s*/u).filter((paragraph) => paragraph.trim() !== "").length,
} as const;

/** A full stop after these ends no sentence; after the others it does not where a small letter or a digit follows. */
const titles = /(?:^|[\s("'])(?:Dr|Mr|Mrs|Ms|Prof|St|vs|e\.g|i\.e|z\.\s?B|d\.\s?h|Sra?|Mme|dott|sig)\.$/iu;
const shortened = /(?:^|[\s("'])(?:etc|approx|ca|no|nr|a\.m|p\.m|usw|bzw|ecc|env)\.$/iu;

/**
 * Sentences of a line, which its end ends. A piece without a word of two letters ("J.", "1.") belongs to what follows.
 */
function sentencesOf(line: string): number {
  const pieces = line.split(/(?<=[.!?…]["'”’»)\]*_]{0,4})\s+/u).filter(hasWord);
  let [count, isSentence] = [0, false];
  for (const [i, piece] of pieces.entries()) {
    isSentence ||= /\p{L}{2}/u.test(piece);
    const next = pieces[i + 1];
    const goesOn = !isSentence || titles.test(piece) || (shortened.test(piece) && /^[\p{Ll}\d]/u.test(next ?? ""));
    if (next !== undefined && goesOn) continue;
    count += 1;
    isSentence = false;
  }
  return count;
}

/** An object or a list, and nothing around it but a fence of Markdown where that is allowed. */
function isAskedJson(
  text: string,
  { keys = [], values = {}, fenced = false }: Extract<Check, { type: "json" }>,
): boolean {
  const [, inner] = (fenced ? /^```(?:json)?[^\S\n]*\n(.*)\n[^\S\n]*```$/su.exec(text) : null) ?? [];
  let value: unknown;
  try {
    value = JSON.parse(inner ?? text);
  } catch {
    return false;
  }
  if (typeof value !== "object" || value === null) return false;
  const fields = value as Readonly<Record<string, unknown>>;
  return (
    keys.every((key) => Object.hasOwn(fields, key)) &&
    Object.entries(values).every(
      ([key, wanted]) => Object.hasOwn(fields, key) && isDeepStrictEqual(fields[key], wanted),
    )
  );
}

/** No letter is of the other case, and there is one of this. */
function isInCase(text: string, wanted: "upper" | "lower"): boolean {
  const [has, hasOther] = [/\p{Lu}/u.test(text), /[\p{Ll}\p{Lt}]/u.test(text)];
  return wanted === "upper" ? has && !hasOther : !/[\p{Lu}\p{Lt}]/u.test(text) && /\p{Ll}/u.test(text);
}
