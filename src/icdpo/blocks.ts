/**
 * @module Block-wise choice (§ 4.1 of the paper): n blocks of k tokens are sampled, the best is kept and given at once,
 * and n more go on from there. With a teacher as scorer this is RM-Aug; with the policy's own S or Ŝ it is ICDPO whose
 * answer is seen from its first block on.
 */
import { allOrNone } from "../async/all-or-none.ts";
import type { Blocks } from "../policy/choice-schema.ts";
import { noTotals, sumOfTotals } from "../policy/running-rate.ts";
import { CandidateText } from "./candidate-text.ts";
import { compare, demerits, type Merits, mindsCopies } from "./choose.ts";
import type { Contexts } from "./contexts.ts";
import type { CopySources } from "./copied.ts";
import { CutText, firstOf } from "./cut-text.ts";
import { finalScore, natsPerTokenOf, totalsOf } from "./final-scores.ts";
import { type BlockOptions, longerByABlock, type Prefix, stopsOf } from "./next-blocks.ts";
import { type ScoredResponse, tokenizeResponse } from "./response.ts";
import type { Candidate } from "./sample.ts";
import { candidateSeed } from "./seed.ts";
import { type Chosen, type Run, type Strategy, samplingWithin } from "./strategy.ts";

/**
 * One answer, chosen block by block: its candidate comes with the sums and the score of all its blocks together. Where a
 * policy keeps several beginnings at a time, each goes on in blocks of its own, and the best of all are kept (TreeBoN,
 * EMNLP 2025); what they have in common is given.
 */
export class BlockwiseAnswer implements Strategy {
  readonly #run: Run;
  readonly #contexts: Contexts;
  readonly #sources: CopySources | null;
  readonly #blocks: Blocks;
  readonly #options: BlockOptions;
  /** The best so far, first; those that have ended among them. */
  #kept: readonly Scored[];
  /** Over the blocks so far, those that were not taken among them. */
  #totals = noTotals;
  #natsPerToken: number | null = null;
  #isSpent = false;

  constructor(run: Run, contexts: Contexts, sources: CopySources | null, blocks: Blocks) {
    const { onStage } = run.request;
    this.#run = run;
    this.#contexts = contexts;
    this.#sources = sources;
    this.#blocks = blocks;
    const sums = { positive: 0, negative: contexts.negative && 0, measured: 0 };
    this.#kept = [{ tokens: [], text: "", lengths: [], ...sums, length: 0, finish: null, score: null }];
    this.#options = {
      score: run.policy.settings.score,
      tokens: blocks.tokens,
      parameters: samplingWithin(run, contexts),
      usage: run.usage,
      onPrefill: () => onStage?.("prefill"),
      onBegin: () => onStage?.("sample"),
    };
  }

  async *sample(): AsyncGenerator<Candidate> {
    const { sampled } = this.#contexts;
    const { onText, watch } = this.#run.request;
    const candidate = new CandidateText(sampled.format, (text) => onText?.(0, text, []));
    const text = new CutText(stopsOf(sampled, this.#options));
    let given = 0;
    for (let step = 0; this.#kept.some(goesOn); step++) {
      await this.#further(step);
      const common = commonBeginning(this.#kept.map((one) => one.text));
      candidate.push(text.push(common.slice(given)), []);
      given = common.length;
      watch?.onStanding({ index: 0, text: this.#best.text, score: this.#best.score });
    }
    const { finish, ...best } = this.#best;
    candidate.push(text.push(best.text.slice(given)), []);
    if (text.stopString === undefined) candidate.push(text.end(), []);
    const ended = finish ?? "length";
    yield { index: 0, ...candidate.end(ended), finish: ended, stopString: text.stopString, sample: null };
  }

  /** Nothing is left to be measured. A failure stops what else is done for the request. */
  async score(candidates: AsyncIterable<Candidate>): Promise<ScoredResponse[]> {
    const { signal, stop, timings, lap } = this.#run;
    const scored: ScoredResponse[] = [];
    try {
      for await (const candidate of candidates) {
        const response = await tokenizeResponse(candidate, [this.#contexts.sampled], signal);
        const { positive, negative, score } = this.#best;
        const copied = this.#sources?.copiedIn(response.text);
        scored.push({ ...response, ...(copied && { copied }), positive, negative, score });
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
    const blocks = this.#best.lengths;
    return { ranked: scored, isSpent: this.#isSpent, natsPerToken: this.#natsPerToken, waves: null, blocks };
  }

  get #best(): Scored {
    return this.#kept[0] as Scored;
  }

  /** By the best blocks; or as it is, where the budget is spent. */
  async #further(step: number): Promise<void> {
    const { signal, budget } = this.#run;
    const open = this.#kept.filter(goesOn);
    try {
      const next = await allOrNone(
        open,
        (prefix, place, linked) =>
          longerByABlock(this.#contexts, prefix, step, {
            ...this.#options,
            seeds: this.#seeds(step, place),
            signal: linked,
          }),
        step === 0 ? signal : (budget.signal ?? signal),
      );
      this.#keepBest(step, open, next);
    } catch (error) {
      if (step === 0 || !budget.explains(error)) throw error;
      this.#isSpent = true;
      this.#kept = this.#kept.map((one) => ({ ...one, finish: one.finish ?? "length" }));
    }
  }

  /** Of the blocks that come next of the beginning at `place`: other ones at each step and place. */
  #seeds(step: number, place: number): number[] {
    const { count, request } = this.#run;
    const { keep, branch } = this.#blocks;
    const each = branch ?? Math.ceil(count / keep);
    const first = step * Math.max(count, keep * each) + place * each;
    return Array.from({ length: step === 0 ? count : each }, (_, index) => candidateSeed(request.seed, first + index));
  }

  /**
   * What the policy puts first, then the largest score; ties: those kept before, then the lower index. All blocks of an
   * answer have the β of its first ones.
   */
  #keepBest(step: number, open: readonly Prefix[], next: readonly (readonly Prefix[])[]): void {
    const { settings, rate } = this.#run.policy;
    const added = open.flatMap(({ measured: before, length }, i) =>
      (next[i] ?? []).map((block) => ({
        score: block.measured === null ? null : block.measured - (before ?? 0),
        tokens: block.length - length,
      })),
    );
    this.#totals = sumOfTotals(this.#totals, totalsOf(added));
    if (step === 0) this.#natsPerToken = natsPerTokenOf(settings.score, rate?.totals, this.#totals);
    const final = ({ measured, length: tokens }: Prefix) =>
      finalScore(settings.score, { score: measured, tokens }, this.#natsPerToken);
    this.#kept = [...this.#kept.filter((one) => !goesOn(one)), ...next.flat()]
      .map((one) => ({ ...one, score: final(one), last: demerits(this.#merits(one), settings.score) }))
      .toSorted((a, b) => a.last - b.last || compare(b.score ?? 0, a.score ?? 0))
      .slice(0, this.#blocks.keep)
      .map(({ last, ...one }) => (this.#isCut(one) ? { ...one, finish: "stop" } : one));
  }

  /** A stop string has come up in it. */
  #isCut({ text }: Prefix): boolean {
    return firstOf(stopsOf(this.#contexts.sampled, this.#options), text) < text.length;
  }

  /** Of the answer up to the block's end. */
  #merits({ finish, text }: Prefix): Merits {
    return { finish, copied: mindsCopies(this.#options.score) ? this.#sources?.copiedIn(text) : undefined };
  }
}

/** With the score by which it competes. */
interface Scored extends Prefix {
  readonly score: number | null;
}

function goesOn({ finish }: Prefix): boolean {
  return finish === null;
}

function commonBeginning(texts: readonly string[]): string {
  const [first = "", ...others] = texts;
  let length = first.length;
  for (const other of others) {
    let same = 0;
    while (same < Math.min(length, other.length) && first[same] === other[same]) same += 1;
    length = same;
  }
  return first.slice(0, length).replace(openPair, "");
}

/** The first half of a character, which may have another second half. */
const openPair = /[\uD800-\uDBFF]$/;
