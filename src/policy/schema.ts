/**
 * @module What stands in policies/*.yaml, policies/routes.yaml and demos/*.jsonl. zod checks; the rest of the program
 * uses the inferred types.
 */
import { z } from "zod";
import { complaintsAbout, largestValue, measuredMetrics, mostMetrics } from "./feedback-metrics.ts";
import { problemWith } from "./user-pattern.ts";

export const promptFormats = ["chat", "hh-rlhf", "synthetic-gpt"] as const;
export type PromptFormat = (typeof promptFormats)[number];

/** The paper's window L and its shortlist (§ 2.4 and Appendix B). */
const window = z.int().min(1).default(30).describe("BM25 looks at this many tokens at the end of each prompt");
const shortlist = z.int().min(1).default(20).describe("how many of BM25's best are re-ranked by embeddings");

const minSimilarity = z
  .number()
  .min(-1)
  .max(1)
  .optional()
  .describe(
    "cosine: demonstrations that are less similar are not shown, and a request that none is left for is answered by one plain sample; absent: all are similar enough",
  );
const mmr = z
  .number()
  .gt(0)
  .max(1)
  .optional()
  .describe(
    "λ of maximal marginal relevance: below 1 demonstrations that are like those already chosen stand back; absent: 1",
  );

export const retrieverSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("none") }),
  z.strictObject({ type: z.literal("random") }),
  z.strictObject({ type: z.literal("bm25"), window }),
  z.strictObject({ type: z.literal("embedding"), min_similarity: minSimilarity }),
  z.strictObject({ type: z.literal("two-stage"), window, shortlist, min_similarity: minSimilarity, mmr }),
]);

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

const instructionsSchema = z.strictObject({
  positive: z
    .string()
    .min(1)
    .default("Answer every message as politely, harmlessly, helpfully and honestly as possible."),
  negative: z
    .string()
    .min(1)
    .default("Answer every message as offensively, harmfully, unhelpfully and misleadingly as possible."),
});

export const defaultInstructions = instructionsSchema.parse({});

const samplingSchema = z.strictObject({
  temperature: z.number().min(0).max(2).default(1),
  top_p: z.number().gt(0).max(1).default(0.8),
  top_k: z.int().min(0).default(50).describe("0 keeps the whole vocabulary"),
  max_tokens: z
    .int()
    .min(1)
    .optional()
    .describe(
      "of an answer; absent: it ends where the model ends it, or the context does; where candidates compete, at 1,024",
    ),
  min_p: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .describe("tokens of less than this share of the likeliest one's probability are left out"),
  repetition_penalty: z
    .number()
    .gt(0)
    .max(10)
    .optional()
    .describe("above 1: what the text holds already becomes less likely"),
  repeat_last_n: z.int().min(0).optional().describe("so many tokens are looked at for it; absent: all"),
  min_tokens: z.int().min(1).optional().describe("the model cannot end its turn before so many tokens"),
});

const pattern = z
  .string()
  .min(1)
  .superRefine((source, context) => {
    const problem = problemWith(source);
    if (problem !== null)
      context.addIssue({ code: "custom", message: `must be a regular expression as RE2 knows them: ${problem}` });
  });

/** Requests that are answered by one plain sample each: any of these is enough. */
const bypassSchema = z.strictObject({
  max_tokens: z.int().min(1).optional().describe("requests for at most so many tokens"),
  prompts: z
    .array(pattern)
    .default([])
    .describe(
      "the beginning of the last user message (4,096 characters) matches a regular expression of RE2's kind, as title and tag requests do",
    ),
  system: z
    .array(pattern)
    .default([])
    .describe("the same of the system messages, where coding agents say that they want a title or a summary"),
  tools: z.boolean().default(false).describe("requests with tools"),
  json: z.boolean().default(false).describe("requests for JSON"),
});

const fixedNumber = z.int().min(1).max(64);

/** Adaptive effort: candidates in waves, until the choice is clear. */
const effortSchema = z
  .strictObject({
    min: z.int().min(2).max(64).describe("candidates of the first wave: one alone leads nobody"),
    max: z.int().min(2).max(64).describe("no more are sampled"),
    margin: z
      .number()
      .gt(0)
      .describe("no more are sampled once the best one leads the second by so much, in the score's own unit: nats"),
  })
  .refine(({ min, max }) => min < max, {
    path: ["max"],
    message: "must be more than min; for a fixed number, write it in place of the braces",
  });

/** Settings that a request may change for itself, where its route allows that. */
const changeable = {
  shots: z.int().min(1).max(32).default(2).describe("m, demonstrations per prompt"),
  candidates: z
    .union([fixedNumber, effortSchema], {
      error: "must be a whole number from 1 to 64, or { min, max, margin } with min from 2",
    })
    .default(3)
    .describe(
      "n, sampled responses; or min at first, then as many again each time, up to max, until one leads by margin",
    ),
  score: scoreSchema,
  budget_ms: z.int().min(1).optional(),
};

const modelName = z.string().regex(/^[\w.-]+$/u, "must be a name from the engines file");

/** A model: an engine's name, or an engine with an adapter. */
const modelSchema = z.union([
  modelName.transform((engine): { engine?: string | undefined; adapter?: string | undefined } => ({ engine })),
  z.strictObject({ engine: modelName.optional(), adapter: modelName.optional() }),
]);

export const overridesSchema = z.strictObject({
  shots: changeable.shots.removeDefault().optional(),
  candidates: changeable.candidates.removeDefault().optional(),
  score: changeable.score.optional(),
  budget_ms: changeable.budget_ms,
  instructions: instructionsSchema.optional(),
});

export const policySchema = z
  .strictObject({
    description: z.string().optional(),
    demonstrations: z
      .string()
      .regex(/^[\w.-]+$/u, "must be the name of a file in demos, without .jsonl")
      .optional(),
    retriever: retrieverSchema.default({ type: "none" }),
    engine: modelName.optional().describe("the engine that samples: a name from the engines file; absent: default"),
    adapter: modelName.optional().describe("what it wears: one of its adapters"),
    scorer: modelSchema
      .optional()
      .describe("the model whose log-probabilities choose, a teacher's; absent: the one that samples"),
    reference: modelSchema
      .optional()
      .describe("π_ref of negative: reference; absent: the engine that samples, without an adapter"),
    instructions: instructionsSchema
      .optional()
      .describe("chat format; where demonstrations are named, these are there by default"),
    ...changeable,
    prompt: z.enum(["auto", ...promptFormats]).default("auto"),
    sampling: samplingSchema.prefault({}),
    block: z
      .strictObject({ tokens: z.int().min(1).max(1024).default(16) })
      .optional()
      .describe("choose while sampling: of n blocks of so many tokens the best is kept and sent at once"),
    bypass: bypassSchema.optional(),
  })
  .superRefine((policy, context) => {
    const wantsDemonstrations = policy.retriever.type !== "none";
    if (wantsDemonstrations && policy.demonstrations === undefined)
      context.addIssue({
        code: "custom",
        path: ["demonstrations"],
        message: `the retriever ${policy.retriever.type} needs a set of demonstrations`,
      });
    if (!wantsDemonstrations && policy.demonstrations !== undefined)
      context.addIssue({
        code: "custom",
        path: ["retriever"],
        message: "demonstrations are named, but no retriever chooses among them",
      });
    if (policy.block !== undefined && policy.score.type === "none")
      context.addIssue({
        code: "custom",
        path: ["block"],
        message: "blocks are chosen by a score, and this policy has none",
      });
    const complain = (path: string, message: string) => context.addIssue({ code: "custom", path: [path], message });
    if (policy.candidates === 1 && wantsConsensus(policy.score))
      context.addIssue({
        code: "custom",
        path: ["score", "consensus"],
        message: "one candidate has no others to agree with: it needs two candidates",
      });
    if (hasOneContext(policy)) complain("score", oneContext);
    if (policy.scorer !== undefined && policy.score.type === "none") complain("scorer", "this policy has no score");
    if (policy.scorer !== undefined && policy.score.type === "reward")
      complain("scorer", "a reward model chooses: this policy's score is made of no log-probabilities");
    const refers = policy.score.type === "contrast" && policy.score.negative === "reference";
    if (policy.reference !== undefined && !refers)
      complain("reference", "only a contrast with negative: reference needs it");
    if (refers && policy.reference === undefined && policy.adapter === undefined)
      complain(
        "reference",
        "negative: reference measures one model against another: name an adapter, or the reference",
      );
  })
  .transform((policy) => ({
    ...policy,
    instructions: policy.instructions ?? (policy.demonstrations === undefined ? undefined : defaultInstructions),
  }));

/** The most that a policy samples, where nobody asks for more answers. */
export function mostCandidates(candidates: PolicySettings["candidates"]): number {
  return typeof candidates === "number" ? candidates : candidates.max;
}

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

const name = z.string().regex(/^[\w.-]+$/u, "may hold letters, digits, '.', '_' and '-'");

const armSchema = z.strictObject({
  policy: name,
  weight: z
    .number()
    .min(0)
    .default(1)
    .describe("an arm's share is its weight beside the others'; 0: nobody comes to it"),
});

export const assignmentUnits = ["user", "key", "conversation"] as const;

const metricName = z.string().regex(/^[\w.-]{1,64}$/u, "may hold up to 64 letters, digits, '.', '_' and '-'");
const bound = z.number().min(-largestValue).max(largestValue);

const metricSchema = z.union([
  metricName,
  z.strictObject({
    name: metricName,
    min: bound.default(0).describe("feedback's least value"),
    max: bound.default(1).describe("feedback's greatest value"),
    verdict: z.boolean().default(true).describe("false: it is shown beside the verdict"),
  }),
]);

const experimentSchema = z
  .strictObject({
    name: name.optional().describe("the route's name, unless given; another name assigns everybody anew"),
    unit: z
      .enum(assignmentUnits)
      .default("user")
      .describe("what is assigned: the request's user, the API key, or the first user message"),
    arms: z.record(name, armSchema),
    control: name.optional().describe("the arm that the others are compared with: the one called control, or the last"),
    metrics: z
      .array(metricSchema)
      .min(1)
      .max(mostMetrics + measuredMetrics.length)
      .default(["rating"])
      .describe(
        "what the verdict is about, and what feedback may say: a name alone has values from 0 to 1; rating is always among them",
      ),
  })
  .superRefine(({ arms, control, metrics }, context) => {
    for (const { place, message } of complaintsAbout(metrics))
      context.addIssue({ code: "custom", path: ["metrics", place], message });
    const complain = (path: string, message: string) => context.addIssue({ code: "custom", path: [path], message });
    if (Object.keys(arms).length < 2) complain("arms", "an experiment needs at least two arms");
    if (!Object.values(arms).some(({ weight }) => weight > 0))
      complain("arms", "at least one arm needs a weight above 0");
    if (control !== undefined && !Object.hasOwn(arms, control)) complain("control", `there is no arm "${control}"`);
  });

const share = z.number().min(0).max(1);

const routeSchema = z
  .strictObject({
    policy: name.optional(),
    experiment: experimentSchema.optional(),
    allow_overrides: z
      .boolean()
      .default(false)
      .describe("requests may choose an arm (x-icdpo-arm) and change settings (icdpo.overrides)"),
    counterfactual: share
      .default(0)
      .describe("of so many scored requests, what plain sampling would have answered is recorded as well"),
    ramp: share.default(1).describe("so many units take part in the experiment; the others get the control's policy"),
  })
  .superRefine(({ policy, experiment, ramp }, context) => {
    if ((policy === undefined) === (experiment === undefined))
      context.addIssue({ code: "custom", path: ["policy"], message: "a route names either a policy or an experiment" });
    if (ramp < 1 && experiment === undefined)
      context.addIssue({ code: "custom", path: ["ramp"], message: "only experiments are ramped up" });
  });

export const routesSchema = z.strictObject({
  routes: z
    .record(name, routeSchema)
    .refine((routes) => Object.keys(routes).length > 0, "at least one route is needed"),
  default: name.optional(),
  aliases: z.record(z.string().min(1), name).default({}),
});

export const demonstrationMessagesSchema = z
  .array(
    z.strictObject({
      role: z.enum(["user", "assistant"], "demonstrations hold user and assistant turns only"),
      content: z.string().min(1),
    }),
  )
  .min(1)
  .refine((messages) => messages.at(-1)?.role === "user", "must end with a user turn");

export const mostNearNegatives = 16;

export const nearNegativesSchema = z.array(z.string().min(1)).min(1).max(mostNearNegatives);

export const demonstrationSchema = z.strictObject({
  id: z.string().min(1),
  messages: demonstrationMessagesSchema,
  chosen: z.string().min(1),
  rejected: z.string().min(1).optional(),
  near: nearNegativesSchema.optional(),
  source: z.string().optional(),
});

type DeepReadonly<T> = T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T;

export type PolicySettings = DeepReadonly<z.output<typeof policySchema>>;
export type RetrieverSettings = PolicySettings["retriever"];
export type Score = PolicySettings["score"];
export type Instructions = NonNullable<PolicySettings["instructions"]>;
export type Overrides = DeepReadonly<z.output<typeof overridesSchema>>;
export type AssignmentUnit = (typeof assignmentUnits)[number];
export type Routes = DeepReadonly<z.output<typeof routesSchema>>;
