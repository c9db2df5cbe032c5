/** @module Scores candidates as they end, while others are still being sampled. */
import { isBySums, type Score } from "../policy/score-schema.ts";
import type { Rewarder } from "./candidate-reward.ts";
import type { Contexts } from "./contexts.ts";
import { type ScoringOptions, TeacherForcing } from "./forced-sums.ts";
import { idsFor, type Response, type ScoredResponse, unscored } from "./response.ts";
import type { Candidate } from "./sample.ts";
import { type Sums, sampledSum, scoreOf } from "./score.ts";
import type { TimeBudget } from "./time-budget.ts";

/**
 * Scores of responses as they come. Each distinct, non-empty text is scored once. Sampled log-probabilities stand for
 * log π(y ∣ C⁺) where the ids with EOS are what was sampled; otherwise they are fed after C⁺ again. An empty response
 * is not scored. Where a reward model is asked, it is while the sums are made; where it alone chooses, none are.
 */
export class Scorer {
  readonly #score: Score;
  readonly #contexts: Contexts;
  readonly #positive: TeacherForcing;
  readonly #negative: TeacherForcing | null;
  readonly #reward: Rewarder | null;
  readonly #sums: Map<string, Promise<Sums>>;

  /** `sums`: of texts that are known already; grows by those that are measured. */
  constructor(
    contexts: Contexts,
    score: Score,
    options: ScoringOptions,
    reward: Rewarder | null = null,
    sums = new Map<string, Promise<Sums>>(),
  ) {
    this.#reward = reward;
    this.#score = score;
    this.#contexts = contexts;
    this.#sums = sums;
    this.#positive = new TeacherForcing(contexts.positive, options);
    this.#negative = contexts.negative && new TeacherForcing(contexts.negative, options);
  }

  /** What is not known from sampling can be made ready while candidates are still being sampled. */
  begin(): void {
    if (isBySums(this.#score) && !this.#hasSampledLogprobs) this.#positive.begin();
    this.#negative?.begin();
  }

  /** The model that scores is the one that samples: its sampled log-probabilities are those under C⁺. */
  get #hasSampledLogprobs(): boolean {
    return this.#contexts.positive === this.#contexts.sampled;
  }

  /**
   * What has to be fed is handed to the engine before this returns. Throws "cancelled" or "timeout" when the signal
   * fires.
   */
  async score(response: Response): Promise<ScoredResponse> {
    if (response.text === "") return unscored(response);
    const known = this.#sums.get(response.text) ?? this.#measure(response);
    this.#sums.set(response.text, known);
    return this.#scored(response, await known);
  }

  /**
   * By the sampled log-probabilities, without a second pass: a likelihood. A contrast stays unscored, and what a reward
   * counts in.
   */
  scoreBySamples(response: Response): ScoredResponse {
    return this.#scored(response, {
      positive: response.text === "" ? null : this.#sampledSum(response),
      negative: null,
      ...(this.#reward && { reward: null }),
    });
  }

  /**
   * Resolves when the engine has ended what was asked of it, or has been stopped: nothing more is counted then. Never
   * throws.
   */
  async over(): Promise<void> {
    await Promise.all([this.#positive.over(), this.#negative?.over()]);
  }

  /** No more responses come: an engine that scores many in one call can begin. */
  end(): void {
    this.#positive.end();
    this.#negative?.end();
  }

  #scored(response: Response, sums: Sums): ScoredResponse {
    return {
      ...response,
      ...sums,
      score: scoreOf(this.#score, sums, idsFor(this.#contexts.positive, response).length),
    };
  }

  #sampledSum({ sample, idsWithEos }: Response): number | null {
    return this.#hasSampledLogprobs ? sampledSum(sample, idsWithEos) : null;
  }

  async #measure(response: Response): Promise<Sums> {
    if (this.#reward === null) return this.#forced(response);
    const [sums, reward] = await Promise.all([
      isBySums(this.#score) ? this.#forced(response) : { positive: null, negative: null },
      this.#reward(response.text),
    ]);
    return { ...sums, reward };
  }

  async #forced(response: Response): Promise<Sums> {
    const { positive: expert, negative: amateur } = this.#contexts;
    const [positive, negative] = await Promise.all([
      this.#sampledSum(response) ?? this.#positive.sum(idsFor(expert, response)),
      this.#negative === null || amateur === null ? null : this.#negative.sum(idsFor(amateur, response)),
    ]);
    return { positive, negative };
  }
}

export interface CandidateScoring {
  readonly scorer: Scorer;
  readonly tokenize: (candidate: Candidate) => Promise<Response>;
  readonly budget: TimeBudget;
  /** Is told of each score. */
  readonly onScored?: ((scored: ScoredResponse) => void) | undefined;
  /** Stops what else is done for the request where a score fails. */
  readonly stop: AbortController;
}

/**
 * `[candidates]`, by index: scores candidates as they are sampled. A spent budget leaves those that have no score yet
 * with their sampled log-probabilities; any other failure is an error, and stops what else is done for the request.
 */
export async function scoreCandidates(
  candidates: AsyncIterable<Candidate>,
  scoring: CandidateScoring,
): Promise<ScoredResponse[]> {
  const { scorer, tokenize, stop, onScored } = scoring;
  const scored: Promise<ScoredResponse>[] = [];
  const tokenized: Promise<Response>[] = [];
  try {
    for await (const candidate of candidates) {
      const response = tokenize(candidate);
      const score = scoreWithin(response, scoring);
      score.then(onScored).catch((error: unknown) => stop.abort(error));
      tokenized.push(response);
      scored.push(score);
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

async function scoreWithin(
  tokenizing: Promise<Response>,
  { scorer, budget }: CandidateScoring,
): Promise<ScoredResponse> {
  const response = await tokenizing;
  try {
    return budget.isSpent ? scorer.scoreBySamples(response) : await scorer.score(response);
  } catch (error) {
    if (!budget.explains(error)) throw error;
    return scorer.scoreBySamples(response);
  }
}
