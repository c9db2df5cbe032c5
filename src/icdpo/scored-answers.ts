/**
 * @module Whole answers that compete by their scores: n candidates, or waves of them until the best one leads by the
 * policy's margin.
 */
import { isBySums, wantsConsensus } from "../policy/score-schema.ts";
import { rewarder } from "./candidate-reward.ts";
import { rank } from "./choose.ts";
import { consensusOf } from "./consensus.ts";
import type { Contexts } from "./contexts.ts";
import type { CopySources } from "./copied.ts";
import { finalScores, type Measured, totalsOf } from "./final-scores.ts";
import { idsFor, type ScoredResponse } from "./response.ts";
import type { Candidate } from "./sample.ts";
import type { Sums } from "./score.ts";
import { Scorer, scoreCandidates } from "./scorer.ts";
import type { Chosen, Run, Strategy } from "./strategy.ts";
import { isClear, type Wave, wavesOf } from "./waves.ts";
import { candidatesOf, sampleOptions, tokenizer, whenDone } from "./whole-answers.ts";

/** The paper's: S or Ŝ of each candidate, or its likelihood, as soon as it ends; the largest wins. */
export class ScoredAnswers implements Strategy {
  readonly #run: Run;
  readonly #contexts: Contexts;
  readonly #sources: CopySources | null;
  readonly #waves: readonly [Wave, ...Wave[]];
  /** By text, of all waves. */
  readonly #sums = new Map<string, Promise<Sums>>();
  /** Of the wave under way. */
  #scorer: Scorer;
  /** `[waves]`: the sizes of those so far. */
  readonly #sampled: number[] = [];
  /** The budget came before another wave. */
  #isCutShort = false;

  constructor(run: Run, contexts: Contexts, sources: CopySources | null) {
    this.#run = run;
    this.#contexts = contexts;
    this.#sources = sources;
    this.#waves = wavesOf(run.policy.settings.candidates, run.request.answers, run.count);
    this.#scorer = this.#newScorer();
  }

  /** The first wave. */
  sample(): AsyncIterable<Candidate> {
    return this.#sample(this.#waves[0]);
  }

  /** Of the first wave's candidates, and of those of further waves, as long as the choice is not clear. */
  async score(candidates: AsyncIterable<Candidate>): Promise<readonly ScoredResponse[]> {
    const { budget, request, timings, lap } = this.#run;
    let measured = await this.#scoreWave(candidates);
    let scored = await this.#withConsensus(measured);
    for (const wave of this.#waves.slice(1)) {
      if (this.#isClear(scored)) break;
      this.#isCutShort = budget.isSpent;
      if (budget.isSpent) break;
      timings.score += lap();
      request.onStage?.("queue");
      this.#scorer = this.#newScorer();
      measured = [...measured, ...(await this.#scoreWave(this.#sample(wave)))];
      scored = await this.#withConsensus(measured);
    }
    return scored;
  }

  choose(measured: readonly ScoredResponse[]): Chosen {
    const { policy, timings, lap } = this.#run;
    const { score: setting, candidates } = policy.settings;
    const isCompared = !wantsConsensus(setting) || measured.every(({ consensus }) => consensus !== undefined);
    const { ranked, natsPerToken } = this.#ranked(measured);
    policy.rate?.add(totalsOf(this.#sized(measured)));
    timings.score += lap();
    return {
      ranked,
      isSpent:
        this.#isCutShort ||
        !isCompared ||
        measured.some(({ sample, score, text }) => sample === null || (score === null && text !== "")),
      natsPerToken,
      waves: typeof candidates === "number" ? null : this.#sampled,
    };
  }

  #sample({ first, count }: Wave): AsyncIterable<Candidate> {
    const { policy, timings, lap, request } = this.#run;
    const { positive, sampled } = this.#contexts;
    const scorer = this.#scorer;
    const onBegin = (): void => {
      request.onStage?.("sample");
      scorer.begin();
    };
    this.#sampled.push(count);
    // Sampled log-probabilities are of use only where the same model scores by them.
    const options = {
      ...sampleOptions(this.#run, this.#contexts),
      first,
      count,
      logprobs: positive === sampled && isBySums(policy.settings.score),
      onBegin,
    };
    return whenDone(candidatesOf(this.#run, this.#contexts, options), () => {
      timings.sample += lap();
      request.onStage?.("score");
    });
  }

  #scoreWave(candidates: AsyncIterable<Candidate>): Promise<ScoredResponse[]> {
    const { budget, stop, request } = this.#run;
    const tokenize = tokenizer(this.#run, this.#contexts, this.#sources);
    const onScored = request.watch?.onStanding;
    return scoreCandidates(candidates, { scorer: this.#scorer, tokenize, budget, stop, onScored });
  }

  /** One for each wave: a server scores what it was given once it knows that no more comes. C⁻ is in its cache then. */
  #newScorer(): Scorer {
    const { policy, request, usage, budget } = this.#run;
    const reward = rewarder(policy, request.conversation, budget.signal);
    return new Scorer(this.#contexts, policy.settings.score, { usage, signal: budget.signal }, reward, this.#sums);
  }

  #isClear(scored: readonly ScoredResponse[]): boolean {
    const { candidates, score } = this.#run.policy.settings;
    return typeof candidates === "number" || isClear(this.#ranked(scored).ranked, candidates.margin, score);
  }

  /** By the scores with which they compete, among all so far. */
  #ranked(scored: readonly ScoredResponse[]): Pick<Chosen, "ranked" | "natsPerToken"> {
    const { policy } = this.#run;
    const { scores, natsPerToken } = finalScores(policy, this.#sized(scored));
    const final = scored.map((one, i) => ({ ...one, score: scores[i] ?? null }));
    return { ranked: rank(final, policy.settings.score), natsPerToken };
  }

  #sized(scored: readonly ScoredResponse[]): Measured[] {
    return scored.map((one) => ({ ...one, tokens: idsFor(this.#contexts.positive, one).length }));
  }

  /** With what each has in common with the others, where the policy asks for it; a spent budget leaves it out. */
  async #withConsensus(scored: readonly ScoredResponse[]): Promise<readonly ScoredResponse[]> {
    const { policy, request, budget } = this.#run;
    if (!wantsConsensus(policy.settings.score) || budget.isSpent) return scored;
    const texts = scored.map(({ text }) => text);
    try {
      const cosines = await consensusOf(texts, policy.embedder, budget.signal, request.tenant);
      return scored.map((one, i) => ({ ...one, consensus: cosines[i] ?? null }));
    } catch (error) {
      if (!budget.explains(error)) throw error;
      return scored;
    }
  }
}
