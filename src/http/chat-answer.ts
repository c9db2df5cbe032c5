/** @module An outcome in the words of OpenAI's chat completions. */
import type { IcdpoOutcome } from "../icdpo/pipeline.ts";
import type { ScoredResponse } from "../icdpo/score.ts";
import type { ResolvedRoute } from "../policy/resolve.ts";
import type { ChatCall } from "./chat-request.ts";

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

/** The `count` best, best first. A greedy sample stands for as many as were asked for: they would all be the same. */
export function answersOf(outcome: IcdpoOutcome, count: number): ScoredResponse[] {
  const { ranked } = outcome;
  return Array.from({ length: count }, (_, place) => ranked[place] ?? (ranked[0] as ScoredResponse));
}

/** What a plain request would have used: the tokens of C⁰, and of the returned texts without their closing token. */
export function usageOf(outcome: IcdpoOutcome, answers: readonly ScoredResponse[]): Usage {
  const completionTokens = answers.reduce((total, { closed }) => total + closed.length - 1, 0);
  return {
    prompt_tokens: outcome.basePromptTokens,
    completion_tokens: completionTokens,
    total_tokens: outcome.basePromptTokens + completionTokens,
  };
}

export function chatCompletion(call: ChatCall, answers: readonly ScoredResponse[], usage: Usage, extra: Record<string, unknown>) {
  return {
    id: call.id,
    object: "chat.completion",
    created: call.created,
    model: call.body.model,
    choices: answers.map(({ text, finish }, index) => ({
      index,
      message: { role: "assistant", content: text, refusal: null },
      logprobs: null,
      finish_reason: finish,
    })),
    usage,
    system_fingerprint: fingerprint(call),
    ...extra,
  };
}

/** Changes when the policy, its demonstrations or the model change. */
export function fingerprint(call: ChatCall): string {
  return `fp_${call.resolved.policy.id.split("@").at(-1)}`;
}

/** The body's `icdpo` field, if the request asks for it. */
export function explained(call: ChatCall, outcome: IcdpoOutcome): { icdpo?: ReturnType<typeof explanation> } {
  return call.body.icdpo?.explain ? { icdpo: explanation(call.resolved, outcome) } : {};
}

/** The hidden work, for `"icdpo": {"explain": true}`. `tokens` of a candidate counts its closing token. */
function explanation({ route, policy }: ResolvedRoute, outcome: IcdpoOutcome) {
  const { retrieve, sample, score } = outcome.timings;
  return {
    route,
    policy: policy.id,
    arm: null,
    demonstrations: outcome.demonstrations.map(({ demonstration, similarity }) => ({ id: demonstration.id, similarity })),
    candidates: outcome.ranked
      .map((response, place) => ({
        index: response.index,
        content: response.text,
        finish_reason: response.finish,
        tokens: response.closed.length,
        positive: response.positive,
        negative: response.negative,
        score: response.score,
        chosen: place === 0,
      }))
      .toSorted((a, b) => a.index - b.index),
    tokens: outcome.tokens,
    timings_ms: { retrieve: rounded(retrieve), sample: rounded(sample), score: rounded(score) },
    fallback: outcome.fallback,
  };
}

function rounded(ms: number): number {
  return Math.round(ms * 10) / 10;
}
