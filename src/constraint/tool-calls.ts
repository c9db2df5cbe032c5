/** @module The grammar of answers that may or must call tools. */
import type { Tool, ToolSyntax } from "../types/conversation.ts";
import { type Grammar, literal } from "./gbnf.ts";
import { addArguments } from "./json-schema.ts";

/** A tool, where its schema stands in the request, and whether what a grammar cannot keep to of that is refused. */
export type PlacedTool = Tool & { readonly path: string; readonly strict?: boolean | undefined };

export interface CallRules {
  readonly syntax: ToolSyntax;
  /** Those that may be called; at least one. */
  readonly tools: readonly PlacedTool[];
  /** Several calls in one answer. */
  readonly parallel: boolean;
  /** Places of what is not kept to, being too much. */
  readonly tooMuch?: ReadonlySet<string>;
}

/** Nobody needs more calls in one answer, and a small model may not find an end. */
const mostCalls = 16;

/** What a call's JSON begins with. */
export function callHead(syntax: ToolSyntax): string {
  return `{${JSON.stringify(syntax.name)}: `;
}

/**
 * What tells a call from text: the opening, or where that is nothing but white space, the beginning of the call itself.
 */
export function callTrigger(syntax: ToolSyntax): string {
  return syntax.opening.trim() === "" ? syntax.opening + callHead(syntax) : syntax.opening;
}

/** GBNF of an answer that is one or more calls. Throws "invalid_request" for a schema that cannot be kept to. */
export function callsOnly(grammar: Grammar, rules: CallRules): string {
  return `${literal(callTrigger(rules.syntax))} ${afterTrigger(grammar, rules)}`;
}

/** GBNF of free text, which may end in calls. */
export function textOrCalls(grammar: Grammar, rules: CallRules): string {
  return textUntil(grammar, callTrigger(rules.syntax), afterTrigger(grammar, rules));
}

function afterTrigger(grammar: Grammar, { syntax, tools, parallel, tooMuch }: CallRules): string {
  const kinds = tools.map((tool) => {
    grammar.budget.spend(tool.name.length);
    const named = literal(`${JSON.stringify(tool.name)}, ${JSON.stringify(syntax.arguments)}: `);
    const { parameters: schema, path, strict } = tool;
    return `${named} ${addArguments(grammar, { schema, path, strict }, tooMuch)}`;
  });
  const headless = grammar.add("call-body", `( ${kinds.join(" | ")} ) "}"`);
  const whole = grammar.add("call", `${literal(callHead(syntax))} ${headless}`);
  const first = callTrigger(syntax) === syntax.opening ? whole : headless;
  const more = parallel && syntax.between !== null ? `( ${literal(syntax.between)} ${whole} ){0,${mostCalls - 1}}` : "";
  return grammar.add(
    "calls",
    [first, more, syntax.closing === "" ? "" : literal(syntax.closing)].filter((part) => part !== "").join(" "),
  );
}

/**
 * Any text that does not hold `trigger`, or that text up to and with its first `trigger`, followed by `then`. One rule
 * for each number of the trigger's characters that have just been read (the automaton of Knuth, Morris and Pratt).
 */
function textUntil(grammar: Grammar, trigger: string, then: string): string {
  const characters = Array.from(trigger);
  const fallbacks = failureFunction(characters);
  const states = characters.map((_, read) => grammar.reserve(`text-${read}`));
  const state = (read: number): string => states[read] as string;
  for (const read of characters.keys()) {
    const onward = new Map<string, number>();
    for (const character of new Set(characters)) {
      const next = advance(characters, fallbacks, read, character);
      if (next > 0) onward.set(character, next);
    }
    const branches = [...onward].map(
      ([character, next]) => `${literal(character)} ${next === characters.length ? then : state(next)}`,
    );
    const other = `[^${[...onward.keys()].map(inClass).join("")}] ${state(0)}`;
    grammar.define(state(read), `( ${[...branches, other].join(" | ")} )?`);
  }
  return state(0);
}

/** How many characters of the pattern have been read once `character` follows the first `read` of them. */
function advance(pattern: readonly string[], fallbacks: readonly number[], read: number, character: string): number {
  let matched = read;
  while (matched > 0 && pattern[matched] !== character) matched = fallbacks[matched - 1] as number;
  return pattern[matched] === character ? matched + 1 : 0;
}

/** `[pattern]`: the length of the longest proper prefix of the pattern that ends at each place. */
function failureFunction(pattern: readonly string[]): number[] {
  const lengths = [0];
  for (let i = 1; i < pattern.length; i++)
    lengths.push(advance(pattern, lengths, lengths[i - 1] as number, pattern[i] as string));
  return lengths;
}

function inClass(character: string): string {
  if (character === "\n") return "\\n";
  return /[\\\]^-]/u.test(character) ? `\\${character}` : character;
}
