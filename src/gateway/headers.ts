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
    "x-icdpo-candidates": String(candidates),
  };
}

/** Known when it is done. */
export function outcomeHeaders({ ranked, tokens, timings }: IcdpoOutcome): Record<string, string> {
  const score = ranked[0]?.score;
  const { retrieve, sample, score: scoring } = timings;
  return {
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
