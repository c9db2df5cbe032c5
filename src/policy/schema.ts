/** @module What stands in policies/*.yaml. zod checks; the rest of the program uses the inferred types. */
import { z } from "zod";
import type { DeepReadonly } from "../types/deep-readonly.ts";
import { blockField, blockSchema, keptOf, pruneSchema, streamSchema } from "./choice-schema.ts";
import { reasoningSchema } from "./reasoning-schema.ts";
import { hasOneContext, oneContext, scoreSchema, wantsConsensus } from "./score-schema.ts";
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

/** How each token is drawn, where that is not by C⁺ alone. */
const decodeSchema = z.strictObject({
  type: z
    .literal("contrast")
    .describe("each token from π⁺·(π⁺/π⁻)^α; C⁻ is the context that score.negative names; one answer, streamed"),
  alpha: z.number().min(0).max(10).describe("α; 0 samples from C⁺ among its top"),
  top: z
    .int()
    .min(1)
    .max(1_000)
    .optional()
    .describe("only so many of C⁺'s likeliest tokens compete; absent: sampling.top_k"),
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
    block: blockSchema,
    stream: streamSchema,
    prune: pruneSchema,
    decode: decodeSchema
      .optional()
      .describe("how tokens are drawn, with stream: contrast those of streams; absent: from C⁺, as sampling says"),
    reasoning: reasoningSchema,
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
    const complain = (path: string, message: string) => context.addIssue({ code: "custom", path: [path], message });
    const inBlocks = blockField(policy);
    if (inBlocks !== null && policy.score.type === "none")
      complain(inBlocks, "blocks are chosen by a score, and this policy has none");
    if (policy.block !== undefined && policy.stream !== undefined && policy.stream !== "blocks")
      complain("block", "no request would be answered in blocks: leave out stream, or say stream: blocks");
    const { prune, candidates } = policy;
    if (prune !== undefined && typeof candidates === "number" && keptOf(candidates, prune.keep, 1) === candidates)
      complain("prune", `of ${candidates} candidates ${prune.keep} keeps all: nothing would ever be dropped`);
    if (typeof candidates === "number" && (policy.block?.keep ?? 1) > 1 && (policy.block?.keep ?? 1) >= candidates)
      context.addIssue({
        code: "custom",
        path: ["block", "keep"],
        message: `of ${candidates} first blocks fewer must be kept: nothing would be chosen`,
      });
    if (policy.candidates === 1 && wantsConsensus(policy.score))
      context.addIssue({
        code: "custom",
        path: ["score", "consensus"],
        message: "one candidate has no others to agree with: it needs two candidates",
      });
    const isSteered = inBlocks !== null || prune !== undefined || policy.decode !== undefined;
    if (policy.reasoning?.thoughts === "own" && isSteered)
      context.addIssue({
        code: "custom",
        path: ["reasoning", "thoughts"],
        message: "blocks, prune and decode go on from one thought: say shared",
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

export type PolicySettings = DeepReadonly<z.output<typeof policySchema>>;
export type RetrieverSettings = PolicySettings["retriever"];
export type Instructions = NonNullable<PolicySettings["instructions"]>;
export type Overrides = DeepReadonly<z.output<typeof overridesSchema>>;
