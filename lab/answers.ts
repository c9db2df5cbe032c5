/** @module What an arm answers to a prompt, and what is measured of the answer. */
import { type Conversation, judgePair, type Teacher } from "icdpo-gateway/laboratory";
import { z } from "zod";
import { type Arm, answered, measured } from "./arms.ts";
import type { Kind, ResultCache } from "./cache.ts";
import type { RewardModel } from "./reward.ts";
import { versions } from "./versions.ts";

const workSchema = z.object({ prompt: z.number(), sampled: z.number(), scored: z.number(), cached: z.number() });
const answerSchema = z.object({
  text: z.string(),
  finish: z.enum(["stop", "length"]),
  /** Tokens of the answer, without the closing token. */
  tokens: z.number(),
  /** The arm's own score of it, in nats. */
  score: z.number().nullable(),
  candidates: z.number(),
  /** Wall-clock time of the request, with others under way. */
  ms: z.number(),
  work: workSchema,
  fallback: z.string().nullable(),
  /** The share of its 5-grams that are a shown demonstration's; null: none was shown, or an earlier version made it. */
  copied: z.number().nullable().default(null),
});
export type ArmAnswer = z.output<typeof answerSchema>;

const answerKind: Kind<ArmAnswer> = { name: "answer", version: versions.answers.version, schema: answerSchema };

export interface Prompted {
  readonly messages: Conversation;
  readonly seed: number;
}

/** Generated once for a policy, prompt and seed. */
export function answerOf(
  arm: Arm,
  cache: ResultCache,
  { messages, seed }: Prompted,
  now: () => number,
  signal: AbortSignal,
): Promise<ArmAnswer> {
  const {
    id,
    sampler: { format },
  } = arm.policy;
  return cache.recall(answerKind, [id, format, messages, seed], async () => {
    const started = now();
    const { ranked, tokens, fallback } = await answered(arm, { conversation: messages, answers: 1, seed, now, signal });
    const best = ranked[0];
    return {
      text: best?.text ?? "",
      finish: best?.finish ?? "stop",
      tokens: best === undefined ? 0 : Math.max(0, best.idsWithEos.length - 1),
      score: best?.score ?? null,
      candidates: ranked.length,
      ms: now() - started,
      work: { ...tokens },
      fallback,
      copied: best?.copied?.share ?? null,
    };
  });
}

/** What answers are measured by; what is absent is not measured. */
export interface Measures {
  /** By label, as tables call them. */
  readonly rewards: ReadonlyMap<string, RewardModel>;
  readonly judge?: Teacher | undefined;
  /** Its demonstrations measure every arm's answers. */
  readonly measuredBy?: Arm | undefined;
}

export const answerRowSchema = answerSchema.extend({
  set: z.string(),
  id: z.string(),
  arm: z.string(),
  /** The policy with its hash. */
  policy: z.string(),
  /** By the reward model's label. */
  rewards: z.record(z.string(), z.number()),
  /**
   * Against the data's chosen response: 1 a win, ½ a tie, 0 a loss; "unreadable": asked, without a verdict that can be
   * read; null: not asked.
   */
  judgement: z.union([z.number(), z.literal("unreadable")]).nullable(),
  s: z.number().nullable(),
  s_hat: z.number().nullable(),
});
export type AnswerRow = Readonly<z.output<typeof answerRowSchema>>;

export async function measureAnswer(
  { text }: Pick<ArmAnswer, "text">,
  prompt: Prompted & { readonly id: string; readonly chosen: string },
  { rewards, judge, measuredBy }: Measures,
  cache: ResultCache,
  signal: AbortSignal,
): Promise<Pick<AnswerRow, "rewards" | "judgement" | "s" | "s_hat">> {
  const { id, messages, seed, chosen } = prompt;
  const sums =
    measuredBy === undefined || text === ""
      ? undefined
      : (await measured(measuredBy, cache, { conversation: messages, completions: [text], seed, signal })).measured[0];
  return {
    rewards: await rewardsOf(rewards, messages, text, signal),
    judgement:
      judge === undefined
        ? null
        : ((await judgePair(judge, messages, text, chosen, `icdpo-eval-${id}`, signal)) ?? "unreadable"),
    s: sums?.s ?? null,
    s_hat: sums?.sHat ?? null,
  };
}

/** Reward model → its reward of a response. */
export async function rewardsOf(
  models: ReadonlyMap<string, RewardModel>,
  conversation: Conversation,
  response: string,
  signal: AbortSignal,
): Promise<Record<string, number>> {
  const rewards: Record<string, number> = {};
  for (const [label, model] of models) rewards[label] = await model.reward(conversation, response, signal);
  return rewards;
}
