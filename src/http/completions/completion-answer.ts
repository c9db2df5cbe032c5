/** @module Answers in the words of OpenAI's older completions. */
import type { TokenDetail } from "../../engine/engine.ts";
import type { ResolvedRoute } from "../../gateway/route.ts";
import { fingerprint, finiteLogprob } from "../chat/chat-answer.ts";
import type { CompletionsRequest } from "./completion-request.ts";

/** One choice as it stands in the answer, or a piece of it. */
export interface Choice {
  readonly index: number;
  readonly text: string;
  readonly finish: "stop" | "length" | null;
  readonly details: readonly PlacedDetail[];
}

/** Of the first token of a prompt nothing can be said: it has no context. */
export type PlacedDetail = Omit<TokenDetail, "logprob"> & { readonly logprob: number | null };

/** What all chunks of an answer have in common. */
export interface CompletionCall {
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  readonly body: CompletionsRequest;
  readonly resolved: ResolvedRoute;
  readonly seed: number;
  readonly tenant: string | undefined;
}

export interface CompletionUsage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

export function common({ id, created, body, resolved }: CompletionCall) {
  return { id, object: "text_completion", created, model: body.model, system_fingerprint: fingerprint(resolved) };
}

export function renderChoice({ index, text, finish, details }: Choice, { logprobs }: CompletionsRequest) {
  return {
    text,
    index,
    logprobs: logprobs === undefined || logprobs === null ? null : renderLogprobs(details, logprobs),
    finish_reason: finish,
  };
}

/** Offsets count UTF-16 code units from the beginning of the returned text. */
function renderLogprobs(details: readonly PlacedDetail[], count: number) {
  return {
    tokens: details.map(({ text }) => text),
    token_logprobs: details.map(({ logprob }) => (logprob === null ? null : finiteLogprob(logprob))),
    top_logprobs: count === 0 ? null : details.map(topOf),
    text_offset: details.map(({ offset }) => offset),
  };
}

/** The token itself is among its alternatives; of two with the same text, the likelier. */
function topOf({ text, logprob, top }: PlacedDetail): Record<string, number> | null {
  if (logprob === null) return null;
  const alternatives = new Map<string, number>();
  for (const one of [...top, { text, logprob }])
    alternatives.set(
      one.text,
      Math.max(finiteLogprob(one.logprob), alternatives.get(one.text) ?? Number.NEGATIVE_INFINITY),
    );
  return Object.fromEntries(alternatives);
}
