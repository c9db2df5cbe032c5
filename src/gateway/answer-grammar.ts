/** @module The grammar that a request's answers keep to: its tools, its JSON schema. */
import { LRUCache } from "lru-cache";
import { addJsonObject } from "../constraint/any-json.ts";
import { Budget } from "../constraint/budget.ts";
import { clientGrammar } from "../constraint/client-grammar.ts";
import { Grammar, oneText } from "../constraint/gbnf.ts";
import { addJsonSchema } from "../constraint/json-schema.ts";
import { plainPatternGrammar } from "../constraint/pattern.ts";
import { UnsupportedPattern } from "../constraint/pattern-length.ts";
import { malformed, outermost, pathOf, SchemaRefusal } from "../constraint/place.ts";
import { callsOnly, callTrigger, textOrCalls } from "../constraint/tool-calls.ts";
import { sha256Hex } from "../text/bytes.ts";
import type { ToolSyntax } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";
import type { AnswerFormat, Generation, Strictness } from "./generation.ts";

/** What a grammar depends on. */
type Wanted = Pick<Generation, "tools" | "toolChoice" | "parallelToolCalls" | "format">;

/** Characters of all of a request's schemas, what they describe included. */
const longestSchemas = 1_000_000;
/** Bytes of the grammars and refusals that are kept, and of each beside its text. */
const mostKept = 16 * 2 ** 20;
const entrySize = 512;
/** Characters of schemas that are hashed in no time. */
const quicklyHashed = 2 ** 14;

export interface AnswerGrammar {
  /** GBNF; undefined: answers are free text. */
  readonly gbnf: string | undefined;
  /** Places in the request's schemas that the grammar does not keep to, outermost first; none of a strict schema. */
  readonly relaxed: readonly string[];
}

/** A grammar, or why there is none. */
type Compiled = AnswerGrammar | Pick<GatewayError, "code" | "message" | "param">;

const freeText: AnswerGrammar = { gbnf: undefined, relaxed: [] };

/** Grammars and refusals by the hash of what asks for them: schemas are compiled once, however often they come. */
export class AnswerGrammars {
  readonly #compiled = new LRUCache<string, Compiled>({
    maxSize: mostKept,
    sizeCalculation: (compiled) => entrySize + 2 * sizeOf(compiled),
  });

  /** As `answerGrammar`. What is large, or not known yet, waits for its `turn`. */
  async of(wanted: Wanted, syntax: ToolSyntax, turn: () => Promise<void>): Promise<AnswerGrammar> {
    if (wanted.tools.length === 0 && wanted.format.type === "text") return freeText;
    const text = textOf(wanted, syntax);
    const isQuick = text.length <= quicklyHashed;
    if (!isQuick) await turn();
    const key = sha256Hex(text);
    if (isQuick && !this.#compiled.has(key)) await turn();
    // Somebody else may have waited for the same.
    let compiled = this.#compiled.get(key);
    if (compiled === undefined) {
      compiled = compile(wanted, syntax);
      this.#compiled.set(key, compiled);
    }
    if ("relaxed" in compiled) return compiled;
    const { code, message, param } = compiled;
    throw new GatewayError(code, message, param === null ? {} : { param });
  }
}

/** All that a grammar depends on. Throws "invalid_request" for more than can be hashed and compiled at once. */
function textOf({ tools, toolChoice, parallelToolCalls, format }: Wanted, syntax: ToolSyntax): string {
  const callable = tools.map(({ name, parameters, path, strict }) => [name, path, parameters, strict === true]);
  const text = JSON.stringify([callable, toolChoice, parallelToolCalls, format, syntax]);
  if (text.length > longestSchemas)
    throw new GatewayError(
      "invalid_request",
      `The request's schemas hold more than ${longestSchemas} characters together; leave out what the answer does not need.`,
      { param: tools.length > 0 ? "tools" : "response_format" },
    );
  return text;
}

function compile(wanted: Wanted, syntax: ToolSyntax): Compiled {
  try {
    return answerGrammar(wanted, syntax);
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    // The error itself would keep what was at work when it was made.
    const { code, message, param } = error;
    return { code, message, param };
  }
}

function sizeOf(compiled: Compiled): number {
  if (!("relaxed" in compiled)) return compiled.message.length;
  return (compiled.gbnf ?? "").length + compiled.relaxed.reduce((sum, place) => sum + place.length, 0);
}

/** Of work, each time that a grammar is made: with more that is not kept to than before. See `giveUp`. */
const attempts = [1_000_000, 500_000, 1_000_000];

/**
 * Throws "invalid_request" naming the place of what is no schema, and of what a grammar cannot keep to in a strict one.
 */
export function answerGrammar(wanted: Wanted, syntax: ToolSyntax): AnswerGrammar {
  const { format, tools } = wanted;
  if (format.type === "grammar") {
    if (tools.length > 0) throw eitherOf(format.path);
    return { gbnf: clientGrammar(format.text, format.path), relaxed: [] };
  }
  const tooMuch = new Set<string>();
  for (let attempt = 1; ; attempt++) {
    const grammar = new Grammar(new Budget(attempts[attempt - 1]));
    const root = rootOf(wanted, format, syntax, grammar, tooMuch);
    if (root === undefined) return freeText;
    try {
      return { gbnf: grammar.toGbnf(root), relaxed: grammar.relaxedFrom(root) };
    } catch (error) {
      if (!(error instanceof SchemaRefusal) || attempt >= attempts.length) throw error;
      if (!giveUp(error, wanted, tooMuch, attempt > 1)) throw error;
    }
  }
}

/**
 * What is too much for an engine is not kept to, where it is not strict: first the place that is named, then all of it.
 * False: nothing of it can be given up.
 */
function giveUp({ place }: SchemaRefusal, wanted: Wanted, tooMuch: Set<string>, isLast: boolean): boolean {
  const open = schemasOf(wanted).filter(({ strict }) => !strict);
  const path = pathOf(place);
  if (isLast || !open.some((schema) => path === schema.path || path.startsWith(`${schema.path}.`)))
    for (const schema of open) tooMuch.add(schema.path);
  // A pattern is no schema: what it belongs to is given up.
  else tooMuch.add(place.key === "pattern" && place.within !== null ? pathOf(place.within) : path);
  return open.length > 0;
}

function schemasOf({ tools, format }: Wanted): readonly { readonly path: string; readonly strict?: Strictness }[] {
  return format.type === "json-schema" ? [...tools, format] : tools;
}

/** The rule of an answer; undefined where answers are free text. */
function rootOf(
  { tools, toolChoice, parallelToolCalls }: Wanted,
  format: Exclude<AnswerFormat, { type: "grammar" }>,
  syntax: ToolSyntax,
  grammar: Grammar,
  tooMuch: ReadonlySet<string>,
): string | undefined {
  const json = addFormat(grammar, format, tooMuch);
  if (tools.length === 0) return json ?? undefined;
  const callable = typeof toolChoice === "string" ? tools : tools.filter(({ name }) => name === toolChoice.name);
  if (callable.length === 0)
    throw new GatewayError("invalid_request", "'tool_choice' names no tool of this request.", { param: "tool_choice" });
  const rules = { syntax, tools: callable, parallel: parallelToolCalls && typeof toolChoice === "string", tooMuch };
  if (toolChoice !== "auto") return callsOnly(grammar, rules);
  if (json === null) return textOrCalls(grammar, rules);
  if (callTrigger(syntax) !== syntax.opening)
    throw new GatewayError(
      "unsupported_parameter",
      "This model's tool calls cannot be told from JSON; use tools or a JSON format, not both.",
      {
        param: "response_format",
      },
    );
  return `${json} | ${callsOnly(grammar, rules)}`;
}

/** The rule of the answer's text; null for free text. */
function addFormat(
  grammar: Grammar,
  format: Exclude<AnswerFormat, { type: "grammar" }>,
  tooMuch: ReadonlySet<string>,
): string | null {
  switch (format.type) {
    case "text":
      return null;
    case "json-object":
      return addJsonObject(grammar);
    case "json-schema":
      return addJsonSchema(grammar, format, tooMuch);
    case "choice":
      return oneText([...new Set(format.choices)]);
    case "pattern":
      return patternOf(grammar, format.text, format.path);
  }
}

/** Throws "invalid_request" for what a grammar does not have. */
function patternOf(grammar: Grammar, pattern: string, path: string): string {
  try {
    return plainPatternGrammar(grammar, pattern);
  } catch (error) {
    if (error instanceof UnsupportedPattern)
      throw malformed(outermost(path), `the pattern cannot be kept to: ${error.message}`);
    throw error;
  }
}

function eitherOf(param: string): GatewayError {
  return new GatewayError("unsupported_parameter", "Use tools or a grammar of your own, not both.", { param });
}
