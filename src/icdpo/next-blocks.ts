/** @module The blocks that may come next in an answer: n of k tokens, with the sums of all that stands up to their ends. */
import type { FinishReason, Sample, SamplingParameters, Token } from "../engine/engine.ts";
import type { Score } from "../policy/score-schema.ts";
import type { Contexts, ScoringContext } from "./contexts.ts";
import { firstOf } from "./cut-text.ts";
import { forcedSums } from "./forced-sums.ts";
import { cuts, responseTokens } from "./prompt.ts";
import { scoreOf } from "./score.ts";
import { counted, type TokenUsage } from "./token-usage.ts";

export interface BlockOptions {
  readonly score: Score;
  /** `[blocks]`, k: tokens of each; the last number is that of all further ones. */
  readonly tokens: readonly number[];
  readonly parameters: SamplingParameters;
  readonly usage: TokenUsage;
  /** A part of the context has been fed; the first block is being sampled. */
  readonly onPrefill: () => void;
  readonly onBegin: () => void;
}

/** One step of sampling. */
export interface NextOptions extends BlockOptions {
  /** `[blocks]`: of those to choose from, one each. */
  readonly seeds: readonly number[];
  readonly signal: AbortSignal;
}

/** The blocks chosen so far. */
export interface Prefix {
  readonly tokens: readonly Token[];
  readonly text: string;
  /** `[blocks]`: tokens of each. */
  readonly lengths: readonly number[];
  /** log π of all of it, in nats. */
  readonly positive: number;
  readonly negative: number | null;
  /** By these alone, as `scoreOf` has it. */
  readonly measured: number | null;
  /** In tokens, EOS among them where it ends. */
  readonly length: number;
  /** Why it goes on no further; null: it does. */
  readonly finish: FinishReason | null;
}

/** `[blocks]`: an answer, longer by each; of those that end before they begin only if all do. */
export async function longerByABlock(
  contexts: Contexts,
  prefix: Prefix,
  step: number,
  options: NextOptions,
): Promise<Prefix[]> {
  const { parameters, usage, signal } = options;
  const block = options.tokens[Math.min(step, options.tokens.length - 1)] as number;
  const limit = Math.min(block, parameters.maxTokens - prefix.tokens.length);
  const samples = await sampleBlocks(contexts, prefix, limit, step, options);
  const { blocks, texts } = await openBlocks(contexts, prefix, samples, step, options);
  const next = { contexts, prefix, blocks, texts, usage, signal };
  const [positives, negatives] = await Promise.all([
    sampledSums(next) ?? sumsAfter(contexts.positive, next),
    contexts.negative === null ? null : sumsAfter(contexts.negative, next),
  ]);
  return blocks.map((block, i): Prefix => {
    const tokens = [...prefix.tokens, ...block.tokens];
    const sums = { positive: positives[i] as number, negative: negatives?.[i] ?? null };
    const isFull = block.tokens.length < limit || tokens.length >= parameters.maxTokens;
    const length = tokens.length + (block.finish === "stop" ? 1 : 0);
    const finish = block.finish === "stop" ? "stop" : isFull ? "length" : null;
    return {
      tokens,
      text: texts[i] as string,
      lengths: [...prefix.lengths, block.tokens.length],
      ...sums,
      measured: scoreOf(options.score, sums, length),
      length,
      finish,
    };
  });
}

async function sampleBlocks(
  { sampled: context, positive }: Contexts,
  prefix: Prefix,
  limit: number,
  step: number,
  { parameters, seeds, usage, signal, onPrefill, onBegin }: NextOptions,
): Promise<Sample[]> {
  const prompt = { ...context.prompt, tokens: [...context.prompt.tokens, ...prefix.tokens] };
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
  options: NextOptions,
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
export function stopsOf(
  { format }: ScoringContext,
  { parameters: { stop } }: Pick<BlockOptions, "parameters">,
): readonly string[] {
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
