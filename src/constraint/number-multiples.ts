/** @module Multiples of a number, as grammars: remainders are known digit by digit. */
import { type Automaton, automatonGrammar, type Step } from "./automaton.ts";
import { alternatives, type Grammar, literal, oneText } from "./gbnf.ts";
import { type Bounds, largest } from "./json-number.ts";

/** `count` · 10^−`decimals`, both whole. */
export interface Divisor {
  readonly count: number;
  readonly decimals: number;
}

/** Null: it has more than `most` decimals. */
export function divisorOf(multiple: number, most: number): Divisor | null {
  const [, whole, fraction = ""] = /^(\d+)(?:\.(\d+))?$/u.exec(String(multiple)) ?? [];
  if (whole === undefined || fraction.length > most) return null;
  return { count: Number(whole + fraction), decimals: fraction.length };
}

/** The whole numbers among its multiples are those of this one. */
export function wholeDivisor({ count, decimals }: Divisor): Divisor {
  return { count: count / greatestCommon(count, 10 ** decimals), decimals: 0 };
}

/**
 * GBNF of the multiples within the bounds, with as many decimals as the divisor has at most; null where there are none.
 * Bounds that are no integers take away from what is written, as with other numbers. Throws LargeAutomaton.
 */
export function multiplesWithin(
  grammar: Grammar,
  { minimum = -largest, maximum = largest }: Bounds,
  divisor: Divisor,
): string | null {
  const [least, most] = [Math.max(Math.ceil(minimum), -largest), Math.min(Math.floor(maximum), largest)];
  const whole = (from: number, to: number): string | null =>
    wholeMultiples(grammar, from, to, wholeDivisor(divisor).count);
  // a.xyz lies between a and a + 1.
  const broken = (from: number, to: number): string | null =>
    divisor.decimals === 0 || from >= to ? null : digitsGrammar(grammar, { from, to: to - 1, ...divisor });
  const below = [whole, broken].map((make) =>
    least < 0 ? make(Math.max(make === whole ? 1 : 0, -most), -least) : null,
  );
  const above = [whole, broken].map((make) => (most < 0 ? null : make(Math.max(0, least), most)));
  const parts = [
    ...below.flatMap((body) => (body === null ? [] : [`"-" ${body}`])),
    ...above.filter((body) => body !== null),
  ];
  return parts.length === 0 ? null : alternatives(parts);
}

/** So many stand side by side. */
const mostListed = 100;

/** GBNF of those from `from` to `to`, both at least 0: zeros at the end are no work. */
function wholeMultiples(grammar: Grammar, from: number, to: number, count: number): string | null {
  if (from > to) return null;
  let [left, zeros] = [count, ""];
  for (; left % 10 === 0; left /= 10) zeros += "0";
  const scale = count / left;
  const wanted = { from: Math.max(1, Math.ceil(from / scale)), to: Math.floor(to / scale), count: left, decimals: 0 };
  const [first, last] = [Math.ceil(wanted.from / left), Math.floor(wanted.to / left)];
  const listed = Array.from({ length: Math.min(mostListed, last - first) + 1 }, (_, i) => String((first + i) * left));
  const others = first > last ? null : last - first < mostListed ? oneText(listed) : digitsGrammar(grammar, wanted);
  const parts = [
    ...(from === 0 ? ['"0"'] : []),
    ...(others === null ? [] : [zeros === "" ? others : `${others} ${literal(zeros)}`]),
  ];
  return parts.length === 0 ? null : alternatives(parts);
}

interface Wanted extends Divisor {
  /** Bounds of the whole part, both included and at least 0. */
  readonly from: number;
  readonly to: number;
}

function digitsGrammar(grammar: Grammar, wanted: Wanted): string | null {
  if (wanted.from > wanted.to) return null;
  return automatonGrammar(grammar, digitsAutomaton(wanted), (writer, ranges) => writer.oneOf(ranges));
}

/** A number as far as it is written. */
interface Written {
  /** Digits before the point. */
  readonly length: number;
  readonly isZero: boolean;
  /** How they compare to as many of the bounds': −1, 0 or 1. */
  readonly low: number;
  readonly high: number;
  /** Of all digits so far, by the divisor. */
  readonly remainder: number;
  /** Digits after the point; null: there is none. */
  readonly decimals: number | null;
}

const [zeroCode, pointCode] = [0x30, 0x2e];

/** Takes what is written without leading zeros, with decimals where the divisor has some. */
function digitsAutomaton({ from, to, count, decimals }: Wanted): Automaton<Written> {
  const [low, high] = [String(from), String(to)];
  const isWithin = ({ length, ...state }: Written): boolean =>
    (length > low.length || (length === low.length && state.low >= 0)) &&
    (length < high.length || (length === high.length && state.high <= 0));
  const after = (state: Written, digit: number): Written => {
    const remainder = (state.remainder * 10 + digit) % count;
    if (state.decimals !== null) return { ...state, remainder, decimals: state.decimals + 1 };
    return {
      length: state.length + 1,
      isZero: state.length === 0 && digit === 0,
      low: compared(state.low, digit, low[state.length]),
      high: compared(state.high, digit, high[state.length]),
      remainder,
      decimals: null,
    };
  };
  const takesDigit = ({ length, isZero, decimals: taken }: Written): boolean =>
    taken === null ? length < high.length && !isZero : taken < decimals;
  return {
    start: { length: 0, isZero: false, low: 0, high: 0, remainder: 0, decimals: null },
    // What has been compared does not count behind the point.
    key: ({ decimals: taken, remainder, length, isZero, ...state }) =>
      taken === null ? `${length},${isZero},${state.low},${state.high},${remainder}` : `.${taken},${remainder}`,
    steps: (state) => {
      const steps: Step<Written>[] = [];
      if (takesDigit(state))
        for (let digit = 0; digit <= 9; digit++) {
          const code = zeroCode + digit;
          steps.push({ ranges: [[code, code]], to: after(state, digit) });
        }
      if (state.decimals === null && decimals > 0 && state.length > 0 && isWithin(state))
        steps.push({ ranges: [[pointCode, pointCode]], to: { ...state, decimals: 0 } });
      return steps;
    },
    accepts: (state) =>
      decimals === 0
        ? state.length > 0 && isWithin(state) && state.remainder === 0
        : state.decimals !== null &&
          state.decimals > 0 &&
          (state.remainder * 10 ** (decimals - state.decimals)) % count === 0,
  };
}

function compared(before: number, digit: number, bound: string | undefined): number {
  return before !== 0 || bound === undefined ? before : Math.sign(digit - Number(bound));
}

function greatestCommon(a: number, b: number): number {
  return b === 0 ? a : greatestCommon(b, a % b);
}
