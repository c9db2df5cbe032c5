/**
 * @module Whole answers of which the worst are dropped while they are sampled: Ŝ is a sum over tokens, so that the score
 * of a beginning is exact. After every few tokens the candidates are compared, and the best go on.
 */
import { keptOf, type Prune } from "../policy/choice-schema.ts";
import { BeginningSums, type MeasuredBeginning } from "./beginning-sums.ts";
import { type Beginning, begin, type GrowthOptions, goOn } from "./beginnings.ts";
import { compare, mindsCopies, rank } from "./choose.ts";
import type { Contexts } from "./contexts.ts";
import type { CopySources } from "./copied.ts";
import { finalScores, totalsOf } from "./final-scores.ts";
import { compareRace, type Dropped } from "./pruning.ts";
import type { Response, ScoredResponse } from "./response.ts";
import type { Candidate } from "./sample.ts";
import { scoreOf } from "./score.ts";
import { type Chosen, type Run, type Strategy, samplingWithin } from "./strategy.ts";
import { tokenizer } from "./whole-answers.ts";

/** A candidate as it stands. Of one that goes on, the ids are those sampled so far, without EOS. */
interface Standing extends Beginning, Response {
  /** Null: it has not been measured, or is empty. */
  readonly measured: MeasuredBeginning | null;
  /** By which it was dropped, and why. */
  readonly lost?: { readonly score: number | null; readonly dropped: Dropped };
}

/**
 * Candidates in a race: after every `every` tokens those that have ended and those that go on are ranked by their scores,
 * and the best ⌈keep·n⌉ stay in it. One that goes on and is not among them is dropped. One that has ended costs nothing
 * more: it takes no place in later comparisons, but competes at the end. C⁻ is fed between two rounds of sampling, what
 * is new of each candidate after what it was fed before.
 */
export class PrunedAnswers implements Strategy {
  readonly #run: Run;
  readonly #contexts: Contexts;
  readonly #sources: CopySources | null;
  readonly #prune: Prune;
  readonly #sums: BeginningSums;
  readonly #growth: GrowthOptions;
  /** Candidates that are not in the race any more. */
  #out: Standing[] = [];
  /** `[checks]`: how many stayed in the race. */
  readonly #kept: number[] = [];
  #natsPerToken: number | null = null;
  #isSpent = false;

  constructor(run: Run, contexts: Contexts, sources: CopySources | null, prune: Prune) {
    const { request, usage, signal, budget } = run;
    this.#run = run;
    this.#contexts = contexts;
    this.#sources = sources;
    this.#prune = prune;
    this.#sums = new BeginningSums(contexts, usage);
    this.#growth = {
      parameters: samplingWithin(run, contexts),
      seed: request.seed,
      logprobs: contexts.positive === contexts.sampled,
      usage,
      signal,
      budget,
      onPrefill: () => request.onStage?.("prefill"),
      onBegin: () => request.onStage?.("sample"),
    };
  }

  /** Candidates when the race is over, the dropped ones among them. */
  async *sample(): AsyncGenerator<Candidate> {
    let race: readonly Standing[] = await this.#start();
    for (let round = 1; race.some(goesOn); round++) {
      const kept = this.#withoutWorst(race);
      race = kept.some(goesOn) ? await this.#further(kept, round) : kept;
    }
    this.#out.push(...race);
    yield* this.#out;
  }

  async score(candidates: AsyncIterable<Candidate>): Promise<ScoredResponse[]> {
    const { policy, stop } = this.#run;
    try {
      for await (const _ of candidates); // each has been measured when it comes
    } catch (error) {
      stop.abort(error);
      throw error;
    } finally {
      await this.#sums.over();
    }
    const sized = this.#out.map((one) => this.#sized(one));
    const { scores, natsPerToken } = finalScores(policy, sized);
    this.#natsPerToken = natsPerToken;
    policy.rate?.add(totalsOf(sized));
    return this.#out.map((one, i) => scored(one, scores[i] ?? null)).toSorted((a, b) => a.index - b.index);
  }

  /** Those that were sampled to their ends by their scores, then the dropped ones, the latest first. */
  choose(all: readonly ScoredResponse[]): Chosen {
    const { policy, timings, lap } = this.#run;
    const whole = all.filter(({ dropped }) => dropped === undefined);
    const dropped = all
      .flatMap((one) => (one.dropped === undefined ? [] : [{ one, ...one.dropped }]))
      .toSorted((a, b) => compare(b.after, a.after) || a.place - b.place)
      .map(({ one }) => one);
    timings.score += lap();
    return {
      ranked: [...rank(whole, policy.settings.score), ...dropped],
      isSpent: this.#isSpent,
      natsPerToken: this.#natsPerToken,
      waves: null,
      kept: this.#kept,
    };
  }

  async #start(): Promise<Standing[]> {
    const { count, signal, timings, lap } = this.#run;
    const growth = {
      ...this.#growth,
      onBegin: () => {
        this.#growth.onBegin();
        this.#sums.begin(signal);
      },
    };
    const begun = await begin(this.#contexts.sampled, count, this.#limit(count), growth);
    timings.sample += lap();
    return this.#measured(begun, [], signal);
  }

  async #further(race: readonly Standing[], round: number): Promise<Standing[]> {
    const { budget, request, signal, timings, lap } = this.#run;
    const growing = race.filter(goesOn);
    request.onStage?.("queue");
    const grown = await goOn(this.#contexts.sampled, growing, this.#limit(race.length), round, this.#growth);
    timings.sample += lap();
    const rest = race.filter((one) => !goesOn(one));
    try {
      if (!budget.isSpent) return [...rest, ...(await this.#measured(grown, growing, budget.signal ?? signal))];
    } catch (error) {
      if (!budget.explains(error)) throw error;
    }
    this.#isSpent = true;
    return [...rest, ...(await Promise.all(grown.map((one) => this.#standing(cutOff(one), growing))))];
  }

  /** Tokens of the next part: to the end where nobody would be dropped any more. */
  #limit(among: number): number {
    const { every, keep } = this.#prune;
    return keptOf(among, keep, this.#run.request.answers) < among ? every : Number.POSITIVE_INFINITY;
  }

  /** With what they are measured by now; an empty one is not. */
  async #measured(
    beginnings: readonly Beginning[],
    before: readonly Standing[],
    signal: AbortSignal,
  ): Promise<Standing[]> {
    const { request, timings, lap } = this.#run;
    request.onStage?.("score");
    const standings = await Promise.all(beginnings.map((one) => this.#standing(one, before)));
    const measurable = standings.filter((one) => goesOn(one) || one.text !== "");
    const measured = await this.#sums.measure(
      measurable.map((one) => ({ beginning: one, response: goesOn(one) ? null : one, before: one.measured })),
      signal,
    );
    timings.score += lap();
    const byIndex = new Map(measurable.map(({ index }, i) => [index, measured[i]]));
    const all = standings.map((one) => ({ ...one, measured: byIndex.get(one.index) ?? null }));
    for (const one of all) request.watch?.onStanding({ index: one.index, text: one.text, ...this.#sized(one) });
    return all;
  }

  /** As it was measured before. */
  async #standing(beginning: Beginning, before: readonly Standing[]): Promise<Standing> {
    const measured = before.find(({ index }) => index === beginning.index)?.measured ?? null;
    if (!goesOn(beginning)) {
      const tokenize = tokenizer(this.#run, this.#contexts, this.#sources);
      return { ...beginning, ...(await tokenize(beginning)), measured };
    }
    const ids = beginning.sample?.tokens ?? [];
    const copied = mindsCopies(this.#run.policy.settings.score) ? this.#sources?.copiedIn(beginning.text) : undefined;
    const idsByEngine = new Map([[this.#contexts.sampled.engine, ids]]);
    return { ...beginning, idsWithEos: ids, idsByEngine, copied, measured };
  }

  /** Who stays in the race: all, where nobody would be dropped any more. */
  #withoutWorst(race: readonly Standing[]): readonly Standing[] {
    const { policy, request } = this.#run;
    const { keep } = this.#prune;
    const { answers } = request;
    if (keptOf(race.length, keep, answers) === race.length) return race;
    const sized = race.map((one) => this.#sized(one));
    const { scores } = finalScores(policy, sized);
    const runners = race.map((of, i) => ({ ...of, finish: of.ended, score: scores[i] ?? null, of }));
    const after = Math.max(...race.filter(goesOn).map(({ idsWithEos }) => idsWithEos.length));
    const { kept, dropped, aside } = compareRace(runners, after, { keep, answers, score: policy.settings.score });
    this.#kept.push(kept.length);
    for (const { runner } of dropped)
      request.watch?.onStanding({ ...runner.of, ...this.#sized(runner.of), isDropped: true });
    this.#out.push(
      ...dropped.map(({ runner, why }) => ({ ...runner.of, lost: { score: runner.score, dropped: why } })),
    );
    this.#out.push(...aside.map(({ of }) => of));
    return kept.map(({ of }) => of);
  }

  /** By its own sums alone. */
  #sized({ measured }: Standing) {
    const { score } = this.#run.policy.settings;
    return measured === null
      ? { score: null, tokens: 0 }
      : { score: scoreOf(score, measured.sums, measured.length), tokens: measured.length };
  }
}

function goesOn({ ended }: Beginning): boolean {
  return ended === null;
}

/** The budget is spent: one that would go on ends here. */
function cutOff(beginning: Beginning): Beginning {
  return goesOn(beginning) ? { ...beginning, ended: "length", sample: null } : beginning;
}

function scored({ ended, raw, measured, lost, ...response }: Standing, score: number | null): ScoredResponse {
  const sums = measured?.sums ?? { positive: null, negative: null };
  return { ...response, ...sums, ...(lost === undefined ? { score } : lost) };
}
