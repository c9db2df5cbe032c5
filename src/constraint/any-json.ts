/** @module JSON text of any value, and of any object. */
import { alternatives, type Grammar, literal, repeat } from "./gbnf.ts";
import { numbersWithin } from "./json-number.ts";
import { anyString } from "./json-string.ts";

/** Entries of an object that names no properties; a small model may not find an end otherwise. */
export const mostEntries = 64;

/** Adds the rules of any JSON object. */
export function addJsonObject(grammar: Grammar): string {
  return grammar.shared("object", () => {
    const pair = grammar.shared("pair", () => `${anyString(grammar)} ${literal(": ")} ${anyValue(grammar)}`);
    return `"{" ${listOf(pair)} "}"`;
  });
}

export function anyValue(grammar: Grammar): string {
  return grammar.shared("value", (value) => {
    const number = grammar.shared("number", () => numbersWithin({}) ?? "");
    const array = grammar.shared("array", () => `"[" ${listOf(value)} "]"`);
    return alternatives([
      addJsonObject(grammar),
      array,
      anyString(grammar),
      number,
      ...["true", "false", "null"].map(literal),
    ]);
  });
}

function listOf(item: string): string {
  return `( ${item} ${repeat(`${literal(", ")} ${item}`, 0, undefined)} )?`;
}
