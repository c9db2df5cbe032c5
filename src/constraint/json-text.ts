/** @module JSON values as text: as a grammar writes them, and so that equal values have equal texts. */
import type { Budget } from "./budget.ts";
import { type Place, unkeepable } from "./place.ts";

/** Lists and objects in each other, in a schema as it was sent. */
const deepest = 256;

/**
 * Counts a schema's values and characters as work, whatever they mean. Throws "invalid_request" where they stand too
 * deep in each other.
 */
export function measure(schema: unknown, budget: Budget, place: Place): void {
  const open: { value: unknown; depth: number }[] = [{ value: schema, depth: 0 }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { value, depth } = next;
    budget.spend(1);
    if (typeof value === "string") budget.spend(value.length / 8);
    if (typeof value !== "object" || value === null) continue;
    if (depth >= deepest) throw unkeepable(place, `lists and objects may stand ${deepest} deep in each other at most`);
    for (const key in value) {
      budget.spend(1 + key.length / 8);
      open.push({ value: (value as Record<string, unknown>)[key], depth: depth + 1 });
    }
  }
}

/** JSON as the grammar writes it. */
export function writeJson(value: unknown, budget: Budget): string {
  return write(value, { budget, comma: ", ", colon: ": ", sorts: false });
}

/** Equal for equal values: the order of properties does not matter. */
export function canonicalJson(value: unknown, budget: Budget): string {
  return write(value, { budget, comma: ",", colon: ":", sorts: true });
}

interface Manner {
  readonly budget: Budget;
  readonly comma: string;
  readonly colon: string;
  readonly sorts: boolean;
}

function write(value: unknown, manner: Manner): string {
  const { budget, comma, colon, sorts } = manner;
  budget.spend(2);
  if (Array.isArray(value)) return `[${value.map((item) => write(item, manner)).join(comma)}]`;
  if (typeof value !== "object" || value === null) {
    if (typeof value === "string") budget.spend(value.length);
    return JSON.stringify(value);
  }
  const keys = Object.keys(value);
  if (sorts) keys.sort();
  const fields = keys.map((key) => {
    budget.spend(2 + key.length);
    return `${JSON.stringify(key)}${colon}${write((value as Record<string, unknown>)[key], manner)}`;
  });
  return `{${fields.join(comma)}}`;
}
