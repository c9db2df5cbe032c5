/** @module Where in a request a schema stands, and refusals that name the place. */
import { GatewayError } from "../types/error.ts";

/** A chain of keys, written out only for a refusal. */
export interface Place {
  readonly within: Place | null;
  readonly key: string;
  /** So many schemas stand around it. */
  readonly depth: number;
}

/** Keys are the client's own: no more of one is said back. */
const longestKey = 64;

export function outermost(path: string): Place {
  return { within: null, key: path, depth: 0 };
}

/** The place of a schema in a schema. */
export function inside(place: Place, ...keys: readonly (string | number)[]): Place {
  let inner = place;
  for (const key of keys) inner = { within: inner, key: clipped(String(key)), depth: place.depth + 1 };
  return inner;
}

/**
 * Why a schema is refused: it is none; no value can be valid against it; or a grammar cannot keep to it, which only a
 * strict one asks for.
 */
export type RefusalKind = "malformed" | "impossible" | "unkeepable";

export class SchemaRefusal extends GatewayError {
  readonly kind: RefusalKind;
  readonly place: Place;

  constructor(kind: RefusalKind, place: Place, reason: string) {
    const path = pathOf(place);
    super("invalid_request", `Invalid '${path}': ${reason}.`, { param: path });
    this.kind = kind;
    this.place = place;
  }
}

export function malformed(place: Place, reason: string): SchemaRefusal {
  return new SchemaRefusal("malformed", place, reason);
}

export function impossible(place: Place, reason: string): SchemaRefusal {
  return new SchemaRefusal("impossible", place, reason);
}

export function unkeepable(place: Place, reason: string): SchemaRefusal {
  return new SchemaRefusal("unkeepable", place, reason);
}

/**
 * Tells that a keyword of the schema cannot be kept to. Throws "invalid_request" where the schema is strict: naming the
 * keyword's place, or what `named` says; null: the schema's.
 */
export type Lose = (keyword: string, reason: string, named?: string | null) => void;

/** What `make` makes; null where it is refused for one of the reasons. */
export function unlessRefused<Made>(kinds: readonly RefusalKind[], make: () => Made): Made | null {
  try {
    return make();
  } catch (error) {
    if (error instanceof SchemaRefusal && kinds.includes(error.kind)) return null;
    throw error;
  }
}

/** What `make` makes; null where no value is possible. */
export function unlessImpossible<Made>(make: () => Made): Made | null {
  return unlessRefused(["impossible"], make);
}

/** A client's own words in a message. */
export function clipped(text: string): string {
  return text.length <= longestKey ? text : `${text.slice(0, longestKey).toWellFormed()}…`;
}

export function pathOf(place: Place): string {
  const keys: string[] = [];
  for (let at: Place | null = place; at !== null; at = at.within) keys.push(at.key);
  return keys.reverse().join(".");
}
