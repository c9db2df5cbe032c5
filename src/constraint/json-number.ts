/** @module JSON numbers within bounds, as grammars. */
import { alternatives, literal, repeat } from "./gbnf.ts";

/** Both ends included; absent: no bound. */
export interface Bounds {
  readonly minimum?: number | undefined;
  readonly maximum?: number | undefined;
}

/** Digits before the point that a number without bounds may have: what a double holds exactly. */
const mostDigits = 15;
export const mostDecimals = 6;
export const largest = 10 ** mostDigits - 1;

/** GBNF of the integers within the bounds; null where there are none. */
export function integersWithin({ minimum = -largest, maximum = largest }: Bounds): string | null {
  const least = Math.max(Math.ceil(minimum), -largest);
  const most = Math.min(Math.floor(maximum), largest);
  if (!(least <= most)) return null;
  const parts: string[] = [];
  if (least < 0) parts.push(`"-" ${naturalsWithin(Math.max(1, -most), -least)}`);
  if (most >= 0) parts.push(naturalsWithin(Math.max(0, least), most));
  return alternatives(parts);
}

/**
 * GBNF of the numbers within the bounds, with up to six decimals; null where there are none. Bounds that are no
 * integers take away from what is generated, never add: 0.5 to 2.7 gives 1, 2 and what lies between them.
 */
export function numbersWithin(
  { minimum = -largest, maximum = largest }: Bounds,
  decimals: number = mostDecimals,
): string | null {
  const integers = integersWithin({ minimum, maximum });
  if (integers === null || decimals === 0) return integers;
  const fraction = `( "." ${repeat("[0-9]", 1, decimals)} )?`;
  const least = Math.max(Math.ceil(minimum), -largest);
  const most = Math.min(Math.floor(maximum), largest);
  // a.xyz lies between a and a + 1, -a.xyz between -a - 1 and -a: the outermost integers take no decimals.
  const parts: string[] = [];
  if (least < 0 && -least - 1 >= Math.max(0, -most))
    parts.push(`"-" ${naturalsWithin(Math.max(0, -most), -least - 1)} ${fraction}`);
  if (most > 0 && most - 1 >= Math.max(0, least))
    parts.push(`${naturalsWithin(Math.max(0, least), most - 1)} ${fraction}`);
  return alternatives([...parts, integers]);
}

/** GBNF of the integers from `least` to `most`, both at least 0, without leading zeros. */
function naturalsWithin(least: number, most: number): string {
  const parts: string[] = [];
  const [shortest, longest] = [String(least).length, String(most).length];
  for (let digits = shortest; digits <= longest; digits++) {
    const from = digits === shortest ? String(least) : `1${"0".repeat(digits - 1)}`;
    const to = digits === longest ? String(most) : "9".repeat(digits);
    parts.push(digitsWithin(from, to));
  }
  return alternatives(parts);
}

/** GBNF of the digit strings between two of the same length. */
function digitsWithin(from: string, to: string): string {
  if (from === to) return literal(from);
  const rest = from.length - 1;
  if (rest === 0) return `[${from}-${to}]`;
  if (from.slice(1) === "0".repeat(rest) && to.slice(1) === "9".repeat(rest))
    return `${digit(from[0], to[0])} ${repeat("[0-9]", rest, rest)}`;
  if (from[0] === to[0]) return `${literal(from[0] as string)} ${digitsWithin(from.slice(1), to.slice(1))}`;
  const [first, last] = [Number(from[0]), Number(to[0])];
  const parts = [`${literal(String(first))} ${digitsWithin(from.slice(1), "9".repeat(rest))}`];
  if (first + 1 <= last - 1) parts.push(`${digit(String(first + 1), String(last - 1))} ${repeat("[0-9]", rest, rest)}`);
  parts.push(`${literal(String(last))} ${digitsWithin("0".repeat(rest), to.slice(1))}`);
  return alternatives(parts);
}

function digit(first = "0", last = "9"): string {
  return first === last ? literal(first) : `[${first}-${last}]`;
}
