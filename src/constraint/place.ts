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

export function refusal(place: Place, reason: string): GatewayError {
  const path = pathOf(place);
  return new GatewayError("invalid_request", `Invalid '${path}': ${reason}.`, { param: path });
}

/** A client's own words in a message. */
export function clipped(text: string): string {
  return text.length <= longestKey ? text : `${text.slice(0, longestKey).toWellFormed()}…`;
}

function pathOf(place: Place): string {
  const keys: string[] = [];
  for (let at: Place | null = place; at !== null; at = at.within) keys.push(at.key);
  return keys.reverse().join(".");
}
