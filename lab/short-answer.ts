/** @module Whether a text gives the short answer that is right, and no other in the same breath. */
import { comparable, holds } from "./word-match.ts";

interface FoundNumber {
  readonly value: number;
  /** Digits before the decimal point. */
  readonly digits: number;
  /** A list's "1.", or an operand that something is computed from. */
  readonly isAside: boolean;
}

/**
 * Digits with thousands set apart by commas or apostrophes, and decimals after a point or a comma. Letters before the
 * digits make them a name ("h2o"), letters after them are a unit ("5km").
 */
const numberForm = /(?<![\p{L}\d])(?<![\d][.,])(?:\d{1,3}(?:[,']\d{3})+(?!\d)|\d+)(?:[.,]\d+)?/gu;

/**
 * A text answers if it holds one of `accepted` as whole words, whatever the case. Where that is a number, its value
 * counts ("1,000" is 1000, "7.50" is 7.5), and no rival may stand beside it: another number, unless
 *
 * - the question has it as well,
 * - it numbers a line, or is followed by an operator, as in "36 + 6 = 42",
 * - it has two digits more or less before the decimal point, as the day beside a year has.
 *
 * @example isAnsweredBy("It is 42.", ["42", "forty-two"], "What is 6 times 7?"); // true
 */
export function isAnsweredBy(text: string, accepted: readonly string[], question: string): boolean {
  const found = numbersOf(text);
  const asked = new Set(numbersOf(question).map(({ value }) => value));
  const numbers = accepted.flatMap((answer) => wholeNumber(answer) ?? []);
  const isRight = ({ value }: FoundNumber): boolean => numbers.some((right) => right.value === value);
  const isRival = (number: FoundNumber): boolean =>
    !isRight(number) &&
    !asked.has(number.value) &&
    !number.isAside &&
    numbers.some(({ digits }) => Math.abs(digits - number.digits) < 2);
  const isSaid =
    found.some(isRight) || accepted.some((answer) => wholeNumber(answer) === null && holds(text, answer, true));
  return isSaid && !found.some(isRival);
}

/** Null where the answer is not a number alone. */
function wholeNumber(answer: string): FoundNumber | null {
  const text = comparable(answer).trim();
  const [only, ...more] = numbersOf(text);
  return only !== undefined && more.length === 0 && /^-?[\d.,']+$/u.test(text) ? only : null;
}

function numbersOf(text: string): FoundNumber[] {
  const plain = text
    .split("\n")
    .map((line) => comparable(line))
    .join("\n");
  return [...plain.matchAll(numberForm)].map(({ 0: written, index }) => {
    const [whole, decimals] = partsOf(written);
    const before = plain.slice(Math.max(0, index - 8), index);
    const after = plain.slice(index + written.length, index + written.length + 40);
    // A minus stands after nothing that could be taken from.
    const isNegative = /(?:^|[\s(=:])-$/u.test(before) && !/\d\s*-$/u.test(before);
    const numbersLine = /(?:^|\n)\s*$/u.test(before) && /^[.)]\s/u.test(after);
    return {
      value: Number(`${isNegative ? "-" : ""}${whole}.${decimals}`),
      digits: whole.replace(/^0+(?=\d)/u, "").length,
      // A hyphen may stand for a range: it is an operator where a result follows.
      isAside: numbersLine || /^\s?(?:[+*/×÷^=]|[-x]\s?\d[^\n]*=)/u.test(after),
    };
  });
}

/** Before and after the decimal point, which may be a comma, unless three digits follow it. */
function partsOf(written: string): readonly [whole: string, decimals: string] {
  const [, whole = written, point, comma] = /^(.*?)(?:\.(\d+)|,(\d{1,2}|\d{4,}))$/u.exec(written) ?? [];
  return [whole.replace(/[,']/gu, ""), point ?? comma ?? "0"];
}
