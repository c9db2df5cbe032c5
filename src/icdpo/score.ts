/** @module Lines 3 to 9 of Algorithm 1: how much more likely the model finds a response under C⁺ than under the negative context, Eq. 8 and 11. */
import type { Engine, Prompt, Sample, Token } from "../engine/engine.ts";
import type { PromptFormat, Score } from "../policy/schema.ts";
import { GatewayError } from "../types/error.ts";
import type { Contexts, Negative } from "./contexts.ts";
import { responseTokens } from "./prompt.ts";
import type { Candidate } from "./sample.ts";

/** A candidate as it is scored: the text that would be returned, tokenised anew and closed by the end token. */
export interface Response extends Candidate {
  readonly closed: readonly Token[];
}

export interface ScoredResponse extends Response {
  /** log π(y ∣ C⁺), the sum over the tokens of y and the closing token, in nats; null where it was not measured. */
  readonly positive: number | null;
  /** log π(y ∣ C⁻) or log π(y ∣ C⁰), likewise. */
  readonly negative: number | null;
  readonly score: number | null;
}

/** Tokens that scoring took: contexts fed again, and responses fed after them. */
export interface ScoringWork {
  prompt: number;
  scored: number;
}

export interface ScoreOptions {
  readonly score: Score;
  readonly work: ScoringWork;
  readonly signal?: AbortSignal | undefined;
}

/** The context that a policy's score is measured against. */
export function negativeOf(score: Score): Negative {
  return score.type === "contrast" ? score.negative : null;
}

export async function closeResponses(
  engine: Engine,
  format: PromptFormat,
  candidates: readonly Candidate[],
  end: Token,
  signal?: AbortSignal,
): Promise<Response[]> {
  const texts = candidates.map(({ text }) => text);
  const tokens = await responseTokens(engine, format, texts, end, signal);
  return candidates.map((candidate, index) => ({ ...candidate, closed: tokens[index] as Token[] }));
}

/** A response that nothing has to be chosen over. */
export function unscored(response: Response): ScoredResponse {
  return { ...response, positive: null, negative: null, score: null };
}

/** What was noted while sampling, without a second pass: a likelihood. A contrast stays unscored. */
export function scoredByNotes(response: Response, score: Score): ScoredResponse {
  const positive = response.text === "" ? null : notedSum(response.sample, response.closed);
  return { ...response, positive, negative: null, score: scoreOf(score, { positive, negative: null }, response.closed.length) };
}

/**
 * Scores each distinct, non-empty text once. The log-probabilities noted while sampling stand for log π(y ∣ C⁺) where the closed text is
 * what was sampled; otherwise it is fed after C⁺ again. An empty response is not scored.
 */
export async function scoreResponses(
  engine: Engine,
  contexts: Contexts,
  responses: readonly Response[],
  options: ScoreOptions,
): Promise<ScoredResponse[]> {
  const distinct = responses.filter(({ text }, index) => text !== "" && responses.findIndex((other) => other.text === text) === index);
  const positives = new Map(distinct.map((response) => [response, notedSum(response.sample, response.closed)]));
  const unnoted = distinct.filter((response) => positives.get(response) === null);
  const forced = await forcedSums(engine, contexts.positive, unnoted, options);
  for (const [place, response] of unnoted.entries()) positives.set(response, forced[place] as number);
  const negatives = contexts.negative === null ? [] : await forcedSums(engine, contexts.negative, distinct, options);
  return responses.map((response) => {
    const place = distinct.findIndex(({ text }) => text === response.text);
    const same = distinct[place];
    if (same === undefined) return unscored(response);
    const sums = { positive: positives.get(same) ?? null, negative: negatives[place] ?? null };
    return { ...response, ...sums, score: scoreOf(options.score, sums, response.closed.length) };
  });
}

/** Ŝ or S = log π(y ∣ C⁺) − log π(y ∣ C⁻ or C⁰); or the likelihood log π(y ∣ C⁺) alone; per token if the policy says so. */
export function scoreOf(
  score: Score,
  sums: { readonly positive: number | null; readonly negative: number | null },
  tokens: number,
): number | null {
  if (score.type === "none" || sums.positive === null) return null;
  if (score.type === "contrast" && sums.negative === null) return null;
  const difference = score.type === "contrast" ? sums.positive - (sums.negative as number) : sums.positive;
  if (Number.isNaN(difference)) throw unscorable();
  return score.normalize === "token" ? difference / tokens : difference;
}

/** `[responses]`: log π(y ∣ prompt) of each by teacher forcing, in nats. */
export async function forcedSums(
  engine: Engine,
  prompt: Prompt,
  responses: readonly Pick<Response, "closed">[],
  { work, signal }: Pick<ScoreOptions, "work" | "signal">,
): Promise<number[]> {
  if (responses.length === 0) return [];
  const completions = responses.map(({ closed }) => closed);
  work.prompt += prompt.tokens.length;
  work.scored += completions.reduce((total, completion) => total + completion.length, 0);
  const logprobs = await engine.score(prompt, completions, signal);
  if (completions.some((completion, index) => logprobs[index]?.length !== completion.length)) throw unscorable();
  return logprobs.map(sum);
}

/** log π(y ∣ C⁺) as noted while sampling, if the closed text is a beginning of what was sampled; else null. */
function notedSum(sample: Sample | null, closed: readonly Token[]): number | null {
  const length = closed.length - 1;
  const end = sample?.endLogprobs[length];
  if (sample === null || end === undefined) return null;
  for (let i = 0; i < length; i++) if (sample.tokens[i] !== closed[i]) return null;
  return sum([...sample.logprobs.slice(0, length), end]);
}

function sum(values: readonly number[]): number {
  const total = values.reduce((subtotal, value) => subtotal + value, 0);
  if (Number.isNaN(total)) throw unscorable();
  return total;
}

function unscorable(): GatewayError {
  return new GatewayError("engine_failure", "The engine returned no log-probability for a token of a completion.");
}
