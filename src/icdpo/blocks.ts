/**
 * @module Block-wise ICDPO: RM-Aug's loop (§ 4.1 of the paper) with the policy's own score instead of a teacher's. n blocks of k tokens are
 * sampled, the best is kept and given at once, and n more go on from there. So an answer is seen from its first block on.
 */
import type { Engine, FinishReason, Prompt, Sample, SamplingParameters, Token } from "../engine/engine.ts";
import type { PromptFormat, Score } from "../policy/schema.ts";
import { isCancellation } from "../types/error.ts";
import type { Contexts } from "./contexts.ts";
import { cuts } from "./prompt.ts";
import { Answer, type OnText, type TokenWork } from "./sample.ts";
import { closeResponse, forcedSums, type ScoredResponse, scoreOf } from "./score.ts";
import { candidateSeed } from "./seed.ts";

export interface BlockOptions {
  readonly format: PromptFormat;
  readonly score: Score;
  /** k: tokens of a block. */
  readonly tokens: number;
  /** n: blocks to choose from. */
  readonly count: number;
  readonly parameters: SamplingParameters;
  readonly seed: number;
  readonly work: TokenWork;
  readonly signal: AbortSignal;
  /** When it fires, the answer ends with the blocks it has; the first one is waited for. */
  readonly budget?: AbortSignal | undefined;
  readonly onText?: OnText | undefined;
  readonly onBegin?: (() => void) | undefined;
}

export interface BlockwiseAnswer {
  /** Its sums and score are those of all its blocks together. */
  readonly response: ScoredResponse;
  readonly blocks: number;
  readonly isSpent: boolean;
}

export async function answerByBlocks(engine: Engine, contexts: Contexts, options: BlockOptions): Promise<BlockwiseAnswer> {
  const { format, parameters, score, signal, budget, onText } = options;
  const answer = new Answer(format, (text) => onText?.(0, text, []));
  const text = new CutText(format === "chat" ? parameters.stop : [...parameters.stop, ...cuts]);
  const decoder = new TextDecoder();
  const prefix: Token[] = [];
  const sums = { positive: 0, negative: contexts.negative === null ? null : 0 };
  let finish: FinishReason | null = null;
  let [blocks, isSpent] = [0, false];
  while (finish === null) {
    const limit = Math.min(options.tokens, parameters.maxTokens - prefix.length);
    const block = await bestBlock(engine, contexts, prefix, limit, blocks, options).catch((error: unknown) => {
      if (blocks === 0 || !budget?.aborted || signal.aborted || !isCancellation(error)) throw error;
      return null;
    });
    if (block === null) {
      isSpent = true;
      finish = "length";
      break;
    }
    blocks += 1;
    prefix.push(...block.sample.tokens);
    sums.positive += block.positive;
    if (sums.negative !== null) sums.negative += block.negative ?? 0;
    const bytes = (await engine.describe(block.sample.tokens, signal)).flatMap((token) => [...token.bytes]);
    answer.push(text.push(decoder.decode(Uint8Array.from(bytes), { stream: true })), []);
    if (text.isCut || block.sample.finish === "stop") finish = "stop";
    else if (block.sample.tokens.length < limit || prefix.length >= parameters.maxTokens) finish = "length";
  }
  if (!text.isCut) answer.push(text.end(decoder.decode()), []);
  const candidate = { index: 0, ...answer.end(finish), finish, sample: null };
  const closed = await closeResponse(engine, format, candidate, contexts.positive.end, signal);
  return { response: { ...closed, ...sums, score: scoreOf(score, sums, closed.closed.length) }, blocks, isSpent };
}

interface Block {
  readonly sample: Sample;
  readonly positive: number;
  readonly negative: number | null;
}

/** The block with the largest score; ties: the lower index. An answer that ends before it begins is taken only if all do. */
async function bestBlock(
  engine: Engine,
  contexts: Contexts,
  prefix: readonly Token[],
  limit: number,
  step: number,
  { parameters, count, seed, score, work, signal, budget, onBegin }: BlockOptions,
): Promise<Block> {
  const until = budget === undefined || step === 0 ? signal : AbortSignal.any([signal, budget]);
  const after = (context: Prompt): Prompt => ({ tokens: [...context.tokens, ...prefix], end: context.end });
  const positive = after(contexts.positive);
  const seeds = Array.from({ length: count }, (_, index) => candidateSeed(seed, step * count + index));
  const samples: Sample[] = [];
  work.prompt += positive.tokens.length;
  for await (const event of engine.sample(positive, { ...parameters, stop: [], maxTokens: limit, seeds, logprobs: true }, until)) {
    if (event.type === "prompt") {
      work.cached += event.cached;
      if (step === 0) onBegin?.();
    } else if (event.type === "done") samples[event.index] = event.sample;
  }
  work.sampled += samples.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const begun = samples.filter(({ tokens }) => tokens.length > 0);
  const open = step === 0 && begun.length > 0 ? begun : samples;
  const fed = open.map((sample) => ({ sample, closed: sample.finish === "stop" ? [...sample.tokens, positive.end] : sample.tokens }));
  // Each distinct block once.
  const distinct = fed.filter(({ closed }, i) => fed.findIndex((other) => isSame(other.closed, closed)) === i);
  const negatives =
    contexts.negative === null ? null : await forcedSums(engine, after(contexts.negative), distinct, { work, signal: until });
  const scored = distinct.map(({ sample, closed }, i) => {
    const sums = { positive: notedSum(sample), negative: negatives?.[i] ?? null };
    return { sample, ...sums, score: scoreOf(score, sums, Math.max(1, closed.length)) ?? Number.NEGATIVE_INFINITY };
  });
  return scored.reduce((best, block) => (block.score > best.score ? block : best));
}

/** log π(block ∣ C⁺, the blocks before it), its end included where it ends, as noted while sampling. */
function notedSum({ tokens, logprobs, endLogprobs, finish }: Sample): number {
  const end = finish === "stop" ? (endLogprobs[tokens.length] ?? 0) : 0;
  return logprobs.reduce((sum, value) => sum + value, end);
}

function isSame(a: readonly Token[], b: readonly Token[]): boolean {
  return a.length === b.length && a.every((token, i) => token === b[i]);
}

/** Text that ends before the first of some strings, wherever blocks part. */
class CutText {
  readonly #stops: readonly string[];
  #text = "";
  #given = 0;
  isCut = false;

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** What is now certain to belong to the text. */
  push(more: string): string {
    this.#text += more;
    const cut = Math.min(...this.#stops.map((stop) => this.#text.indexOf(stop)).filter((at) => at >= 0), Number.POSITIVE_INFINITY);
    this.isCut = cut < Number.POSITIVE_INFINITY;
    return this.#give(this.isCut ? cut : this.#text.length - this.#openStop());
  }

  /** All that was held back. */
  end(more: string): string {
    const certain = this.push(more);
    return this.isCut ? certain : certain + this.#give(this.#text.length);
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
