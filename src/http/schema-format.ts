/** @module The format that an answer is asked for in, as clients write it: with a wrapper around its schema, or without. */
import { z } from "zod";
import { assertions } from "../constraint/schema-keywords.ts";
import type { AnswerFormat } from "../gateway/generation.ts";
import { functionName } from "./wire.ts";

const schema = z.record(z.string(), z.unknown()).nullish();
const wrapper = {
  name: functionName.nullish(),
  description: z.string().nullish(),
  schema,
  strict: z.boolean().nullish(),
};

export const jsonSchemaFormat = z.looseObject({
  type: z.literal("json_schema"),
  ...wrapper,
  json_schema: z.looseObject(wrapper).nullish(),
});

export const responseFormat = z.discriminatedUnion("type", [
  z.object({ type: z.literal("text") }),
  z.looseObject({ type: z.literal("json_object"), schema, strict: z.boolean().nullish() }),
  jsonSchemaFormat,
]);

type Given = z.output<typeof responseFormat>;

/** Whether a format that asks for a schema holds one, or what would wrap it. */
export function hasSchema(given: Given): boolean {
  return given.type !== "json_schema" || Boolean(given.json_schema ?? given.schema);
}

/** `path`: where the format stands in the request. */
export function toFormat(given: Given | null | undefined, path: string): AnswerFormat {
  switch (given?.type) {
    case undefined:
    case "text":
      return { type: "text" };
    case "json_object":
      if (!given.schema) return { type: "json-object" };
      return { type: "json-schema", schema: given.schema, path: `${path}.schema`, strict: given.strict === true };
    case "json_schema":
      return {
        type: "json-schema",
        ...placed(given, path),
        strict: (given.json_schema?.strict ?? given.strict) === true,
      };
  }
}

function placed({ json_schema: inner, schema: own }: z.output<typeof jsonSchemaFormat>, path: string) {
  if (inner?.schema) return { schema: inner.schema, path: `${path}.json_schema.schema` };
  // The schema itself, where its wrapper belongs.
  if (inner && assertions(inner).length > 0) return { schema: inner, path: `${path}.json_schema` };
  return { schema: own ?? { type: "object" }, path: inner ? `${path}.json_schema.schema` : `${path}.schema` };
}
