/** @module What an answer's text is worth, by each measure that the prompt allows. */
import { cosine, type Embedder, type Engine } from "icdpo-gateway/laboratory";
import type { ResultCache } from "./cache.ts";
import type { CheckedPrompt } from "./checked-prompts.ts";
import { shareOfChecks } from "./checks.ts";

import { judgeOdds } from "./judge-odds.ts";
import { cachedReward, type RewardModel } from "./reward.ts";
import { chrf, rougeL } from "./text-overlap.ts";

export interface MeasuredText {
  readonly prompt: CheckedPrompt;
  readonly text: string;
  /** What a judge compares it with, where the prompt has no reference. */
  readonly plain: string;
}

export interface AnswerMeasure {
  /** As tables call it. */
  readonly name: string;
  /** The prompt has what it takes. */
  appliesTo(prompt: CheckedPrompt): boolean;
  /** Null: it has not. */
  of(answer: MeasuredText, signal: AbortSignal): Promise<number | null>;
}

export interface MeasureSources {
  readonly prompts: readonly CheckedPrompt[];
  /** Called where there are references. */
  readonly embedder: () => Promise<Embedder>;
  /** By label. */
  readonly rewards: ReadonlyMap<string, RewardModel>;
  readonly judge?: Engine | undefined;
  readonly cache: ResultCache;
}

/** The most telling first. */
export async function answerMeasures(sources: MeasureSources): Promise<AnswerMeasure[]> {
  const { prompts, rewards, judge, cache } = sources;
  return [
    ...(prompts.some(({ checks }) => checks.length > 0) ? [checksMeasure] : []),
    ...(prompts.some(({ reference }) => reference !== undefined) ? referenceMeasures(await sources.embedder()) : []),
    ...[...rewards].map(([label, model]) => rewardMeasure(label, model)),
    ...(judge === undefined ? [] : [judgeMeasure(judge, cache)]),
  ];
}

const checksMeasure: AnswerMeasure = {
  name: "checks passed",
  appliesTo: ({ checks }) => checks.length > 0,
  of: async ({ prompt: { checks, messages }, text }) =>
    checks.length === 0 ? null : shareOfChecks(checks, text, messages),
};

function referenceMeasures(embedder: Embedder): AnswerMeasure[] {
  const closeness = async (text: string, reference: string, signal: AbortSignal): Promise<number> => {
    const [own, wanted] = await embedder.embed([text, reference], signal);
    return cosine(own as Float32Array, wanted as Float32Array);
  };
  const beside = (
    name: string,
    measure: (text: string, reference: string, signal: AbortSignal) => number | Promise<number>,
  ): AnswerMeasure => ({
    name,
    appliesTo: ({ reference }) => reference !== undefined,
    of: async ({ prompt: { reference }, text }, signal) =>
      reference === undefined ? null : measure(text, reference, signal),
  });
  return [beside("cosine to the reference", closeness), beside("ROUGE-L", rougeL), beside("chrF", chrf)];
}

function rewardMeasure(label: string, model: RewardModel): AnswerMeasure {
  return {
    name: `reward ${label}`,
    appliesTo: () => true,
    of: ({ prompt: { messages }, text }, signal) => model.reward(messages, text, signal),
  };
}

/** Against the reference, or the prompt's first plain sample. */
function judgeMeasure(engine: Engine, cache: ResultCache): AnswerMeasure {
  return {
    name: "judge's log-odds",
    appliesTo: () => true,
    async of({ prompt: { messages, reference }, text, plain }, signal) {
      const opponent = reference ?? plain;
      if (text === opponent) return 0;
      return cachedReward(await judgeOdds(engine, opponent), cache).reward(messages, text, signal);
    },
  };
}
