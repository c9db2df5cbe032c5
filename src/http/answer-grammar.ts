/** @module The grammar that a request's answers keep to: its tools, its JSON schema. */
import { Grammar } from "../constraint/gbnf.ts";
import { addJsonObject, addJsonSchema } from "../constraint/json-schema.ts";
import { callsOnly, callTrigger, textOrCalls } from "../constraint/tool-calls.ts";
import type { ToolSyntax } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";
import type { AnswerFormat, Generation } from "./generation.ts";

/** GBNF; undefined where answers are free text. Throws "invalid_request" for a schema that cannot be kept to, naming its place. */
export function answerGrammar(
  { tools, toolChoice, parallelToolCalls, format }: Pick<Generation, "tools" | "toolChoice" | "parallelToolCalls" | "format">,
  syntax: ToolSyntax,
): string | undefined {
  const grammar = new Grammar();
  const json = addFormat(grammar, format);
  if (tools.length === 0) return json === null ? undefined : grammar.toGbnf(json);
  const callable = typeof toolChoice === "string" ? tools : tools.filter(({ name }) => name === toolChoice.name);
  if (callable.length === 0)
    throw new GatewayError("invalid_request", "'tool_choice' names no tool of this request.", { param: "tool_choice" });
  const rules = { syntax, tools: callable, parallel: parallelToolCalls && typeof toolChoice === "string" };
  if (toolChoice !== "auto") return grammar.toGbnf(callsOnly(grammar, rules));
  if (json === null) return grammar.toGbnf(textOrCalls(grammar, rules));
  if (callTrigger(syntax) !== syntax.opening)
    throw new GatewayError(
      "unsupported_parameter",
      "This model's tool calls cannot be told from JSON; use tools or a JSON format, not both.",
      {
        param: "response_format",
      },
    );
  return grammar.toGbnf(`${json} | ${callsOnly(grammar, rules)}`);
}

/** The rule of the answer's text; null for free text. */
function addFormat(grammar: Grammar, format: AnswerFormat): string | null {
  switch (format.type) {
    case "text":
      return null;
    case "json-object":
      return addJsonObject(grammar);
    case "json-schema":
      return addJsonSchema(grammar, format.schema, format.path);
  }
}
