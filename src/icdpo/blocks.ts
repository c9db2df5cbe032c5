/**
 * @module Block-wise choice (§ 4.1 of the paper): n blocks of k tokens are sampled, the best is kept and given at once,
 * and n more go on from there. With a teacher as scorer this is RM-Aug; with the policy's own S or Ŝ it is ICDPO whose
 * answer is seen from its first block on.
 */
import { noTotals, sumOfTotals } from "../policy/running-rate.ts";
import { CandidateText } from "./candidate-text.ts";
import { compare, demerits, type Merits, mindsCopies } from "./choose.ts";
import type { Contexts } from "./contexts.ts";
import type { CopySources } from "./copied.ts";
import { CutText } from "./cut-text.ts";
import { finalScore, natsPerTokenOf, totalsOf } from "./final-scores.ts";
import { type BlockOptions, longerByABlock, type Prefix, stopsOf } from "./next-blocks.ts";
import { type ScoredResponse, tokenizeResponse } from "./response.ts";
import type { Candidate } from "./sample.ts";
import { type Chosen, type Run, type Strategy, samplingWithin } from "./strategy.ts";

/** One answer, chosen block by block: its candidate comes with the sums and the score of all its blocks together. */
export class BlockwiseAnswer implements Strategy {
  readonly #run: Run;
  readonly #contexts: Contexts;
  readonly #sources: CopySources | null;
  readonly #options: BlockOptions;
  #prefix: Prefix;
  #score: number | null = null;
  /** Over the blocks so far, those that were not taken among them. */
  #totals = noTotals;
  #natsPerToken: number | null = null;
  #isSpent = false;
  /** `[blocks]`: tokens of those so far. */
  readonly #lengths: number[] = [];

  /** `tokens`: k, of each block, the last number repeating. */
  constructor(run: Run, contexts: Contexts, sources: CopySources | null, tokens: readonly number[]) {
    const { count, usage, signal, budget } = run;
    const { seed, onStage } = run.request;
    this.#run = run;
    this.#contexts = contexts;
    this.#sources = sources;
    const sums = { positive: 0, negative: contexts.negative && 0, measured: 0 };
    this.#prefix = { tokens: [], text: "", ...sums, length: 0, finish: null };
    this.#options = {
      score: run.policy.settings.score,
      tokens,
      count,
      parameters: samplingWithin(run, contexts),
      seed,
      usage,
      signal,
      budget,
      onPrefill: () => onStage?.("prefill"),
      onBegin: () => onStage?.("sample"),
    };
  }

  async *sample(): AsyncGenerator<Candidate> {
    const { sampled } = this.#contexts;
    const candidate = new CandidateText(sampled.format, (text) => this.#run.request.onText?.(0, text, []));
    const text = new CutText(stopsOf(sampled, this.#options));
    for (let step = 0; this.#prefix.finish === null; step++) {
      const next = await this.#longer(step);
      if (next.tokens !== this.#prefix.tokens) this.#lengths.push(next.tokens.length - this.#prefix.tokens.length);
      candidate.push(text.push(next.text.slice(this.#prefix.text.length)), []);
      this.#prefix = text.stopString !== undefined ? { ...next, finish: "stop" } : next;
    }
    if (text.stopString === undefined) candidate.push(text.end(), []);
    const { finish } = this.#prefix;
    yield { index: 0, ...candidate.end(finish), finish, stopString: text.stopString, sample: null };
  }

  /** Nothing is left to be measured. A failure stops what else is done for the request. */
  async score(candidates: AsyncIterable<Candidate>): Promise<ScoredResponse[]> {
    const { signal, stop, timings, lap } = this.#run;
    const scored: ScoredResponse[] = [];
    try {
      for await (const candidate of candidates) {
        const response = await tokenizeResponse(candidate, [this.#contexts.sampled], signal);
        const { positive, negative } = this.#prefix;
        const copied = this.#sources?.copiedIn(response.text);
        scored.push({ ...response, ...(copied && { copied }), positive, negative, score: this.#score });
      }
    } catch (error) {
      stop.abort(error);
      throw error;
    }
    timings.sample = lap();
    return scored;
  }

  choose(scored: readonly ScoredResponse[]): Chosen {
    this.#run.policy.rate?.add(this.#totals);
    const blocks = this.#lengths;
    return { ranked: scored, isSpent: this.#isSpent, natsPerToken: this.#natsPerToken, waves: null, blocks };
  }

  /** By the best block; or as it is, where the budget is spent. */
  async #longer(step: number): Promise<Prefix> {
    try {
      const blocks = await longerByABlock(this.#contexts, this.#prefix, step, this.#options);
      return this.#best(blocks, step);
    } catch (error) {
      if (step === 0 || !this.#options.budget.explains(error)) throw error;
      this.#isSpent = true;
      return { ...this.#prefix, finish: "length" };
    }
  }

  /** What the policy puts first, then the largest score; ties: the lower index. All blocks of an answer have the β of its first ones. */
  #best(blocks: readonly Prefix[], step: number): Prefix {
    const { settings, rate } = this.#run.policy;
    const { measured: before, length } = this.#prefix;
    const added = blocks.map((block) => ({
      score: block.measured === null ? null : block.measured - (before ?? 0),
      tokens: block.length - length,
    }));
    this.#totals = sumOfTotals(this.#totals, totalsOf(added));
    if (step === 0) this.#natsPerToken = natsPerTokenOf(settings.score, rate?.totals, this.#totals);
    const final = ({ measured, length: tokens }: Prefix) =>
      finalScore(settings.score, { score: measured, tokens }, this.#natsPerToken);
    const ranked = blocks
      .map((block) => ({ block, score: final(block), last: demerits(this.#merits(block), settings.score) }))
      .toSorted((a, b) => a.last - b.last || compare(b.score ?? 0, a.score ?? 0));
    const [best] = ranked as [(typeof ranked)[number]];
    this.#score = best.score;
    return best.block;
  }

  /** Of the answer up to the block's end. */
  #merits({ finish, text }: Prefix): Merits {
    return { finish, copied: mindsCopies(this.#options.score) ? this.#sources?.copiedIn(text) : undefined };
  }
}
