/** @module Beginnings of answers, side by side: each goes on from its own tokens, one call to the engine for each. */
import { allOrNone } from "../async/all-or-none.ts";
import type { FinishReason, Sample, SampleRequest, SamplingParameters } from "../engine/engine.ts";
import { CandidateText } from "./candidate-text.ts";
import type { ScoringContext } from "./contexts.ts";
import { CutText } from "./cut-text.ts";
import { stopsOf } from "./next-blocks.ts";
import { type Candidate, teller } from "./sample.ts";
import { candidateSeed } from "./seed.ts";
import type { TimeBudget } from "./time-budget.ts";
import { counted, type TokenUsage } from "./token-usage.ts";

/** A candidate under way. */
export interface Beginning extends Candidate {
  /** Why it goes on no further; null: it does. */
  readonly ended: FinishReason | null;
  /** All that has been sampled of it, as if in one piece; null where a deadline cut it off. */
  readonly sample: Sample | null;
  /** The text as it was sampled, stop strings and all. */
  readonly raw: string;
}

export interface GrowthOptions {
  /** Of whole answers. */
  readonly parameters: SamplingParameters;
  readonly seed: number;
  /** Return log-probabilities. */
  readonly logprobs: boolean;
  readonly usage: TokenUsage;
  readonly signal: AbortSignal;
  /** When it is spent, beginnings that go on are cut off with what there is of them; the first part is waited for. */
  readonly budget: TimeBudget;
  /** A part of a context has been fed; the first part is being sampled. */
  readonly onPrefill: () => void;
  readonly onBegin: () => void;
}

/** A request's answers, all of them at their beginnings: so many samples of one context, of at most `limit` tokens. */
export async function begin(
  context: ScoringContext,
  count: number,
  limit: number,
  options: GrowthOptions,
): Promise<Beginning[]> {
  const seeds = Array.from({ length: count }, (_, index) => candidateSeed(options.seed, index));
  const growth = { ...options, limit: Math.min(limit, options.parameters.maxTokens) };
  const parts = await sampleParts(context, [], seeds, growth, teller(options));
  return Promise.all(parts.map((part, index) => longer(context, { index, before: null }, part, growth)));
}

/**
 * `[beginnings]`: each by at most `limit` tokens more, sampled with a seed that the request's, its index and the round
 * decide. Throws what the engine throws; where one of the calls fails, the others are stopped.
 */
export function goOn(
  context: ScoringContext,
  beginnings: readonly Beginning[],
  limit: number,
  round: number,
  options: GrowthOptions,
): Promise<Beginning[]> {
  const { parameters, budget, seed } = options;
  const tell = teller(options);
  return allOrNone(
    beginnings,
    async (before, _, signal) => {
      const { index, sample } = before;
      const tokens = sample?.tokens ?? [];
      const seeds = [candidateSeed(candidateSeed(seed, index), round)];
      const growth = { ...options, signal, limit: Math.min(limit, parameters.maxTokens - tokens.length) };
      let text = "";
      try {
        const [part] = await sampleParts(context, tokens, seeds, growth, tell, (piece) => {
          text += piece;
        });
        return await longer(context, { index, before }, part as Sample, growth);
      } catch (error) {
        if (!budget.explains(error)) throw error;
        return cutOff(context, before, before.raw + text, parameters);
      }
    },
    budget.signal,
  );
}

interface Growth extends GrowthOptions {
  /** Tokens of this part. */
  readonly limit: number;
}

/** `[seeds]`: what comes after the tokens. */
async function sampleParts(
  context: ScoringContext,
  before: readonly number[],
  seeds: readonly number[],
  { parameters, limit, logprobs, usage, signal, budget }: Growth,
  tell: ReturnType<typeof teller>,
  onText: (piece: string) => void = () => {},
): Promise<Sample[]> {
  const prompt = { ...context.prompt, tokens: [...context.prompt.tokens, ...before] };
  const least = Math.max(0, (parameters.minTokens ?? 0) - before.length);
  const request: SampleRequest = {
    ...parameters,
    stop: stopsOf(context, { parameters }),
    maxTokens: limit,
    minTokens: least > 0 ? Math.min(least, limit) : undefined,
    seeds,
    logprobs,
    whole: !budget.isLimited,
  };
  const samples: Sample[] = [];
  for await (const event of counted(context.engine.sample(prompt, request, signal), prompt.tokens.length, usage)) {
    if (event.type === "prefill" || event.type === "prompt") tell(event);
    else if (event.type === "text") onText(event.text);
    else if (event.type === "done") samples[event.index] = event.sample;
  }
  return samples;
}

async function longer(
  context: ScoringContext,
  { index, before }: { readonly index: number; readonly before: Beginning | null },
  part: Sample,
  { parameters, limit, signal }: Growth,
): Promise<Beginning> {
  const whole = before?.sample ? joined(before.sample, part) : part;
  const raw = before === null ? part.text : await context.engine.detokenize(whole.tokens, signal);
  const cut = textOf(context, raw, parameters, part.finish);
  const stopString = part.stopString ?? cut.stopString;
  const isFull = part.tokens.length < limit || whole.tokens.length >= parameters.maxTokens;
  const ended = part.finish === "stop" || stopString !== undefined ? "stop" : isFull ? "length" : null;
  const sample = { ...whole, text: cut.text };
  return { index, ...cut, stopString, finish: ended ?? "length", ended, sample, raw };
}

function cutOff(context: ScoringContext, before: Beginning, raw: string, parameters: SamplingParameters): Beginning {
  const cut = textOf(context, raw, parameters, "length");
  const ended = cut.stopString === undefined ? "length" : "stop";
  return { ...before, ...cut, finish: ended, ended, sample: null, raw };
}

/** Two samples, of which the second goes on from the first, as one. */
function joined(before: Sample, after: Sample): Sample {
  return {
    ...after,
    tokens: [...before.tokens, ...after.tokens],
    logprobs: [...before.logprobs, ...after.logprobs],
    // Where they meet, both know what ending there would have been.
    endLogprobs: [...before.endLogprobs.slice(0, before.tokens.length), ...after.endLogprobs],
    counted: undefined,
  };
}

/** As it would be returned: cut before the first stop string, wherever its parts meet, and trimmed in the paper's formats. */
function textOf(
  context: ScoringContext,
  raw: string,
  parameters: SamplingParameters,
  finish: FinishReason,
): Pick<Candidate, "text" | "details" | "stopString"> {
  const cut = new CutText(stopsOf(context, { parameters }));
  const candidate = new CandidateText(context.format, () => {});
  candidate.push(cut.push(raw), []);
  if (cut.stopString === undefined) candidate.push(cut.end(), []);
  const end = candidate.end(cut.stopString === undefined ? finish : "stop");
  return { ...end, stopString: cut.stopString };
}
