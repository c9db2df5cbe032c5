/** @module What servers tell of tokens, as texts with log-probabilities. */
import type { TokenDetail } from "../engine.ts";

type PlainDetail = TokenDetail["top"][number];

const utf8 = new TextEncoder();

export function detailOf(text: string, logprob: number): PlainDetail {
  return { text, bytes: [...utf8.encode(text)], logprob };
}

/** The likeliest first; the token that stands there is among them only if it belongs there. */
export function topOf(
  logprobs: Readonly<Record<string, number | null>> | null | undefined,
  count: number,
): PlainDetail[] {
  return Object.entries(logprobs ?? {})
    .map(([text, logprob]) => detailOf(text, logprob ?? Number.NEGATIVE_INFINITY))
    .toSorted((a, b) => b.logprob - a.logprob)
    .slice(0, count);
}
