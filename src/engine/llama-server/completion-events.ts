/**
 * @module The events of llama-server's own /completion, streamed: a token each, with its log-probability from the raw
 * logits.
 */
import { z } from "zod";
import { sampledAnswer } from "../../client/answer-size.ts";
import type { PrefillEvent, Token, TokenDetail } from "../engine.ts";
import type { Replicas } from "../server/replicas.ts";
import type { LlamaServerModel } from "./llama-server-model.ts";
import type { ServedVocabulary } from "./llama-server-tokenizer.ts";

const alternative = z.object({ id: z.int(), logprob: z.number() });
const probability = alternative.extend({ top_logprobs: z.array(alternative) });
const event = z.object({
  index: z.int(),
  content: z.string(),
  tokens: z.array(z.int()),
  stop: z.boolean(),
  /** Sampled so far. More than were shown: those that ended in half a character are not. */
  tokens_predicted: z.int(),
  prompt_progress: z.object({ total: z.int(), cache: z.int(), processed: z.int() }).nullish(),
  completion_probabilities: z.array(probability).nullish(),
  stop_type: z.enum(["none", "eos", "word", "limit"]).nullish(),
  /** The stop string, where it is one. */
  stopping_word: z.string().nullish(),
  timings: z.object({ cache_n: z.int().nullish() }).nullish(),
});
export type CompletionEvent = z.output<typeof event>;
type Progress = NonNullable<CompletionEvent["prompt_progress"]>;
export type TokenProbability = z.output<typeof probability>;

/** The server's own sampling settings may be anything: all that matter are given. */
export interface CompletionBody {
  readonly n_predict: number;
  /** Completions; absent: one. */
  readonly n_cmpl?: number;
  /** Alternatives of each token; absent: none. */
  readonly n_probs?: number;
  readonly grammar?: string;
  readonly samplers: readonly string[];
  readonly [field: string]: unknown;
}

/** Throws what the server's errors mean, as `RemoteServer` does. */
export function complete(
  replicas: Replicas,
  { adapters, caches }: CompletionModel,
  prompt: readonly Token[],
  body: CompletionBody,
  signal: AbortSignal | undefined,
): AsyncGenerator<CompletionEvent> {
  const fixed = {
    stream: true,
    return_tokens: true,
    return_progress: true,
    cache_prompt: caches,
    mirostat: 0,
    ...(adapters && { lora: adapters }),
  };
  const { n_predict: most, n_cmpl: count = 1, n_probs: alternatives = 0, grammar = "" } = body;
  // The last event of each completion holds all settings again.
  const size = sampledAnswer(count * (most + 1), alternatives, count * (prompt.length + grammar.length));
  const call = {
    path: "/completion",
    body: { prompt, ...fixed, ...body },
    answer: event,
    size,
    endsPlainly: true,
    signal,
  };
  return replicas.events(call, prompt);
}

export function prefillOf({ processed, cache }: Progress): PrefillEvent {
  return { type: "prefill", fed: Math.max(0, processed - cache) };
}

/**
 * The server computes probabilities in 32 bits, and writes −3.4e38 for the logarithm of what is less than any of them.
 */
const leastLogprob = Math.log(2 ** -149);

export function logprobOf({ logprob }: { readonly logprob: number }): number {
  return Math.max(logprob, leastLogprob);
}

/** The log-probability of another token at the same place; null where it is not among the likeliest. */
export function logprobAt(entry: TokenProbability | undefined, token: Token): number | null {
  const found = entry?.id === token ? entry : entry?.top_logprobs.find(({ id }) => id === token);
  return found === undefined ? null : logprobOf(found);
}

export function detailOf(
  vocabulary: ServedVocabulary,
  entry: TokenProbability,
  top: number,
  offset: number,
): TokenDetail {
  const described = ({ id, logprob }: { readonly id: Token; readonly logprob: number }) => ({
    ...vocabulary.describe(id),
    logprob: logprobOf({ logprob }),
  });
  return { ...described(entry), offset, top: entry.top_logprobs.slice(0, top).map(described) };
}

export type CompletionModel = Pick<LlamaServerModel, "vocabulary" | "adapters" | "caches">;
