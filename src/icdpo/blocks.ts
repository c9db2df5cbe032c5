/**
 * @module Block-wise choice (§ 4.1 of the paper): n blocks of k tokens are sampled, the best is kept and given at once,
 * and n more go on from there. With a teacher as scorer this is RM-Aug; with the policy's own S or Ŝ it is ICDPO whose
 * answer is seen from its first block on.
 */
import type { FinishReason, Sample, SamplingParameters, Token } from "../engine/engine.ts";
import type { Score } from "../policy/schema.ts";
import { CandidateText } from "./candidate-text.ts";
import type { Contexts, ScoringContext } from "./contexts.ts";
import { CutText, firstOf } from "./cut-text.ts";
import { forcedSums } from "./forced-sums.ts";
import { cuts, responseTokens } from "./prompt.ts";
import { type ScoredResponse, tokenizeResponse } from "./response.ts";
import type { Candidate, OnText } from "./sample.ts";
import { scoreOf } from "./score.ts";
import { candidateSeed } from "./seed.ts";
import { type Chosen, type Run, type Strategy, samplingWithin } from "./strategy.ts";
import type { TimeBudget } from "./time-budget.ts";
import { counted, type TokenUsage } from "./token-usage.ts";

interface BlockOptions {
  readonly score: Score;
  /** k: tokens of a block. */
  readonly tokens: number;
  /** n: blocks to choose from. */
  readonly count: number;
  readonly parameters: SamplingParameters;
  readonly seed: number;
  readonly usage: TokenUsage;
  readonly signal: AbortSignal;
  /** When it is spent, the answer ends with the blocks it has; the first one is waited for. */
  readonly budget: TimeBudget;
  readonly onText?: OnText | undefined;
  /** A part of the context has been fed; the first block is being sampled. */
  readonly onPrefill: () => void;
  readonly onBegin: () => void;
}

/** The blocks chosen so far. */
interface Prefix {
  readonly tokens: readonly Token[];
  readonly text: string;
  /** log π of all of it, in nats. */
  readonly positive: number;
  readonly negative: number | null;
  readonly score: number | null;
  /** Why it goes on no further; null: it does. */
  readonly finish: FinishReason | null;
}

/** One answer, chosen block by block: its candidate comes with the sums and the score of all its blocks together. */
export class BlockwiseAnswer implements Strategy {
  readonly #run: Run;
  readonly #contexts: Contexts;
  readonly #options: BlockOptions;
  #prefix: Prefix;
  #isSpent = false;

  /** `tokens`: k, of a block. */
  constructor(run: Run, contexts: Contexts, tokens: number) {
    const { count, usage, signal, budget } = run;
    const { seed, onText, onStage } = run.request;
    this.#run = run;
    this.#contexts = contexts;
    this.#prefix = { tokens: [], text: "", positive: 0, negative: contexts.negative && 0, score: null, finish: null };
    this.#options = {
      score: run.policy.settings.score,
      tokens,
      count,
      parameters: samplingWithin(run, contexts),
      seed,
      usage,
      signal,
      budget,
      onText,
      onPrefill: () => onStage?.("prefill"),
      onBegin: () => onStage?.("sample"),
    };
  }

  async *sample(): AsyncGenerator<Candidate> {
    const { sampled } = this.#contexts;
    const candidate = new CandidateText(sampled.format, (text) => this.#options.onText?.(0, text, []));
    const text = new CutText(stopsOf(sampled, this.#options));
    for (let step = 0; this.#prefix.finish === null; step++) {
      const next = await this.#longer(step);
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
        const { positive, negative, score } = this.#prefix;
        scored.push({ ...response, positive, negative, score });
      }
    } catch (error) {
      stop.abort(error);
      throw error;
    }
    timings.sample = lap();
    return scored;
  }

  choose(scored: readonly ScoredResponse[]): Chosen {
    return { ranked: scored, isSpent: this.#isSpent };
  }

  /** By the best block; or as it is, where the budget is spent. */
  async #longer(step: number): Promise<Prefix> {
    try {
      return await longerByABlock(this.#contexts, this.#prefix, step, this.#options);
    } catch (error) {
      if (step === 0 || !this.#options.budget.explains(error)) throw error;
      this.#isSpent = true;
      return { ...this.#prefix, finish: "length" };
    }
  }
}

/**
 * Longer by the block with the largest score; ties: the lower index. An answer that ends before it begins is taken only
 * if all do.
 */
async function longerByABlock(
  contexts: Contexts,
  prefix: Prefix,
  step: number,
  options: BlockOptions,
): Promise<Prefix> {
  const { budget, parameters, usage } = options;
  const signal = step === 0 ? options.signal : (budget.signal ?? options.signal);
  const limit = Math.min(options.tokens, parameters.maxTokens - prefix.tokens.length);
  const samples = await sampleBlocks(contexts, prefix, limit, step, { ...options, signal });
  const { blocks, texts } = await openBlocks(contexts, prefix, samples, step, { ...options, signal });
  const next = { contexts, prefix, blocks, texts, usage, signal };
  const [positives, negatives] = await Promise.all([
    sampledSums(next) ?? sumsAfter(contexts.positive, next),
    contexts.negative === null ? null : sumsAfter(contexts.negative, next),
  ]);
  const longer = blocks.map((block, i): Prefix => {
    const tokens = [...prefix.tokens, ...block.tokens];
    const sums = { positive: positives[i] as number, negative: negatives?.[i] ?? null };
    const isFull = block.tokens.length < limit || tokens.length >= parameters.maxTokens;
    const length = tokens.length + (block.finish === "stop" ? 1 : 0);
    const finish = block.finish === "stop" ? "stop" : isFull ? "length" : null;
    return { tokens, text: texts[i] as string, ...sums, score: scoreOf(options.score, sums, length), finish };
  });
  return longer.reduce((best, one) => ((one.score ?? 0) > (best.score ?? 0) ? one : best));
}

async function sampleBlocks(
  { sampled: context, positive }: Contexts,
  prefix: Prefix,
  limit: number,
  step: number,
  { parameters, count, seed, usage, signal, onPrefill, onBegin }: BlockOptions,
): Promise<Sample[]> {
  const prompt = { ...context.prompt, tokens: [...context.prompt.tokens, ...prefix.tokens] };
  const seeds = Array.from({ length: count }, (_, index) => candidateSeed(seed, step * count + index));
  const samples: Sample[] = [];
  const minTokens = Math.max(0, (parameters.minTokens ?? 0) - prefix.tokens.length);
  const limits = { maxTokens: limit, ...(minTokens > 0 && { minTokens }) };
  const request = { ...parameters, minTokens: undefined, stop: [], ...limits, seeds, logprobs: positive === context };
  for await (const event of counted(context.engine.sample(prompt, request, signal), prompt.tokens.length, usage)) {
    if (event.type === "prefill" && step === 0) onPrefill();
    if (event.type === "prompt" && step === 0) onBegin();
    if (event.type === "done") samples[event.index] = event.sample;
  }
  return samples;
}

/**
 * Each distinct block once, with the answer's text up to its end. Of first blocks those that end before they begin are
 * left out, unless all do.
 */
async function openBlocks(
  { sampled: context }: Contexts,
  prefix: Prefix,
  samples: readonly Sample[],
  step: number,
  options: BlockOptions,
): Promise<Pick<NextBlocks, "blocks" | "texts">> {
  const distinct = samples.filter((block, i) => samples.findIndex((other) => isSame(block, other)) === i);
  const textOf = (block: Sample) => context.engine.detokenize([...prefix.tokens, ...block.tokens], options.signal);
  const all = await Promise.all(distinct.map(async (block) => ({ block, text: await textOf(block) })));
  const stops = stopsOf(context, options);
  const begun = all.filter(({ block, text }) => step > 0 || !endsEmpty(block, text, stops));
  const open = begun.length > 0 ? begun : all;
  return { blocks: open.map(({ block }) => block), texts: open.map(({ text }) => text) };
}

/** What ends an answer's text wherever it comes up. */
function stopsOf({ format }: ScoringContext, { parameters: { stop } }: BlockOptions): readonly string[] {
  return format === "chat" ? stop : [...stop, ...cuts];
}

/** The answer would be over with nothing in it. */
function endsEmpty({ finish }: Sample, text: string, stops: readonly string[]): boolean {
  const cut = firstOf(stops, text);
  return text.slice(0, cut).trim() === "" && (finish === "stop" || cut < text.length);
}

/** Blocks that may come next, and what they go on from. */
interface NextBlocks {
  readonly contexts: Contexts;
  readonly prefix: Prefix;
  readonly blocks: readonly Sample[];
  /** `[blocks]`: the answer up to the end of each. */
  readonly texts: readonly string[];
  readonly usage: TokenUsage;
  readonly signal: AbortSignal;
}

/**
 * `[blocks]`: log π(answer ∣ C⁺) up to the end of each block by sampled log-probabilities, in nats; null where another
 * model scores.
 */
function sampledSums({ contexts, prefix, blocks }: NextBlocks): number[] | null {
  if (contexts.positive !== contexts.sampled) return null;
  const sums = blocks.map(({ tokens, logprobs, endLogprobs, finish }) => {
    const end = finish === "stop" ? endLogprobs[tokens.length] : 0;
    return typeof end === "number" ? logprobs.reduce((sum, value) => sum + value, prefix.positive + end) : null;
  });
  return sums.every((sum) => sum !== null) ? sums : null;
}

/**
 * `[blocks]`: log π of the answer up to the end of each block, by teacher forcing, in nats. The model that samples goes
 * on from what was chosen; another one has tokens of its own, and is fed all of the text.
 */
async function sumsAfter(
  context: ScoringContext,
  { contexts, prefix, blocks, texts, usage, signal }: NextBlocks,
): Promise<number[]> {
  if (context.engine === contexts.sampled.engine) {
    const { tokens, end } = context.prompt;
    const before = context === contexts.positive ? prefix.positive : (prefix.negative ?? 0);
    const after = { ...context, prompt: { ...context.prompt, tokens: [...tokens, ...prefix.tokens] } };
    const fed = blocks.map((block) => (block.finish === "stop" ? [...block.tokens, end] : block.tokens));
    return (await forcedSums(after, fed, { usage, signal })).map((sum) => before + sum);
  }
  const all = await responseTokens(context.engine, context.format, texts, context.prompt.end, signal);
  const fed = all.map((tokens, i) => (blocks[i]?.finish === "stop" ? tokens : tokens.slice(0, -1)));
  return forcedSums(context, fed, { usage, signal });
}

function isSame(a: Sample, b: Sample): boolean {
  const isEqual = a.tokens.length === b.tokens.length && a.tokens.every((token, i) => token === b.tokens[i]);
  return isEqual && a.finish === b.finish;
}
