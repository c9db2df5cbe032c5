/** @module Lines 3 to 9 of Algorithm 1: how much more likely the model finds a response under C⁺ than under the negative context, Eq. 8 and 11. */

import { EventQueue } from "../async/event-queue.ts";
import type { Engine, Sample, Token } from "../engine/engine.ts";
import type { Score } from "../policy/schema.ts";
import { GatewayError, isCancellation } from "../types/error.ts";
import type { Contexts, Negative, ScoringContext } from "./contexts.ts";
import { responseTokens } from "./prompt.ts";
import type { Candidate } from "./sample.ts";
import { counted, type TokenUsage } from "./token-usage.ts";

/** A candidate as it is scored: the text that would be returned, tokenised anew, with EOS at its end. */
export interface Response extends Candidate {
  /** In the tokens of the model that sampled it. */
  readonly idsWithEos: readonly Token[];
  /** In those of each model that scores it. */
  readonly idsByEngine: ReadonlyMap<Engine, readonly Token[]>;
}

export interface ScoredResponse extends Response {
  /** log π(y ∣ C⁺), the sum over the tokens of y and the closing token, in nats; null where it was not measured. */
  readonly positive: number | null;
  /** log π(y ∣ C⁻), log π(y ∣ C⁰) or log π_ref(y ∣ C⁺), likewise. */
  readonly negative: number | null;
  readonly score: number | null;
}

export interface ScoringOptions {
  readonly usage: TokenUsage;
  /** A part of a context has been fed; a context is at hand. */
  readonly onPrefill?: (() => void) | undefined;
  readonly onBegin?: (() => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The context that a policy's score is measured against. */
export function negativeOf(score: Score): Negative {
  return score.type === "contrast" ? score.negative : null;
}

/** `contexts`: the model that sampled, and those that score. */
export async function tokenizeResponse(
  candidate: Candidate,
  contexts: readonly [ScoringContext, ...ScoringContext[]],
  signal?: AbortSignal,
): Promise<Response> {
  const idsByEngine = new Map<Engine, readonly Token[]>();
  for (const { engine, format, prompt } of contexts) {
    if (idsByEngine.has(engine)) continue;
    const [idsWithEos] = await responseTokens(engine, format, [candidate.text], prompt.end, signal);
    idsByEngine.set(engine, idsWithEos as Token[]);
  }
  return { ...candidate, idsWithEos: idsFor(contexts[0], { idsByEngine }), idsByEngine };
}

function idsFor({ engine }: ScoringContext, { idsByEngine }: Pick<Response, "idsByEngine">): readonly Token[] {
  return idsByEngine.get(engine) ?? [];
}

/** A response that nothing has to be chosen over. */
export function unscored(response: Response): ScoredResponse {
  return { ...response, positive: null, negative: null, score: null };
}

/**
 * Scores of responses as they come. Each distinct, non-empty text is scored once. The sampled log-probabilities stand for
 * log π(y ∣ C⁺) where the ids with EOS are what was sampled; otherwise it is fed after C⁺ again. An empty response is not scored.
 */
export class Scorer {
  readonly #score: Score;
  readonly #contexts: Contexts;
  readonly #positive: TeacherForcing;
  readonly #negative: TeacherForcing | null;
  readonly #sums = new Map<string, Promise<Sums>>();

  constructor(contexts: Contexts, score: Score, options: ScoringOptions) {
    this.#score = score;
    this.#contexts = contexts;
    this.#positive = new TeacherForcing(contexts.positive, options);
    this.#negative = contexts.negative && new TeacherForcing(contexts.negative, options);
  }

  /** What is not known from sampling can be made ready while candidates are still being sampled. */
  begin(): void {
    if (!this.#hasSampledLogprobs) this.#positive.begin();
    this.#negative?.begin();
  }

  /** The model that scores is the one that samples: its sampled log-probabilities are those under C⁺. */
  get #hasSampledLogprobs(): boolean {
    return this.#contexts.positive === this.#contexts.sampled;
  }

  /** What has to be fed is handed to the engine before this returns. Throws "cancelled" or "timeout" when the signal fires. */
  async score(response: Response): Promise<ScoredResponse> {
    if (response.text === "") return unscored(response);
    const known = this.#sums.get(response.text) ?? this.#measure(response);
    this.#sums.set(response.text, known);
    const sums = await known;
    return this.#scored(response, sums);
  }

  /** By the sampled log-probabilities, without a second pass: a likelihood. A contrast stays unscored. */
  scoreBySamples(response: Response): ScoredResponse {
    return this.#scored(response, { positive: response.text === "" ? null : this.#sampledSum(response), negative: null });
  }

  #scored(response: Response, sums: Sums): ScoredResponse {
    return { ...response, ...sums, score: scoreOf(this.#score, sums, idsFor(this.#contexts.positive, response).length) };
  }

  #sampledSum({ sample, idsWithEos }: Response): number | null {
    return this.#hasSampledLogprobs ? sampledSum(sample, idsWithEos) : null;
  }

  /** Resolves when the engine has ended what was asked of it, or has been stopped: nothing more is counted then. Never throws. */
  async over(): Promise<void> {
    await Promise.all([this.#positive.over(), this.#negative?.over()]);
  }

  /** No more responses come: an engine that scores many in one call can begin. */
  end(): void {
    this.#positive.end();
    this.#negative?.end();
  }

  async #measure(response: Response): Promise<Sums> {
    const { positive: expert, negative: amateur } = this.#contexts;
    const [positive, negative] = await Promise.all([
      this.#sampledSum(response) ?? this.#positive.sum(idsFor(expert, response)),
      this.#negative === null || amateur === null ? null : this.#negative.sum(idsFor(amateur, response)),
    ]);
    return { positive, negative };
  }
}

type Sums = Pick<ScoredResponse, "positive" | "negative">;

/**
 * Scores candidates as they are sampled. A spent budget leaves those that have no score yet with their sampled log-probabilities; any other failure is an error,
 * and stops what else is done for the request.
 */
export async function scoreCandidates(
  candidates: AsyncIterable<Candidate>,
  scorer: Scorer,
  tokenize: (candidate: Candidate) => Promise<Response>,
  isSpent: () => boolean,
  stop: AbortController,
): Promise<ScoredResponse[]> {
  const scored: Promise<ScoredResponse>[] = [];
  const tokenized: Promise<Response>[] = [];
  const scoreOne = async (tokenizing: Promise<Response>): Promise<ScoredResponse> => {
    const response = await tokenizing;
    try {
      return isSpent() ? scorer.scoreBySamples(response) : await scorer.score(response);
    } catch (error) {
      if (!isSpent() || !isCancellation(error)) throw error;
      return scorer.scoreBySamples(response);
    }
  };
  try {
    for await (const candidate of candidates) {
      const tokenizing = tokenize(candidate);
      const scoring = scoreOne(tokenizing);
      scoring.catch((error: unknown) => stop.abort(error));
      tokenized.push(tokenizing);
      scored.push(scoring);
    }
    await Promise.all(tokenized);
    scorer.end();
    return (await Promise.all(scored)).toSorted((a, b) => a.index - b.index);
  } catch (error) {
    stop.abort(error);
    await scorer.over();
    throw stop.signal.reason;
  } finally {
    scorer.end();
  }
}

/** Ŝ or S = log π(y ∣ C⁺) − log π(y ∣ C⁻ or C⁰); or log π(y ∣ C⁺) − log π_ref(y ∣ C⁺); or the likelihood log π(y ∣ C⁺) alone; per token if the policy says so. */
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

/** log π(y ∣ prompt) of responses as they come, by teacher forcing, in nats: one call to the engine. */
class TeacherForcing {
  readonly #context: ScoringContext;
  readonly #options: ScoringOptions;
  readonly #completions = new EventQueue<readonly Token[]>();
  readonly #awaited: { readonly tokens: number; readonly resolve: (sum: number) => void }[] = [];
  #outcome: Promise<void> | undefined;

  constructor(context: ScoringContext, options: ScoringOptions) {
    this.#context = context;
    this.#options = options;
  }

  begin(): void {
    if (this.#outcome !== undefined) return;
    this.#outcome = this.#run();
    this.#outcome.catch(() => {}); // every sum that is awaited throws it
  }

  sum(idsWithEos: readonly Token[]): Promise<number> {
    this.begin();
    const summed = new Promise<number>((resolve, reject) => {
      this.#awaited.push({ tokens: idsWithEos.length, resolve });
      this.#outcome?.then(() => reject(unscorable()), reject);
    });
    this.#completions.push(idsWithEos);
    return summed;
  }

  end(): void {
    this.#completions.end();
  }

  async over(): Promise<void> {
    await this.#outcome?.catch(() => {});
  }

  async #run(): Promise<void> {
    const { usage, signal } = this.#options;
    const { engine, prompt } = this.#context;
    for await (const event of counted(engine.score(prompt, this.#completions, signal), prompt.tokens.length, usage)) {
      if (event.type === "prefill") this.#options.onPrefill?.();
      if (event.type === "prompt") this.#options.onBegin?.();
      if (event.type !== "scored") continue;
      const { tokens, resolve } = this.#awaited[event.index] ?? {};
      if (event.logprobs.length !== tokens) throw unscorable();
      resolve?.(sum(event.logprobs));
    }
  }
}

/** `[completions]`: log π(y ∣ prompt) of each by teacher forcing, in nats. */
export async function forcedSums(
  context: ScoringContext,
  completions: readonly (readonly Token[])[],
  options: ScoringOptions,
): Promise<number[]> {
  const forcing = new TeacherForcing(context, options);
  const sums = completions.map((completion) => forcing.sum(completion));
  forcing.end();
  return Promise.all(sums);
}

/** log π(y ∣ C⁺) by sampled log-probabilities, if the ids are a beginning of what was sampled; else null. */
function sampledSum(sample: Sample | null, idsWithEos: readonly Token[]): number | null {
  const length = idsWithEos.length - 1;
  const end = sample?.endLogprobs[length];
  if (sample === null || end === undefined || end === null) return null;
  for (let i = 0; i < length; i++) if (sample.tokens[i] !== idsWithEos[i]) return null;
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
