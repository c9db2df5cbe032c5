/** @module What two generators make of the types of `typescript-types.ts`. */
import { fileURLToPath } from "node:url";
import { createGenerator } from "ts-json-schema-generator";
import { buildGenerator, getProgramFromFiles } from "typescript-json-schema";
import { versionOf, writeCorpus } from "./corpus-file.mjs";

const file = fileURLToPath(new URL("typescript-types.ts", import.meta.url));
const types = [
  ...["SearchArguments", "EditArguments", "NoArguments", "Person", "Shape", "Drawing", "NumberTree", "Json", "Loose"],
  ...["Partially", "Answer", "Mapping", "Derived", "Either"],
];
const kindOf = (name) => (name.endsWith("Arguments") ? "tool" : "output");

function eachType(make, variant = "") {
  return types.flatMap((name) => {
    try {
      return [{ name: `${name}${variant}`, kind: kindOf(name), schema: make(name) }];
    } catch (error) {
      console.log(`${name}${variant}: ${String(error).slice(0, 120)}`);
      return [];
    }
  });
}

const config = { path: file, skipTypeCheck: true };
const closed = createGenerator({ ...config, type: "*" });
const open = createGenerator({ ...config, type: "*", additionalProperties: true, expose: "none" });
writeCorpus("ts-json-schema-generator", versionOf("ts-json-schema-generator"), [
  ...eachType((name) => closed.createSchema(name)),
  ...eachType((name) => open.createSchema(name), ", open"),
]);

const program = getProgramFromFiles([file], { strict: true });
const plain = buildGenerator(program, {});
const strict = buildGenerator(program, { required: true, noExtraProps: true, strictNullChecks: true });
writeCorpus("typescript-json-schema", versionOf("typescript-json-schema"), [
  ...eachType((name) => plain.getSchemaForSymbol(name)),
  ...eachType((name) => strict.getSchemaForSymbol(name), ", required, no extra properties"),
]);
