/** @module The types that values of a schema may have. */
import { clipped, inside, type Place, refusal } from "./place.ts";
import { assertions, typeKeywords } from "./schema-keywords.ts";
import { asList, own, type Schema } from "./schema-merge.ts";

const typeNames = ["object", "array", "string", "number", "integer", "boolean", "null"] as const;
export type TypeName = (typeof typeNames)[number];

/** Each once; where none is said, those whose keywords the schema uses. */
export function typesOf(schema: Schema, place: Place): TypeName[] {
  const said = own(schema, "type");
  if (said !== undefined) {
    const unknown = asList(said).find((type) => !typeNames.some((name) => name === type));
    if (unknown !== undefined) throw refusal(inside(place, "type"), `${clipped(JSON.stringify(unknown))} is no type`);
    const types = [...new Set(asList(said) as TypeName[])];
    return types.includes("number") ? types.filter((type) => type !== "integer") : types;
  }
  const used = assertions(schema);
  return (Object.keys(typeKeywords) as (keyof typeof typeKeywords)[]).filter((type) =>
    typeKeywords[type].some((keyword) => used.includes(keyword)),
  );
}

export function isOfType(value: unknown, type: TypeName): boolean {
  switch (type) {
    case "object":
      return typeof value === "object" && value !== null && !Array.isArray(value);
    case "array":
      return Array.isArray(value);
    case "integer":
      return Number.isInteger(value);
    case "null":
      return value === null;
    case "string":
      return typeof value === "string";
    case "number":
      return typeof value === "number";
    case "boolean":
      return typeof value === "boolean";
  }
}
