/** @module One prompt, answered by all variants of a generator, and what that took. */
import { computedTokens, type Engine, noUsage, type PromptedModel, type TokenUsage } from "icdpo-gateway/laboratory";
import { z } from "zod";
import type { AnswerMeasure } from "./answer-measures.ts";
import { type ArmAnswer, answerOf } from "./answers.ts";
import type { Arm } from "./arms.ts";
import type { Kind, ResultCache } from "./cache.ts";
import { cachedEngine } from "./cached-engine.ts";
import { countedEngine } from "./engine-with.ts";
import type { Generator, VariantArm } from "./generators.ts";
import type { Paid } from "./halving.ts";
import type { AskedPrompt } from "./pool-rows.ts";
import { sharedSamples } from "./shared-samples.ts";
import { versions } from "./versions.ts";

/** A variant's answer to a prompt. */
export interface Tried {
  readonly reward: number;
  /** What it takes with nothing in a cache: prompts, samples, completions that are scored. */
  readonly work: number;
  /** Of the request, with others under way; where samples are shared, not what it would take alone. */
  readonly seconds: number;
  readonly answer: Pick<ArmAnswer, "text" | "tokens" | "finish" | "copied" | "fallback">;
}

export interface Trial {
  /** By the policy's id. */
  readonly tried: ReadonlyMap<string, Tried>;
  readonly paid: Paid;
}

export interface TrialOptions {
  readonly measure: AnswerMeasure;
  /** The plain policy's id: a judge compares answers with its, where the prompt has no reference. */
  readonly plain: string;
  readonly cache: ResultCache;
  readonly now: () => number;
}

/** Kept, so that a run that is taken up goes on with the same plan, and what it had paid counts. */
const paidKind: Kind<Paid> = {
  name: "paid",
  version: versions.answers.version,
  schema: z.object({ ms: z.number(), tokens: z.number() }),
};

/** `before`: what other generators have answered to the prompt, the plain policy's first. */
export async function trialOf(
  prompt: AskedPrompt,
  { variants }: Pick<Generator, "variants">,
  before: ReadonlyMap<string, Tried>,
  { measure, plain, cache, now }: TrialOptions,
  signal: AbortSignal,
): Promise<Trial> {
  const usage = noUsage();
  const arms = variants.length === 1 ? variants.map(({ arm }) => arm) : sharing(variants, cache, usage);
  const started = now();
  const answers = new Map<string, ArmAnswer>();
  for (const [i, { arm }] of variants.entries())
    answers.set(arm.policy.id, await answerOf(arms[i] as Arm, cache, prompt, now, signal));
  const compared = before.get(plain)?.answer.text ?? answers.get(plain)?.text ?? "";
  const tried = new Map<string, Tried>();
  for (const [id, answer] of answers) {
    const reward = await measure.of({ prompt, text: answer.text, plain: compared }, signal);
    if (reward === null) throw new Error(`${measure.name} takes what the prompt ${prompt.id} has not`);
    const { prompt: fed, sampled, scored } = answer.work;
    tried.set(id, { reward, work: fed + sampled + scored, seconds: answer.ms / 1000, answer });
  }
  const [only] = answers.values();
  const tokens = computedTokens(variants.length === 1 && only !== undefined ? only.work : usage);
  const key = [[...answers.keys()], prompt.messages, prompt.seed, measure.name];
  return { tried, paid: await cache.recall(paidKind, key, async () => ({ ms: now() - started, tokens })) };
}

/** The same policies over engines that neither sample nor score anything twice; `usage` grows by what they do. */
function sharing(variants: readonly VariantArm[], cache: ResultCache, usage: TokenUsage): Arm[] {
  const engines = new Map<Engine, Engine>();
  const shared = ({ engine, format }: PromptedModel): PromptedModel => {
    const known = engines.get(engine) ?? sharedSamples(cachedEngine(countedEngine(engine, usage), cache), cache);
    engines.set(engine, known);
    return { engine: known, format };
  };
  return variants.map(({ arm: { name, policy } }) => ({
    name,
    policy: {
      ...policy,
      // Times are not those of an answer that is had alone: nobody else may take them for that.
      id: `${policy.id} of shared samples`,
      sampler: shared(policy.sampler),
      scorer: shared(policy.scorer),
      reference: policy.reference && shared(policy.reference),
    },
  }));
}
