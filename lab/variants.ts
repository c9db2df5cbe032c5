/** @module A policy's variants: its text with other values, each a policy of its own. */
import { type FieldChanges, fieldIn, withFields } from "icdpo-gateway/laboratory";

export interface Variant {
  /** As tables call it: what it changes. */
  readonly label: string;
  /** YAML. */
  readonly text: string;
}

export const startLabel = "as it is";
export const plainLabel = "plain";

/** Demonstrations, instructions and all that chooses are taken away: C⁰ is sampled once, as the policy samples. */
export function plainVariant(start: string): Variant {
  const { text } = variantOf(start, { shots: 0, candidates: 1, instructions: null, decode: null });
  return { label: plainLabel, text };
}

export function startVariant(start: string): Variant {
  return { label: startLabel, text: start };
}

/**
 * `shots: 0`, which no policy says, takes the demonstrations away and leaves the instructions. Where one answer is
 * made, what would choose is taken away. Throws "configuration" where a path leads through what holds no fields.
 */
export function variantOf(start: string, { shots, ...others }: FieldChanges): Variant {
  const shown = shots === 0 ? withoutDemonstrations(start) : withFields(start, shots === undefined ? {} : { shots });
  const text = withFields(shown, others);
  const forced = forcedIn(text);
  const isIdle = ([path, value]: readonly [string, unknown]): boolean =>
    Object.hasOwn(forced, path.split(".")[0] ?? "") && !isSame(forced[path], value);
  const isChange = ([path, value]: readonly [string, unknown]): boolean =>
    !isSame(fieldIn(path === "shots" ? start : shown, path) ?? null, value);
  const label = Object.entries({ ...(shots !== undefined && { shots }), ...others })
    .filter((change) => isChange(change) && !isIdle(change))
    .map(([path, value]) => `${path} ${brief(value)}`)
    .join("; ");
  return { label: label === "" ? startLabel : label, text: withFields(text, forced) };
}

const one: FieldChanges = { candidates: 1, block: null, stream: null, prune: null, scorer: null };

/** What follows where one answer is made; of one that is drawn by contrast the score says between what. */
function forcedIn(text: string): FieldChanges {
  const forStreams = fieldIn(text, "stream") === "contrast";
  if (fieldIn(text, "decode") !== undefined && !forStreams) return one;
  const isSingle = fieldIn(text, "sampling.temperature") === 0 || fieldIn(text, "candidates") === 1;
  return isSingle ? { ...one, score: { type: "none" }, reference: null, decode: null } : {};
}

function withoutDemonstrations(start: string): string {
  const instructions = fieldIn(start, "instructions") ?? {};
  return withFields(start, { demonstrations: null, retriever: null, shots: null, instructions });
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Values of an object without their names, which mostly speak for themselves. */
function brief(value: unknown): string {
  if (value === null) return "none";
  return typeof value === "object" ? Object.values(value).map(brief).join(" ") : String(value);
}
