/**
 * @module Grammars that clients write themselves, in GBNF: held to the bounds of those that are made of schemas before
 * an engine reads them.
 */
import { readBody } from "./gbnf-reader.ts";
import { checkSize, UnfitGrammar } from "./gbnf-size.ts";
import { malformed, outermost } from "./place.ts";

/** Characters. */
const longestGrammar = 2 ** 16;
/** Parentheses in each other. */
const deepest = 64;
/** A rule begins; what comes up to the next one is its body. */
const beginning = /(?:^|\n)[ \t]*([A-Za-z0-9-]+)[ \t]*::=/gu;
/** What llama.cpp knows, a class or text at a time; anything else is not GBNF. */
const part =
  /"(?:[^"\\\n]|\\.)*"|\[(?:[^\]\\\n]|\\.)*\]|#[^\n]*|[A-Za-z0-9-]+|\{\d{1,4}(?:,\d{0,4})?\}|[|()*+?.]|\s+/suy;
const escapes = /\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[tnr"\\[\]])|\\/gu;

/** The same grammar, a rule a line, without comments. Throws "invalid_request" naming `path`. */
export function clientGrammar(source: string, path: string): string {
  const wrong = (reason: string) => malformed(outermost(path), reason);
  if (source.length > longestGrammar) throw wrong(`a grammar may hold ${longestGrammar} characters`);
  const rules = readRules(source, wrong);
  const root = rules.get("root");
  if (root === undefined) throw wrong("a grammar needs a rule of the name root");
  for (const [name, { refers }] of rules)
    for (const other of refers)
      if (!rules.has(other)) throw wrong(`the rule "${name}" names "${other}", which there is not`);
  rules.delete("root");
  try {
    checkSize(new Map([["root", root] as const, ...rules].map(([name, { body }]) => [name, readBody(body)] as const)));
  } catch (error) {
    if (error instanceof UnfitGrammar) throw wrong(`the rule "${error.rule}": ${error.message}`);
    throw error;
  }
  return [`root ::= ${root.body}`, ...[...rules].map(([name, { body }]) => `${name} ::= ${body}`)].join("\n");
}

interface Rule {
  readonly body: string;
  readonly refers: ReadonlySet<string>;
}

function readRules(source: string, wrong: (reason: string) => Error): Map<string, Rule> {
  const starts = [...source.matchAll(beginning)];
  const before = source.slice(0, starts[0]?.index ?? source.length);
  if (before.split("\n").some((line) => !/^\s*(?:#.*)?$/u.test(line)))
    throw wrong("a grammar begins with a rule: name ::= …");
  const rules = new Map<string, Rule>();
  for (const [i, start] of starts.entries()) {
    const name = start[1] as string;
    if (rules.has(name)) throw wrong(`the rule "${name}" is there twice`);
    rules.set(name, readRule(source.slice(start.index + start[0].length, starts[i + 1]?.index), name, wrong));
  }
  return rules;
}

function readRule(text: string, name: string, wrong: (reason: string) => Error): Rule {
  const parts: string[] = [];
  const refers = new Set<string>();
  let depth = 0;
  for (part.lastIndex = 0; part.lastIndex < text.length; ) {
    const at = part.lastIndex;
    const [found] = part.exec(text) ?? [];
    if (found === undefined) throw wrong(`the rule "${name}" is no GBNF from "${text.slice(at, at + 20)}" on`);
    if (/^[A-Za-z0-9-]/u.test(found)) refers.add(found);
    if (/^["[]/u.test(found) && [...found.matchAll(escapes)].some(([escaped]) => escaped === "\\"))
      throw wrong(`the rule "${name}" has an escape that GBNF does not know`);
    if (found === "[]") throw wrong(`the rule "${name}" has a class without characters`);
    depth += found === "(" ? 1 : found === ")" ? -1 : 0;
    if (depth < 0 || depth > deepest) throw wrong(`the rule "${name}" has parentheses that do not match, or too deep`);
    if (!/^[#\s]/u.test(found)) parts.push(found);
  }
  if (depth > 0) throw wrong(`the rule "${name}" has a parenthesis that is open`);
  checkOperators(parts, name, wrong);
  return { body: written(parts), refers };
}

/** What is repeated stands before each repetition, and its bounds are bounds. */
function checkOperators(parts: readonly string[], name: string, wrong: (reason: string) => Error): void {
  for (const [i, one] of parts.entries()) {
    if (!/^[*+?{]/u.test(one)) continue;
    const before = parts[i - 1];
    if (before === undefined || /^[|(*+?{]/u.test(before))
      throw wrong(`the rule "${name}" repeats nothing with ${one}`);
    const [least = "0", most = ""] = one.startsWith("{") ? one.slice(1, -1).split(",") : [];
    if (most !== "" && Number(most) < Number(least))
      throw wrong(`the rule "${name}" has bounds the wrong way round: ${one}`);
  }
}

/** Repetitions stand right behind what they repeat. */
function written(parts: readonly string[]): string {
  return parts.reduce((body, one) => (/^[*+?{]/u.test(one) ? body + one : body === "" ? one : `${body} ${one}`), "");
}
