/**
 * @module Teacher forcing on a server that returns no log-probabilities of given text: tokens are sampled under a
 * grammar that allows them alone, and the server tells what the raw logits, before grammar and bias, made of each. A
 * step a token, so slower than a prompt of as many.
 */
import { GatewayError } from "../../types/error.ts";
import type { PrefillEvent, PromptEvent, ScoreEvent, Token, TokenDetail } from "../engine.ts";
import type { Replicas } from "../server/replicas.ts";
import {
  type CompletionBody,
  type CompletionModel,
  complete,
  detailOf,
  logprobAt,
  prefillOf,
  type TokenProbability,
} from "./completion-events.ts";

export interface Forced {
  /** `[tokens]`, in nats. */
  readonly logprobs: readonly number[];
  readonly details: readonly TokenDetail[];
}

/** More than any two logits are apart. */
const decisive = 1000;
/** How many of the likeliest tokens are asked for, to find one that cannot be sampled; at last all. */
const searches = [64, 2048];
const greedy = { samplers: ["top_k"], top_k: 1, stop: [] };

/** Has the prompt computed into the server's cache of prefixes. */
async function* prefill(
  replicas: Replicas,
  served: CompletionModel,
  prompt: readonly Token[],
  signal?: AbortSignal,
): AsyncGenerator<PrefillEvent | PromptEvent> {
  let cached = 0;
  for await (const { prompt_progress: progress, timings } of complete(
    replicas,
    served,
    prompt,
    { ...greedy, n_predict: 0 },
    signal,
  )) {
    cached = progress?.cache ?? timings?.cache_n ?? cached;
    if (progress) yield prefillOf(progress);
  }
  yield { type: "prompt", cached };
}

/** log π(token i ∣ prompt, tokens before i). The last token is the one that closes the completion. */
export async function force(
  replicas: Replicas,
  served: CompletionModel,
  prompt: readonly Token[],
  completion: readonly Token[],
  top: number,
  signal?: AbortSignal,
): Promise<Forced> {
  const { vocabulary } = served;
  const logprobs: number[] = [];
  const details: TokenDetail[] = [];
  const decoder = new TextDecoder();
  let offset = 0;
  for (let begin = 0; begin < completion.length; begin = logprobs.length) {
    const context = [...prompt, ...completion.slice(0, begin)];
    const run = textRun(served, completion, begin);
    const entries =
      run.length > 0
        ? await sampleRun(replicas, served, context, run, top, signal)
        : [await searchToken(replicas, served, context, completion[begin] as Token, top, signal)];
    for (const entry of entries) {
      logprobs.push(logprobAt(entry, entry.id) as number);
      details.push(detailOf(vocabulary, entry, top, offset));
      if (!vocabulary.isControl(entry.id))
        offset += decoder.decode(vocabulary.bytes(entry.id), { stream: true }).length;
    }
  }
  return { logprobs, details };
}

export async function* score(
  replicas: Replicas,
  served: CompletionModel,
  prompt: readonly Token[],
  completions: Iterable<readonly Token[]> | AsyncIterable<readonly Token[]>,
  signal?: AbortSignal,
  topLogprobs?: number,
): AsyncGenerator<ScoreEvent> {
  yield* prefill(replicas, served, prompt, signal);
  let index = 0;
  // One after another: the server keeps a prompt in one place, and what runs beside it would compute it anew.
  for await (const completion of completions) {
    const { logprobs, details } = await force(replicas, served, prompt, completion, topLogprobs ?? 0, signal);
    yield { type: "scored", index, logprobs, ...(topLogprobs !== undefined && { details }) };
    index += 1;
  }
}

/**
 * Tokens that a grammar can force one after another: whole characters, and what closes the completion. Grammars do not
 * match what ends in half a character, and a server whose grammar allows nothing may end.
 */
function textRun({ vocabulary }: CompletionModel, completion: readonly Token[], begin: number): Token[] {
  const isForced = (token: Token, i: number): boolean =>
    vocabulary.isText(token) || (i === completion.length - 1 && vocabulary.isControl(token));
  const end = completion.findIndex((token, i) => i >= begin && !isForced(token, i));
  return completion.slice(begin, end < 0 ? completion.length : end);
}

async function sampleRun(
  replicas: Replicas,
  served: CompletionModel,
  context: readonly Token[],
  run: readonly Token[],
  top: number,
  signal: AbortSignal | undefined,
): Promise<TokenProbability[]> {
  const { vocabulary } = served;
  const last = run.at(-1) as Token;
  const closes = vocabulary.isControl(last);
  const text = (closes ? run.slice(0, -1) : run).map((token) => `<[${token}]>`).join(" ");
  // Where the text is over, a grammar lets any token pass that ends a generation: a bias decides among them.
  const grammar = closes ? `root ::= ${text} (<[${last}]>)?` : `root ::= ${text}`;
  const body = {
    ...greedy,
    n_predict: run.length,
    n_probs: Math.max(1, top),
    grammar,
    ...(closes && { logit_bias: [[last, decisive]] }),
  };
  const entries = await readEntries(replicas, served, context, body, signal);
  if (entries.length !== run.length || entries.some(({ id }, i) => id !== run[i]))
    throw new GatewayError(
      "engine_failure",
      "llama-server did not sample the tokens that its grammar allows. Is it older than token grammars (2025)?",
    );
  return entries;
}

/** Of a token that the server would not show: its place among the likeliest, while another is sampled. */
async function searchToken(
  replicas: Replicas,
  served: CompletionModel,
  context: readonly Token[],
  token: Token,
  top: number,
  signal: AbortSignal | undefined,
): Promise<TokenProbability> {
  const { vocabulary } = served;
  for (const count of [...searches, vocabulary.size]) {
    const body = {
      ...greedy,
      n_predict: 1,
      n_probs: Math.max(count, top),
      logit_bias: [[vocabulary.endOfSequence, decisive]],
    };
    const [entry] = await readEntries(replicas, served, context, body, signal);
    const found = entry?.top_logprobs.find(({ id }) => id === token);
    if (entry !== undefined && found !== undefined) return { ...found, top_logprobs: entry.top_logprobs.slice(0, top) };
  }
  throw new GatewayError("engine_failure", `llama-server returned no log-probability for token ${token}.`);
}

async function readEntries(
  replicas: Replicas,
  served: CompletionModel,
  context: readonly Token[],
  body: CompletionBody,
  signal: AbortSignal | undefined,
): Promise<TokenProbability[]> {
  const entries: TokenProbability[] = [];
  for await (const event of complete(replicas, served, context, body, signal))
    if (!event.prompt_progress && !event.stop) entries.push(...(event.completion_probabilities ?? []));
  return entries;
}
