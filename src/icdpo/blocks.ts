/**
 * @module Block-wise choice (§ 4.1 of the paper): n blocks of k tokens are sampled, the best is kept and given at once, and n more go on from
 * there. With a teacher as scorer this is RM-Aug; with the policy's own S or Ŝ it is ICDPO whose answer is seen from its first block on.
 */
import type { FinishReason, Sample, SamplingParameters, Token } from "../engine/engine.ts";
import type { Score } from "../policy/schema.ts";
import { isCancellation } from "../types/error.ts";
import type { Contexts, ScoringContext } from "./contexts.ts";
import { cuts, responseTokens } from "./prompt.ts";
import { CandidateText, type OnText } from "./sample.ts";
import { forcedSums, type ScoredResponse, scoreOf, tokenizeResponse } from "./score.ts";
import { candidateSeed } from "./seed.ts";
import { counted, type TokenUsage } from "./token-usage.ts";

export interface BlockOptions {
  readonly score: Score;
  /** k: tokens of a block. */
  readonly tokens: number;
  /** n: blocks to choose from. */
  readonly count: number;
  readonly parameters: SamplingParameters;
  readonly seed: number;
  readonly usage: TokenUsage;
  readonly signal: AbortSignal;
  /** When it fires, the answer ends with the blocks it has; the first one is waited for. */
  readonly budget?: AbortSignal | undefined;
  readonly onText?: OnText | undefined;
  /** A part of the context has been fed; the first block is being sampled. */
  readonly onPrefill?: (() => void) | undefined;
  readonly onBegin?: (() => void) | undefined;
}

export interface BlockwiseAnswer {
  /** Its sums and score are those of all its blocks together. */
  readonly response: ScoredResponse;
  readonly blocks: number;
  readonly isSpent: boolean;
}

/** The blocks chosen so far. */
interface Beginning {
  readonly tokens: readonly Token[];
  readonly text: string;
  /** log π of all of it, in nats. */
  readonly positive: number;
  readonly negative: number | null;
  readonly score: number | null;
  /** Why it goes on no further; null: it does. */
  readonly finish: FinishReason | null;
}

export async function answerByBlocks(contexts: Contexts, options: BlockOptions): Promise<BlockwiseAnswer> {
  const { signal, budget, onText } = options;
  const { format } = contexts.sampled;
  const answer = new CandidateText(format, (text) => onText?.(0, text, []));
  const text = new CutText(stopsOf(contexts.sampled, options));
  let chosen: Beginning = { tokens: [], text: "", positive: 0, negative: contexts.negative && 0, score: null, finish: null };
  let [blocks, isSpent] = [0, false];
  while (chosen.finish === null) {
    const next = await longerByABlock(contexts, chosen, blocks, options).catch((error: unknown) => {
      if (blocks === 0 || !budget?.aborted || signal.aborted || !isCancellation(error)) throw error;
      return null;
    });
    if (next === null) {
      isSpent = true;
      chosen = { ...chosen, finish: "length" };
      break;
    }
    blocks += 1;
    answer.push(text.push(next.text.slice(chosen.text.length)), []);
    chosen = text.stopString !== undefined ? { ...next, finish: "stop" } : next;
  }
  if (text.stopString === undefined) answer.push(text.end(), []);
  const finish = chosen.finish ?? "length";
  const candidate = { index: 0, ...answer.end(finish), finish, stopString: text.stopString, sample: null };
  const tokenized = await tokenizeResponse(candidate, [contexts.sampled], signal);
  const { positive, negative, score } = chosen;
  return { response: { ...tokenized, positive, negative, score }, blocks, isSpent };
}

/** Longer by the block with the largest score; ties: the lower index. An answer that ends before it begins is taken only if all do. */
async function longerByABlock(contexts: Contexts, chosen: Beginning, step: number, options: BlockOptions): Promise<Beginning> {
  const { score, signal, budget, parameters } = options;
  const { engine } = contexts.sampled;
  const until = budget === undefined || step === 0 ? signal : AbortSignal.any([signal, budget]);
  const limit = Math.min(options.tokens, parameters.maxTokens - chosen.tokens.length);
  const samples = await sampleBlocks(contexts, chosen, limit, step, { ...options, signal: until });
  // Each distinct block once.
  const distinct = samples.filter((block, i) => samples.findIndex((other) => isSame(block, other)) === i);
  const all = await Promise.all(
    distinct.map(async (block) => ({ block, text: await engine.detokenize([...chosen.tokens, ...block.tokens], until) })),
  );
  const stops = stopsOf(contexts.sampled, options);
  const begun = all.filter(({ block, text }) => step > 0 || !endsEmpty(block, text, stops));
  const open = begun.length > 0 ? begun : all;
  const [blocks, texts] = [open.map(({ block }) => block), open.map(({ text }) => text)];
  const feed = { contexts, chosen, blocks, texts, usage: options.usage, signal: until };
  const [positives, negatives] = await Promise.all([
    sampledSums(feed) ?? sumsAfter(contexts.positive, feed),
    contexts.negative === null ? null : sumsAfter(contexts.negative, feed),
  ]);
  const longer = blocks.map((block, i): Beginning => {
    const tokens = [...chosen.tokens, ...block.tokens];
    const sums = { positive: positives[i] as number, negative: negatives?.[i] ?? null };
    const ends = block.finish === "stop" ? "stop" : block.tokens.length < limit || tokens.length >= parameters.maxTokens ? "length" : null;
    const length = tokens.length + (block.finish === "stop" ? 1 : 0);
    return { tokens, text: texts[i] as string, ...sums, score: scoreOf(score, sums, length), finish: ends };
  });
  return longer.reduce((best, one) => ((one.score ?? 0) > (best.score ?? 0) ? one : best));
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

/** Where the first of some strings begins in a text; its end, where none does. */
function firstOf(strings: readonly string[], text: string): number {
  return Math.min(...strings.map((string) => text.indexOf(string)).filter((at) => at >= 0), text.length);
}

async function sampleBlocks(
  { sampled: context, positive }: Contexts,
  chosen: Beginning,
  limit: number,
  step: number,
  options: BlockOptions,
): Promise<Sample[]> {
  const { parameters, count, seed, usage, signal, onPrefill, onBegin } = options;
  const prompt = { ...context.prompt, tokens: [...context.prompt.tokens, ...chosen.tokens] };
  const seeds = Array.from({ length: count }, (_, index) => candidateSeed(seed, step * count + index));
  const samples: Sample[] = [];
  const request = { ...parameters, stop: [], maxTokens: limit, seeds, logprobs: positive === context };
  for await (const event of counted(context.engine.sample(prompt, request, signal), prompt.tokens.length, usage)) {
    if (event.type === "prefill" && step === 0) onPrefill?.();
    if (event.type === "prompt" && step === 0) onBegin?.();
    if (event.type === "done") samples[event.index] = event.sample;
  }
  return samples;
}

interface Feed {
  readonly contexts: Contexts;
  readonly chosen: Beginning;
  readonly blocks: readonly Sample[];
  /** `[blocks]`: the answer up to the end of each. */
  readonly texts: readonly string[];
  readonly usage: TokenUsage;
  readonly signal: AbortSignal;
}

/** `[blocks]`: log π(answer ∣ C⁺) up to the end of each block by sampled log-probabilities, in nats; null where another model scores. */
function sampledSums({ contexts, chosen, blocks }: Feed): number[] | null {
  if (contexts.positive !== contexts.sampled) return null;
  const sums = blocks.map(({ tokens, logprobs, endLogprobs, finish }) => {
    const end = finish === "stop" ? endLogprobs[tokens.length] : 0;
    return typeof end === "number" ? logprobs.reduce((sum, value) => sum + value, chosen.positive + end) : null;
  });
  return sums.every((sum) => sum !== null) ? sums : null;
}

/**
 * `[blocks]`: log π of the answer up to the end of each block, by teacher forcing, in nats. The model that samples goes on from what was
 * chosen; another one has tokens of its own, and is fed all of the text.
 */
async function sumsAfter(context: ScoringContext, { contexts, chosen, blocks, texts, usage, signal }: Feed): Promise<number[]> {
  if (context.engine === contexts.sampled.engine) {
    const { tokens, end } = context.prompt;
    const before = context === contexts.positive ? chosen.positive : (chosen.negative ?? 0);
    const after = { ...context, prompt: { ...context.prompt, tokens: [...tokens, ...chosen.tokens] } };
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

/** Text that ends before the first of some strings, wherever blocks part. */
class CutText {
  readonly #stops: readonly string[];
  #text = "";
  #given = 0;
  /** What it ends before. */
  stopString: string | undefined;

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** What is now certain to belong to the text. */
  push(more: string): string {
    this.#text += more;
    const cut = firstOf(this.#stops, this.#text);
    if (cut < this.#text.length) this.stopString = this.#stops.find((stop) => this.#text.startsWith(stop, cut));
    return this.#give(this.stopString !== undefined ? cut : this.#text.length - this.#openStop());
  }

  /** All that was held back. */
  end(): string {
    return this.#give(this.#text.length);
  }

  /** Characters at the end that may be the beginning of a stop string. */
  #openStop(): number {
    const longest = Math.max(0, ...this.#stops.map(({ length }) => length - 1));
    for (let length = Math.min(longest, this.#text.length); length > 0; length--)
      if (this.#stops.some((stop) => stop.startsWith(this.#text.slice(-length)))) return length;
    return 0;
  }

  #give(end: number): string {
    const given = this.#text.slice(this.#given, Math.max(this.#given, end));
    this.#given = Math.max(this.#given, end);
    return given;
  }
}
