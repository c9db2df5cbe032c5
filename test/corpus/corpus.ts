/** @module Schemas as real programs send them, each with what made it; `README.md` says how they are made anew. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { Ajv } from "ajv";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

export interface CorpusSchema {
  readonly generator: string;
  readonly version: string;
  readonly name: string;
  readonly kind: "tool" | "output";
  /** Its generator asks for it to be kept to or refused. */
  readonly strict: boolean;
  readonly schema: Record<string, unknown>;
}

const folder = path.join(import.meta.dirname, "schemas");

export const corpus: readonly CorpusSchema[] = readdirSync(folder)
  .filter((file) => file.endsWith(".json"))
  .flatMap((file) => {
    const { generator, version, schemas } = JSON.parse(readFileSync(path.join(folder, file), "utf8"));
    return (schemas as CorpusSchema[]).map((schema) => ({ ...schema, generator, version }));
  });

/** Binary has not all decimals: 0.07 / 0.01 is 7.000000000000001. */
const multipleOfPrecision = 1;
const options = { strict: false, allErrors: true, logger: false, multipleOfPrecision } as const;
const draft7 = addFormats.default(new Ajv(options));
const draft2020 = addFormats.default(new Ajv2020(options));

/** Whether a value is valid against a schema, by ajv and the draft that the schema is of. */
export function validatorOf(schema: Record<string, unknown>): (value: unknown) => boolean {
  const text = JSON.stringify(schema);
  const isNew = /"(?:prefixItems|\$defs|unevaluatedProperties)"/u.test(text) || /2020-12/u.test(text);
  const { $schema: _, id: __, ...bare } = asDraft7(schema) as Record<string, unknown>;
  const validate = (isNew ? draft2020 : draft7).compile(bare);
  return (value) => validate(value) === true;
}

/** Draft 4 and OpenAPI 3.0 have flags that ajv does not read: bounds are exclusive, any value may be null. */
function asDraft7(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(asDraft7);
  if (typeof schema !== "object" || schema === null) return schema;
  const entries = Object.entries(schema).map(([key, value]) => [key, asDraft7(value)] as const);
  const read = Object.fromEntries(entries);
  for (const [flag, bound] of [
    ["exclusiveMinimum", "minimum"],
    ["exclusiveMaximum", "maximum"],
  ] as const) {
    if (typeof read[flag] !== "boolean") continue;
    if (read[flag]) read[flag] = read[bound];
    else delete read[flag];
  }
  if (typeof read["nullable"] !== "boolean") return read;
  const { nullable, ...rest } = read;
  return nullable ? { anyOf: [rest, { type: "null" }] } : rest;
}
