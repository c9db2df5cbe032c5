/**
 * @module What an answer must keep to, in vLLM's and llama.cpp's words: `guided_json`, `structured_outputs`,
 * `json_schema`, `grammar` and others, beside OpenAI's `response_format`.
 */
import { z } from "zod";
import type { AnswerFormat } from "../gateway/generation.ts";
import { isRecord, parsedJson } from "../text/json.ts";

const schema = z.record(z.string(), z.unknown());
/** vLLM's clients send schemas as text, too. An empty one asks for nothing. */
const schemaText = z.string().transform((text, context): Readonly<Record<string, unknown>> | null => {
  const given = text === "" ? null : parsedJson(text);
  if (given === null || isRecord(given)) return given;
  context.addIssue({ code: "custom", input: text });
  return z.NEVER;
});
const schemaOrText = z.union([schema, schemaText], "must be a JSON schema, as an object or as its text");
const mostChoices = 500;
const choices = z.array(z.string().min(1).max(4_096)).min(1).max(mostChoices);

export const guidedFields = {
  guided_json: schemaOrText.nullish(),
  guided_regex: z.string().nullish(),
  guided_choice: choices.nullish(),
  guided_grammar: z.string().nullish().describe("GBNF"),
  structured_outputs: z
    .object({
      json: schemaOrText.nullish(),
      regex: z.string().nullish(),
      choice: choices.nullish(),
      grammar: z.string().nullish(),
      json_object: z.boolean().nullish(),
      structural_tag: z.null("is not supported: use tools").optional(),
      whitespace_pattern: z.null("is not supported: white space is the grammar's").optional(),
    })
    .nullish(),
  json_schema: schema.nullish(),
  grammar: z.string().nullish().describe("GBNF"),
};

export type Guided = { readonly [Name in keyof typeof guidedFields]?: z.output<(typeof guidedFields)[Name]> };

const names = Object.keys(guidedFields) as (keyof typeof guidedFields)[];

/** Empty strings ask for nothing: llama.cpp's page sends them. */
function formatsOf(body: Guided): AnswerFormat[] {
  if (!names.some((name) => body[name])) return [];
  const { structured_outputs: outputs } = body;
  const at = (name: string): string => `structured_outputs.${name}`;
  return [
    ...ofSchema(body.guided_json, "guided_json"),
    ...ofSchema(body.json_schema, "json_schema"),
    ...ofSchema(outputs?.json, at("json")),
    ...ofText("pattern", body.guided_regex, "guided_regex"),
    ...ofText("pattern", outputs?.regex, at("regex")),
    ...ofText("grammar", body.guided_grammar, "guided_grammar"),
    ...ofText("grammar", body.grammar, "grammar"),
    ...ofText("grammar", outputs?.grammar, at("grammar")),
    ...ofChoices(body.guided_choice, "guided_choice"),
    ...ofChoices(outputs?.choice, at("choice")),
    ...(outputs?.json_object ? [{ type: "json-object" } as const] : []),
  ];
}

function ofSchema(given: Readonly<Record<string, unknown>> | null | undefined, path: string): AnswerFormat[] {
  return given ? [{ type: "json-schema", schema: given, path }] : [];
}

function ofText(type: "pattern" | "grammar", text: string | null | undefined, path: string): AnswerFormat[] {
  return text ? [{ type, text, path }] : [];
}

function ofChoices(given: readonly string[] | null | undefined, path: string): AnswerFormat[] {
  return given ? [{ type: "choice", choices: given, path }] : [];
}

/** Undefined: none of these fields asks for anything. */
export function toGuidedFormat(body: Guided): AnswerFormat | undefined {
  return formatsOf(body)[0];
}

/** Complains about several formats of one answer. `other`: the protocol's own. */
export function checkGuided(body: Guided, other: AnswerFormat, context: z.core.$RefinementCtx): void {
  const [, second] = [...formatsOf(body), ...(other.type === "text" ? [] : [other])];
  if (second === undefined) return;
  const path = pathOf(second).split(".");
  context.addIssue({ code: "custom", path, message: "is a second format of one answer: use one" });
}

function pathOf(format: AnswerFormat): string {
  return "path" in format ? format.path : "response_format";
}
