/** @module The types that values of a schema may have. */
import { isRecord } from "../text/json.ts";

const typeNames = ["object", "array", "string", "number", "integer", "boolean", "null"] as const;
export type TypeName = (typeof typeNames)[number];

export function isTypeName(type: unknown): type is TypeName {
  return typeNames.some((name) => name === type);
}

/** Each once: every integer is a number. */
export function distinctTypes(types: readonly TypeName[]): TypeName[] {
  const distinct = [...new Set(types)];
  return distinct.includes("number") ? distinct.filter((type) => type !== "integer") : distinct;
}

/** All but some. "integer" cannot be told from "number": null. */
export function otherTypes(types: readonly TypeName[], but: readonly TypeName[]): TypeName[] | null {
  if (but.includes("integer") && types.includes("number") && !but.includes("number")) return null;
  const isOut = (type: TypeName): boolean => but.includes(type) || (type === "integer" && but.includes("number"));
  return types.filter((type) => !isOut(type));
}

export const allTypes: readonly TypeName[] = typeNames.filter((type) => type !== "integer");

export function isOfType(value: unknown, type: TypeName): boolean {
  switch (type) {
    case "object":
      return isRecord(value);
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
