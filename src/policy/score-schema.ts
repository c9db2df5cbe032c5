/** @module What stands under `score` in a policy: by what candidates compete. */
import { z } from "zod";
import type { DeepReadonly } from "../types/deep-readonly.ts";

/** What every score has. */
const measured = {
  normalize: z
    .enum(["sum", "token", "length"])
    .default("sum")
    .describe(
      "sum of log-probabilities; token: their mean; length: the sum less β·tokens, β being what a token adds on average",
    ),
  nats_per_token: z
    .number()
    .optional()
    .describe(
      "β of normalize: length, where it is to stay the same; absent: a running mean over the policy's candidates",
    ),
  unfinished: z
    .enum(["equal", "last"])
    .optional()
    .describe("last: a candidate that was cut off at max_tokens wins only if all were; absent: equal"),
  consensus: z
    .number()
    .min(0)
    .optional()
    .describe("λ, in nats: λ times the mean cosine to the other candidates is added to each score; absent: 0"),
  copied: z
    .enum(["equal", "last"])
    .optional()
    .describe(
      "last: a candidate of whose 5-grams more than a fifth are the shown demonstrations' wins only if all are such; absent: equal",
    ),
};

const rewardModel = z
  .string()
  .regex(/^[\w.-]+$/u, "must be the name of a reward model in the engines file")
  .describe("a reward model of the engines file");

/** What every score that is made of log-probabilities has. */
const bySums = {
  ...measured,
  reward: z
    .strictObject({
      model: rewardModel,
      weight: z.number().gt(0).describe("λ, in nats for each unit of reward"),
    })
    .optional()
    .describe("λ times what a reward model gives a candidate is added to its score; absent: none is asked"),
};

type Normalized = { readonly normalize: string; readonly nats_per_token?: number | undefined };

function holdsItsRate({ normalize, nats_per_token: given }: Normalized): boolean {
  return given === undefined || normalize === "length";
}

const heldRate = { path: ["nats_per_token"], message: "only normalize: length takes it" };

export const scoreSchema = z.discriminatedUnion("type", [
  z
    .strictObject({
      type: z.literal("contrast"),
      negative: z
        .enum(["rejected", "near", "base", "reference"])
        .describe(
          "rejected: Ŝ (Eq. 11); near: Ŝ against the demonstrations' near negatives, one of each by the request's seed; base: S (Eq. 8); reference: log π(y | C⁺) − log π_ref(y | C⁺), of a tuned model and its base",
        ),
      ...bySums,
    })
    .refine(holdsItsRate, heldRate),
  z.strictObject({ type: z.literal("likelihood"), ...bySums }).refine(holdsItsRate, heldRate),
  z.strictObject({
    type: z.literal("reward"),
    model: rewardModel,
    unfinished: measured.unfinished,
    copied: measured.copied,
  }),
  z.strictObject({ type: z.literal("none"), pick: z.enum(["first", "random"]).default("first") }),
]);

export type Score = DeepReadonly<z.output<typeof scoreSchema>>;

/** Candidates are compared with each other, by sentence embeddings. */
export function wantsConsensus(score: { readonly type: string; readonly consensus?: number | undefined }): boolean {
  return (score.consensus ?? 0) > 0;
}

/** Its scores are made of log-probabilities. */
export function isBySums(score: Score): score is Extract<Score, { type: "contrast" | "likelihood" }> {
  return score.type === "contrast" || score.type === "likelihood";
}

/** The reward model that a score asks, and the field that names it; null: none. */
export function rewardAsked(score: Score): { readonly model: string; readonly path: readonly string[] } | null {
  if (score.type === "reward") return { model: score.model, path: ["score", "model"] };
  if (score.type === "none" || score.reward === undefined) return null;
  return { model: score.reward.model, path: ["score", "reward", "model"] };
}

export const oneContext = "a contrast needs demonstrations or instructions: without either, both contexts are the same";

/** Both sides of the contrast would be the same model after the same context. */
export function hasOneContext(policy: {
  readonly score: { readonly type: string; readonly negative?: string };
  readonly demonstrations?: string | undefined;
  readonly instructions?: unknown;
}): boolean {
  const { score, demonstrations, instructions } = policy;
  return (
    score.type === "contrast" &&
    score.negative !== "reference" &&
    demonstrations === undefined &&
    instructions === undefined
  );
}
