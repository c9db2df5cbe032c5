/** @module One prompt's answers: pools, greedy answers and what policies answer, with all that is measured of them. */
import { type Embedder, sourcesOf } from "icdpo-gateway/laboratory";
import type { AnswerMeasure } from "./answer-measures.ts";
import { type ArmAnswer, answerOf } from "./answers.ts";
import { type Arm, changedArm } from "./arms.ts";
import type { ResultCache } from "./cache.ts";
import type { CheckedPrompt } from "./checked-prompts.ts";
import { cosinesOf } from "./cosines.ts";
import type { Candidate, Cost, MeasuredAnswer, PoolRow } from "./measured-pool.ts";
import type { OptionalArm } from "./pool-rules.ts";
import { type Samples, type Sums, samplesOf, sumsOf } from "./pools.ts";

/** What is asked of the models for each prompt: arms that differ from the first policy in one thing each. */
export interface PoolSources {
  /** Measures the pool's sums. */
  readonly policy: Arm;
  /** The same, unscored. */
  readonly pool: Arm;
  readonly plain: Arm;
  /** Null: not asked for, or the policy has none. */
  readonly instructions: Arm | null;
  readonly greedy: Arm | null;
  readonly plainGreedy: Arm | null;
  /** Answered by the pipeline. */
  readonly policies: readonly Arm[];
}

/** `policy` makes the pool; the others answer as they are. */
export async function poolSources(
  policy: Arm,
  policies: readonly Arm[],
  families: readonly OptionalArm[],
): Promise<PoolSources> {
  const { settings } = policy.policy;
  const isGreedyAsked = families.includes("greedy");
  const hasInstructions = settings.instructions !== undefined && policy.policy.retriever !== null;
  return {
    policy,
    // As many as are asked for: the policy's own number of candidates would be the least.
    pool: await changedArm(policy, { unscored: true, candidates: 1 }),
    plain: await changedArm(policy, { plain: true, candidates: 1 }),
    instructions:
      families.includes("instructions") && hasInstructions
        ? await changedArm(policy, { unscored: true, candidates: 1, shots: 0 })
        : null,
    greedy: isGreedyAsked ? await changedArm(policy, { unscored: true, temperature: 0 }) : null,
    plainGreedy: isGreedyAsked ? await changedArm(policy, { plain: true, temperature: 0 }) : null,
    policies,
  };
}

export interface AskedPrompt extends CheckedPrompt {
  readonly set: string;
  /** Decides every chance in what is asked for it: the same for all arms. */
  readonly seed: number;
}

export interface RowOptions {
  readonly sources: PoolSources;
  /** Answers of the policy's pool. */
  readonly pool: number;
  /** Answers of the plain pool, and of the one with instructions only. */
  readonly plain: number;
  readonly measures: readonly AnswerMeasure[];
  /** For the pool's cosines to each other; null: nobody asks for them. */
  readonly embedder: Embedder | null;
  readonly cache: ResultCache;
  readonly now: () => number;
}

export async function poolRow(prompt: AskedPrompt, options: RowOptions, signal: AbortSignal): Promise<PoolRow> {
  const { sources, cache, embedder, now } = options;
  const samples = (arm: Arm, count: number): Promise<Samples> => samplesOf(arm, cache, prompt, count, now, signal);
  const pool = await samples(sources.pool, options.pool);
  const texts = pool.answers.map(({ text }) => text);
  const { sums, ms } = await sumsOf(sources.policy, cache, prompt, pool, now, signal);
  const plain = await samples(sources.plain, options.plain);

  const measure = measurer(prompt, pool, plain, options, signal);
  const sampled = (from: Samples): Promise<MeasuredAnswer[]> =>
    inOrderOf(from.answers, (one) => measure(one, shareOf(from, one.tokens)));
  const answered = async (arm: Arm): Promise<MeasuredAnswer> => {
    const one = await answerOf(arm, cache, prompt, now, signal);
    return measure(one, { sampled: one.work.sampled, scored: one.work.scored, seconds: one.ms / 1000 });
  };

  const candidates = (await sampled(pool)).map((one, i): Candidate => {
    const own = sums[i] as Sums;
    const contexts = [own.positive, own.negative, own.base].filter((sum) => sum !== null).length;
    return { ...one, sums: own, scoring: { scored: own.tokens, seconds: ms / 1000 / texts.length / contexts } };
  });
  return {
    set: prompt.set,
    id: prompt.id,
    demonstrations: pool.demonstrations,
    pool: candidates,
    cosines: embedder === null ? [] : await cosinesOf(embedder, texts, signal),
    plain: await sampled(plain),
    instructions:
      sources.instructions === null ? [] : await sampled(await samples(sources.instructions, options.plain)),
    greedy: sources.greedy && (await answered(sources.greedy)),
    plainGreedy: sources.plainGreedy && (await answered(sources.plainGreedy)),
    policies: Object.fromEntries(
      await inOrderOf(sources.policies, async (arm) => [arm.name, await answered(arm)] as const),
    ),
  };
}

type Measurer = (answer: Pick<ArmAnswer, "text" | "finish" | "tokens">, cost: Cost) => Promise<MeasuredAnswer>;

function measurer(
  prompt: AskedPrompt,
  pool: Samples,
  plain: Samples,
  { measures, sources }: RowOptions,
  signal: AbortSignal,
): Measurer {
  const shown = new Set(pool.demonstrations);
  const demonstrated = sourcesOf(sources.policy.policy.demonstrations.filter(({ id }) => shown.has(id)));
  const firstPlain = plain.answers[0]?.text ?? "";
  return async ({ text, finish, tokens }, cost) => {
    const values = await inOrderOf(
      measures,
      async ({ name, of }) => [name, await of({ prompt, text, plain: firstPlain }, signal)] as const,
    );
    const copied = demonstrated?.copiedIn(text).share ?? 0;
    return { text, finish, tokens, rewards: Object.fromEntries(values), copied, cost };
  };
}

/** An answer's share of the time that all took together, by tokens; the closing one counts. */
function shareOf({ answers, ms }: Samples, tokens: number): Cost {
  const all = answers.reduce((sum, answer) => sum + answer.tokens + 1, 0);
  return { sampled: tokens, scored: 0, seconds: (ms / 1000) * ((tokens + 1) / all) };
}

/** One after another: prompts are under way together already. */
async function inOrderOf<Item, Result>(
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  for (const item of items) results.push(await work(item));
  return results;
}
