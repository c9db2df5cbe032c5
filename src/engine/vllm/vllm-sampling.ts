/** @module Sampling by vLLM: one call for all samples, and its stream read as events. */
import { z } from "zod";
import { sampledAnswer } from "../../client/answer-size.ts";
import { quoted } from "../../text/quoted.ts";
import { GatewayError } from "../../types/error.ts";
import type { Prompt, Sample, SampleEvent, SampleRequest, Token, TokenDetail } from "../engine.ts";
import { detailOf, topOf } from "../server/token-details.ts";
import { saltOf, type VllmModel } from "./vllm-model.ts";

const logprob = z.number().nullable();
const chunk = z.object({
  choices: z.array(
    z.object({
      index: z.int(),
      text: z.string(),
      token_ids: z.array(z.int()),
      logprobs: z
        .object({
          tokens: z.array(z.string()),
          token_logprobs: z.array(logprob),
          top_logprobs: z.array(z.record(z.string(), logprob).nullable()),
        })
        .nullish(),
      finish_reason: z.string().nullish(),
      stop_reason: z.union([z.string(), z.int()]).nullish(),
    }),
  ),
  /** In the last one; its details only where the server runs with --enable-prompt-tokens-details. */
  usage: z.object({ prompt_tokens_details: z.object({ cached_tokens: z.int().nullish() }).nullish() }).nullish(),
});
type ChoiceChunk = z.infer<typeof chunk>["choices"][number];

/** `textOf`: the text of tokens behind others. */
export async function* sampleWithVllm(
  served: VllmModel,
  textOf: (tokens: readonly Token[], signal?: AbortSignal) => Promise<string>,
  prompt: Prompt,
  request: SampleRequest,
  signal?: AbortSignal,
): AsyncGenerator<SampleEvent> {
  const { model, replicas, isSeparate } = served;
  const body = { model, ...requestBody(prompt, request), ...saltOf(served, prompt) };
  // The token that is looked ahead to, and the end token's log-probability, come beside what was asked for.
  const size = sampledAnswer(
    request.seeds.length * (request.maxTokens + 1),
    (request.topLogprobs ?? 0) + 1,
    prompt.tokens.length,
  );
  const samples = request.seeds.map(() => new VllmSample(prompt.end, request));
  let hasBegun = false;
  for await (const { choices, usage } of replicas.events(
    { path: "/v1/completions", body, answer: chunk, size, signal },
    prompt.tokens,
  )) {
    if (!hasBegun) yield { type: "prompt", cached: 0 };
    hasBegun = true;
    // What a shared cache holds may be another tenant's.
    const isOwn = isSeparate || prompt.tenant === undefined;
    const cached = isOwn ? (usage?.prompt_tokens_details?.cached_tokens ?? 0) : 0;
    if (cached > 0) yield { type: "prompt", cached };
    for (const choice of choices) {
      const sampled = samples[choice.index];
      if (sampled === undefined) continue;
      const { text, details } = sampled.push(choice);
      if (text !== "")
        yield { type: "text", index: choice.index, text, tokens: sampled.tell(), ...(details && { details }) };
      const sample = sampled.end(choice);
      if (sample === null) continue;
      const whole = sampled.isCut ? (await textOf(sample.tokens, signal)).replace(/\uFFFD+$/u, "") : sample.text;
      const rest = whole.startsWith(sample.text) ? whole.slice(sample.text.length) : "";
      if (rest !== "") yield { type: "text", index: choice.index, text: rest, tokens: sampled.tell() };
      yield { type: "done", index: choice.index, sample: { ...sample, text: sample.text + rest } };
    }
  }
  if (samples.some(({ isDone }) => !isDone))
    throw new GatewayError("engine_failure", "The vLLM server ended its answer before all samples were done.");
}

/**
 * Where a sample ends by its length, the token after its last one tells what ending there would have cost: a step more
 * in place of a second pass over the whole context.
 */
function looksAhead({ logprobs, topLogprobs }: SampleRequest): boolean {
  return logprobs && topLogprobs === undefined;
}

/** vLLM refuses several samples at temperature 0. */
const greedyTogether = { temperature: 1, top_p: 1, top_k: 1 };

/** Everything is said, so that no default of the model's own (its generation_config.json) has a say. */
function requestBody({ tokens, end }: Prompt, request: SampleRequest): Record<string, unknown> {
  const { logprobs, topLogprobs, logitBias, grammar } = request;
  return {
    prompt: tokens,
    n: request.seeds.length,
    seed: request.seeds[0],
    stream: true,
    stream_options: { include_usage: true },
    return_token_ids: true,
    max_tokens: request.maxTokens + (looksAhead(request) ? 1 : 0),
    ...(request.temperature === 0 && request.seeds.length > 1
      ? greedyTogether
      : { temperature: request.temperature, top_p: request.topP, top_k: request.topK === 0 ? -1 : request.topK }),
    min_p: request.minP ?? 0,
    repetition_penalty: request.repetitionPenalty ?? 1,
    // Until then the prompt's end token is forbidden as well, which ignore_eos would not do.
    min_tokens: Math.min(request.ignoreEos ? request.maxTokens : (request.minTokens ?? 0), request.maxTokens),
    presence_penalty: request.presencePenalty ?? 0,
    frequency_penalty: request.frequencyPenalty ?? 0,
    stop: request.stop,
    stop_token_ids: [end, ...(request.endTokens ?? [])],
    ...(logitBias !== undefined && logitBias.size > 0 && { logit_bias: Object.fromEntries(logitBias) }),
    ...(topLogprobs !== undefined && { logprobs: topLogprobs }),
    // The end token's log-probability at each step: a text that is cut earlier is then known as well.
    ...(topLogprobs === undefined &&
      logprobs && { logprobs: 0, logprob_token_ids: [end], return_tokens_as_token_ids: true }),
    ...(grammar !== undefined && { structured_outputs: { grammar } }),
  };
}

/** One sample as it comes. */
class VllmSample {
  readonly #end: Token;
  readonly #request: SampleRequest;
  readonly #tokens: Token[] = [];
  readonly #logprobs: number[] = [];
  readonly #endLogprobs: (number | null)[] = [];
  #text = "";
  /** Tokens that have been told of with text. */
  #told = 0;
  /** Where the next token begins. */
  #offset = 0;
  /** Of tokens that begin in text which has not come yet; and of the others. */
  #waiting: TokenDetail[] = [];
  readonly #details: TokenDetail[] = [];
  /** The token that closed it. */
  #closing: TokenDetail | undefined;
  isDone = false;
  /** It was ended by its length; not all of its text is in the sample. */
  isCut = false;

  constructor(end: Token, request: SampleRequest) {
    this.#end = end;
    this.#request = request;
  }

  push(choice: ChoiceChunk): { text: string; details?: TokenDetail[] } {
    const closing = endsWithEos(choice) ? choice.token_ids.length - 1 : -1;
    for (const [i, token] of choice.token_ids.entries()) {
      this.#addEndLogprob(choice, i, token);
      if (i === closing) this.#closing = this.#detail(choice, i);
      if (i === closing) continue;
      if (this.#tokens.length === this.#request.maxTokens) this.isCut = true;
      else this.#add(choice, i, token);
    }
    // Part of it may be the text of the token that was looked ahead to.
    if (this.isCut) return { text: "" };
    this.#text += choice.text;
    if (this.#request.topLogprobs === undefined) return { text: choice.text };
    const begun = this.#waiting.filter(({ offset }) => offset < this.#text.length);
    this.#waiting = this.#waiting.slice(begun.length);
    this.#details.push(...begun);
    return { text: choice.text, details: begun };
  }

  /** Tokens since it was last asked. */
  tell(): number {
    const tokens = this.#tokens.length - this.#told;
    this.#told = this.#tokens.length;
    return tokens;
  }

  /** The sample, if this was its last piece. Throws "engine_unavailable" where the server gave it up. */
  end({ finish_reason: finish, stop_reason: reason }: ChoiceChunk): Sample | null {
    if (finish === null || finish === undefined) return null;
    if (finish !== "stop" && finish !== "length")
      throw new GatewayError(
        "engine_unavailable",
        `The vLLM server ended a sample with ${quoted(finish, 40)}. Retry the request.`,
      );
    this.isDone = true;
    const sample = { text: this.#text, finish: this.isCut ? "length" : finish, tokens: this.#tokens } as const;
    const logprobs = this.#request.logprobs
      ? { logprobs: this.#logprobs, endLogprobs: this.#endLogprobs }
      : { logprobs: [], endLogprobs: [] };
    const stopped = finish === "stop" && typeof reason === "string" && { stopString: reason };
    const hidden = [...this.#waiting, ...(this.#closing === undefined ? [] : [this.#closing])];
    const rest = stopped ? [] : hidden.map((detail) => ({ ...detail, offset: this.#text.length }));
    return {
      ...sample,
      ...logprobs,
      ...stopped,
      ...(this.#request.topLogprobs !== undefined && { details: this.#details, rest }),
    };
  }

  /** What is known of ending before token `i` of the piece. */
  #addEndLogprob({ logprobs }: ChoiceChunk, i: number, token: Token): void {
    const own = logprobs?.token_logprobs[i] ?? null;
    this.#endLogprobs.push(token === this.#end ? own : (logprobs?.top_logprobs[i]?.[`token_id:${this.#end}`] ?? null));
  }

  #add(choice: ChoiceChunk, i: number, token: Token): void {
    this.#tokens.push(token);
    this.#logprobs.push(choice.logprobs?.token_logprobs[i] ?? Number.NaN);
    if (this.#request.topLogprobs === undefined) return;
    const detail = this.#detail(choice, i);
    this.#waiting.push(detail);
    this.#offset += detail.text.length;
  }

  #detail({ logprobs }: ChoiceChunk, i: number): TokenDetail {
    return {
      ...detailOf(logprobs?.tokens[i] ?? "", logprobs?.token_logprobs[i] ?? Number.NaN),
      offset: this.#offset,
      top: topOf(logprobs?.top_logprobs[i], this.#request.topLogprobs ?? 0),
    };
  }
}

/**
 * Its last token is one that closes it: the model's end of sequence (no reason given), or the prompt's end token (its
 * number).
 */
function endsWithEos({ finish_reason, stop_reason }: ChoiceChunk): boolean {
  return finish_reason === "stop" && typeof stop_reason !== "string";
}
