/**
 * @module Headers: the route that a request names, and what happened to it, beside a body that holds nothing but
 * OpenAI's fields.
 */
import type { Context } from "hono";
import type { IcdpoOutcome } from "../icdpo/pipeline.ts";
import type { ResolvedRoute } from "./route.ts";

export function setHeaders(c: Context, headers: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(headers)) c.header(name, value);
}

/** Known before the work begins. */
export function routeHeaders({ route, policy, arm }: ResolvedRoute, candidates: number): Record<string, string> {
  return {
    "x-icdpo-route": route,
    "x-icdpo-policy": policy.id,
    ...(arm !== null && { "x-icdpo-arm": arm }),
    ...candidatesHeader(candidates),
  };
}

/**
 * As many as the policy has at most, until it is known that a request is answered plainly; of a whole answer, as many as
 * were sampled.
 */
export function candidatesHeader(candidates: number): Record<string, string> {
  return { "x-icdpo-candidates": String(candidates) };
}

/** One more field of the request that has no effect. */
export function ignoredHeader(c: Context, field: string): Record<string, string> {
  const others = c.res.headers.get("x-icdpo-ignored");
  return { "x-icdpo-ignored": others === null ? field : `${field}, ${others}` };
}

const mostPlaces = 16;
/** Names come from the client: no more of one is said back. */
const longestPlace = 160;

/** Places in the request's schemas that its grammar does not keep to: answers are checked against them once sampled. */
export function schemaHeaders(relaxed: readonly string[]): Record<string, string> {
  if (relaxed.length === 0) return {};
  const named = relaxed.slice(0, mostPlaces).map(headerSafe);
  const more = relaxed.length - named.length;
  return { "x-icdpo-schema": `relaxed; ${[...named, ...(more > 0 ? [`${more} more`] : [])].join(", ")}` };
}

/** What a header cannot hold, or would part places, is written as in a URI. */
function headerSafe(place: string): string {
  return place
    .slice(0, longestPlace)
    .toWellFormed()
    .replace(/[^\w.$/~^*()+[\]{}|:@!?<>=&-]/gu, encodeURIComponent);
}

/** Known when it is done. */
export function outcomeHeaders({ ranked, tokens, timings, candidates }: IcdpoOutcome): Record<string, string> {
  const score = ranked[0]?.score;
  const { retrieve, sample, score: scoring } = timings;
  return {
    ...candidatesHeader(candidates),
    ...(score === undefined || score === null ? {} : { "x-icdpo-score": score.toFixed(4) }),
    "x-icdpo-tokens": `prompt=${tokens.prompt};sampled=${tokens.sampled};scored=${tokens.scored};cached=${tokens.cached}`,
    "server-timing": [
      retrieveTiming(retrieve),
      `sample;dur=${sample.toFixed(1)}`,
      `score;dur=${scoring.toFixed(1)}`,
    ].join(", "),
  };
}

export function retrieveTiming(ms: number): string {
  return `retrieve;dur=${ms.toFixed(1)}`;
}
