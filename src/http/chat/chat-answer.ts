/** @module Answers in the words of OpenAI's chat completions. */
import type { TokenDetail } from "../../engine/engine.ts";
import type { Answer, Generated, ReasoningWord } from "../../gateway/generation.ts";
import type { ResolvedRoute } from "../../gateway/route.ts";
import type { DrawnByContrast, IcdpoOutcome, Reasoned } from "../../icdpo/pipeline.ts";
import type { ToolCall } from "../../types/conversation.ts";
import { thoughtFields } from "../reasoning-fields.ts";
import type { ChatRequest } from "./chat-request.ts";
import { speaksOfFunctions } from "./legacy-functions.ts";

/** What all chunks of an answer have in common. */
export interface ChatCall {
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  readonly body: ChatRequest;
  readonly resolved: ResolvedRoute;
  /** In which words thoughts are told. */
  readonly reasoningWord: ReasoningWord;
}

export function chatCompletion(call: ChatCall, generated: Generated) {
  return {
    id: call.id,
    object: "chat.completion",
    created: call.created,
    model: call.body.model,
    choices: generated.answers.map((answer, index) => ({
      index,
      message: message(answer, speaksOfFunctions(call.body), call.reasoningWord),
      logprobs: renderLogprobs(answer.logprobs),
      finish_reason: finishReason(call, answer),
    })),
    usage: renderUsage(generated),
    system_fingerprint: fingerprint(call.resolved),
    ...explained(call.body, call.resolved, generated),
  };
}

function message({ content, thought, toolCalls }: Answer, isLegacy: boolean, word: ReasoningWord) {
  const [first] = toolCalls;
  const calls = isLegacy
    ? { function_call: first && renderToolCall(first).function }
    : { tool_calls: toolCalls.map(renderToolCall) };
  const said = { role: "assistant", content, ...thoughtFields(thought, word), refusal: null };
  return { ...said, ...(first !== undefined && calls) };
}

export function finishReason({ body }: Pick<ChatCall, "body">, { finish }: Answer): string {
  return finish === "tool_calls" && speaksOfFunctions(body) ? "function_call" : finish;
}

function renderToolCall({ id, name, arguments: text }: ToolCall) {
  return { id, type: "function", function: { name, arguments: text } };
}

export function renderUsage({ usage: { promptTokens, completionTokens, reasoningTokens } }: Generated) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    ...(reasoningTokens !== undefined && { completion_tokens_details: { reasoning_tokens: reasoningTokens } }),
  };
}

export function renderLogprobs(details: readonly TokenDetail[] | null) {
  if (details === null) return null;
  return {
    content: details.map((detail) => ({ ...renderToken(detail), top_logprobs: detail.top.map(renderToken) })),
    refusal: null,
  };
}

/** JSON has no −∞: OpenAI writes −9999. */
export function finiteLogprob(logprob: number): number {
  return Number.isFinite(logprob) ? logprob : -9999;
}

function renderToken({ text, logprob, bytes }: Pick<TokenDetail, "text" | "logprob" | "bytes">) {
  return { token: text, logprob: finiteLogprob(logprob), bytes };
}

/** Changes when the policy, its demonstrations or the model change. */
export function fingerprint({ policy }: ResolvedRoute): string {
  return `fp_${policy.id.split("@").at(-1)}`;
}

/** The body's `icdpo` field, if the request asks for it. */
export function explained(
  { icdpo }: Pick<ChatRequest, "icdpo">,
  resolved: ResolvedRoute,
  { outcome }: Generated,
): { icdpo?: ReturnType<typeof explanation> } {
  return icdpo?.explain ? { icdpo: explanation(resolved, outcome) } : {};
}

/** The hidden work, for `"icdpo": {"explain": true}`. `tokens` of a candidate counts its closing token. */
function explanation({ route, policy, arm }: ResolvedRoute, outcome: IcdpoOutcome) {
  const { retrieve, sample, score } = outcome.timings;
  const setting = policy.settings.score;
  const showsNear = setting.type === "contrast" && setting.negative === "near";
  return {
    route,
    policy: policy.id,
    arm,
    demonstrations: outcome.demonstrations.map(({ demonstration, similarity }) => ({
      id: demonstration.id,
      similarity,
      ...(showsNear && { near: demonstration.rejected }),
    })),
    candidates: outcome.ranked
      .map((response, place) => ({
        index: response.index,
        content: response.text,
        finish_reason: response.finish,
        tokens: response.idsWithEos.length,
        positive: response.positive,
        negative: response.negative,
        score: response.score,
        ...(response.reward !== undefined && { reward: response.reward }),
        ...(response.consensus !== undefined && { consensus: response.consensus }),
        ...(response.thought && { reasoning_tokens: response.thought.tokens }),
        ...(response.copied && { copied: response.copied }),
        ...(response.fits !== undefined && { fits: response.fits }),
        ...(response.dropped && { dropped: response.dropped }),
        chosen: place === 0,
      }))
      .toSorted((a, b) => a.index - b.index),
    ...(outcome.natsPerToken !== null && { nats_per_token: outcome.natsPerToken }),
    ...(outcome.waves !== null && { waves: outcome.waves }),
    ...(outcome.contrast !== null && { contrast: explainedContrast(outcome.contrast) }),
    ...(outcome.reasoning && { reasoning: explainedReasoning(outcome.reasoning) }),
    ...(outcome.blocks && { blocks: outcome.blocks }),
    ...(outcome.kept && { kept: outcome.kept }),
    max_tokens: outcome.maxTokens,
    tokens: outcome.tokens,
    timings_ms: { retrieve: rounded(retrieve), sample: rounded(sample), score: rounded(score) },
    fallback: outcome.fallback,
  };
}

function explainedContrast({ alpha, top, meanLogRatio }: DrawnByContrast) {
  return { alpha, top, mean_log_ratio: meanLogRatio };
}

function explainedReasoning({ thinks, thoughts, budget, thought }: Reasoned) {
  if (!thinks) return { mode: "off" };
  return {
    mode: "on",
    thoughts,
    budget,
    ...(thought && { tokens: thought.tokens, closed_by: thought.isClosed ? "model" : "budget" }),
  };
}

function rounded(ms: number): number {
  return Math.round(ms * 10) / 10;
}
