/** @module What answers look like, for the described API and for tests that hold every answer to it. */
import { z } from "zod";

const finish = z.enum(["stop", "length", "tool_calls", "function_call"]);
export const unixTime = z.int().min(0);

export const tokenFields = {
  token: z.string(),
  logprob: z.number(),
  bytes: z.array(z.int().min(0).max(255)).nullable(),
};
const tokenLogprob = z.strictObject({ ...tokenFields, top_logprobs: z.array(z.strictObject(tokenFields)) });
const logprobs = z.strictObject({ content: z.array(tokenLogprob).nullable(), refusal: z.null() }).nullable();

const usage = z.strictObject({
  prompt_tokens: z.int(),
  completion_tokens: z.int().describe("those of thoughts among them"),
  total_tokens: z.int(),
  completion_tokens_details: z.strictObject({ reasoning_tokens: z.int().min(0) }).optional(),
});

const work = z.strictObject({ prompt: z.int(), sampled: z.int(), scored: z.int(), cached: z.int() });
export const explanationSchema = z
  .strictObject({
    route: z.string(),
    policy: z.string(),
    arm: z.string().nullable(),
    demonstrations: z.array(
      z.strictObject({
        id: z.string(),
        similarity: z.number().nullable(),
        near: z.string().optional().describe("the near negative that C⁻ shows, where the policy's score asks for them"),
      }),
    ),
    candidates: z.array(
      z.strictObject({
        index: z.int(),
        content: z.string(),
        finish_reason: z.enum(["stop", "length"]),
        tokens: z.int().describe("the closing token counts, where there is one: a dropped candidate has none"),
        positive: z.number().nullable().describe("log π(y ∣ C⁺), in nats"),
        negative: z.number().nullable().describe("log π(y ∣ C⁻) or log π(y ∣ C⁰), in nats"),
        score: z.number().nullable(),
        reward: z
          .number()
          .nullable()
          .optional()
          .describe("a reward model's, in its own units, where the policy asks one; null: it was not given in time"),
        consensus: z
          .number()
          .nullable()
          .optional()
          .describe("mean cosine to the other candidates, where the policy counts it; null: there are none"),
        reasoning_tokens: z.int().min(0).optional().describe("of its own thought"),
        copied: z
          .strictObject({
            share: z.number().describe("of its 5-grams of words"),
            run: z.int().describe("words of the longest run in common"),
          })
          .optional()
          .describe("how much of it is the text of the demonstrations that were shown"),
        fits: z
          .boolean()
          .nullable()
          .optional()
          .describe("whether it fits the request's schemas whole; null: that cannot be seen"),
        dropped: z
          .strictObject({
            after: z.int().describe("tokens of the candidates then"),
            place: z.int().describe("1 was the best"),
            among: z.int().describe("candidates that were compared"),
          })
          .optional()
          .describe("where it was dropped, by a policy that prunes: it is a beginning, and so are its sums and score"),
        chosen: z.boolean(),
      }),
    ),
    nats_per_token: z
      .number()
      .optional()
      .describe("β, where scores are less β for each token: the same for all candidates"),
    waves: z
      .array(z.int().min(1))
      .optional()
      .describe("how many candidates each wave had, where the policy samples until one leads by its margin"),
    contrast: z
      .strictObject({
        alpha: z.number(),
        top: z.int().describe("of C⁺'s likeliest tokens, how many competed at each place"),
        mean_log_ratio: z
          .number()
          .nullable()
          .describe("the mean of log π⁺ − log π⁻ over the answer's tokens, in nats; null where that is not known"),
      })
      .optional()
      .describe("where the policy decodes by contrast"),
    reasoning: z
      .discriminatedUnion("mode", [
        z.strictObject({ mode: z.literal("off") }),
        z.strictObject({
          mode: z.literal("on"),
          thoughts: z.enum(["shared", "own"]),
          budget: z.int().describe("tokens of a thought at most"),
          tokens: z.int().min(0).optional().describe("of the thought that all candidates share"),
          closed_by: z.enum(["model", "budget"]).optional(),
        }),
      ])
      .optional()
      .describe("of a model that thinks"),
    blocks: z
      .array(z.int().min(0))
      .optional()
      .describe("how many tokens each block had, where the answer was chosen block by block"),
    kept: z
      .array(z.int().min(1))
      .optional()
      .describe("how many candidates went on after each comparison, where the policy drops the worst"),
    max_tokens: z.int().describe("that a candidate could have"),
    tokens: work,
    timings_ms: z.strictObject({ retrieve: z.number(), sample: z.number(), score: z.number() }),
    fallback: z.string().nullable(),
  })
  .optional()
  .describe("only where the request says icdpo.explain");

const toolCall = z.strictObject({
  id: z.string(),
  type: z.literal("function"),
  function: z.strictObject({ name: z.string(), arguments: z.string() }),
});

/** By the name that ICDPO_REASONING_FIELD says. */
const thoughtNames = { reasoning_content: z.string().optional(), reasoning: z.string().optional() };

const completionFields = { id: z.string(), created: unixTime, model: z.string(), system_fingerprint: z.string() };

export const chatCompletionSchema = z.strictObject({
  ...completionFields,
  object: z.literal("chat.completion"),
  choices: z.array(
    z.strictObject({
      index: z.int(),
      message: z.strictObject({
        role: z.literal("assistant"),
        content: z.string().nullable(),
        ...thoughtNames,
        refusal: z.null(),
        tool_calls: z.array(toolCall).min(1).optional(),
        function_call: z.strictObject({ name: z.string(), arguments: z.string() }).optional(),
      }),
      logprobs,
      finish_reason: finish,
    }),
  ),
  usage,
  icdpo: explanationSchema,
});

const toolCallDelta = z.strictObject({
  index: z.int(),
  id: z.string().optional(),
  type: z.literal("function").optional(),
  function: z.strictObject({ name: z.string().optional(), arguments: z.string() }),
});

export const chatChunkSchema = z.strictObject({
  ...completionFields,
  object: z.literal("chat.completion.chunk"),
  choices: z.array(
    z.strictObject({
      index: z.int(),
      delta: z.strictObject({
        role: z.literal("assistant").optional(),
        content: z.string().optional(),
        ...thoughtNames,
        refusal: z.null().optional(),
        tool_calls: z.array(toolCallDelta).optional(),
        function_call: z.strictObject({ name: z.string().optional(), arguments: z.string() }).optional(),
      }),
      logprobs,
      finish_reason: finish.nullable(),
    }),
  ),
  usage: usage.nullable().optional(),
  icdpo: explanationSchema,
});

export const textCompletionSchema = z.strictObject({
  ...completionFields,
  object: z.literal("text_completion"),
  choices: z.array(
    z.strictObject({
      text: z.string(),
      index: z.int(),
      logprobs: z
        .strictObject({
          tokens: z.array(z.string()),
          token_logprobs: z.array(z.number().nullable()),
          top_logprobs: z.array(z.record(z.string(), z.number()).nullable()).nullable(),
          text_offset: z.array(z.int()),
        })
        .nullable(),
      finish_reason: z.enum(["stop", "length"]).nullable(),
    }),
  ),
  usage: usage.nullable().optional(),
  icdpo: explanationSchema,
});

export const embeddingsSchema = z.strictObject({
  object: z.literal("list"),
  data: z.array(
    z.strictObject({
      object: z.literal("embedding"),
      index: z.int(),
      embedding: z.union([z.array(z.number()), z.string()]),
    }),
  ),
  model: z.string(),
  usage: z.strictObject({ prompt_tokens: z.int(), total_tokens: z.int() }),
});

export const scoreSchema = z.strictObject({
  object: z.literal("list"),
  model: z.string(),
  chosen: z.int().nullable(),
  data: z.array(
    z.strictObject({
      index: z.int(),
      tokens: z.int().describe("the end-of-sequence token counts"),
      positive: z.number().nullable(),
      negative: z.number().nullable(),
      base: z.number(),
      s: z.number().nullable(),
      s_hat: z.number().nullable(),
      reward: z.number().nullable().optional().describe("a reward model's, where the route's policy asks one"),
    }),
  ),
  fallback: z.string().optional(),
});

export const modelSchema = z.strictObject({
  id: z.string(),
  object: z.literal("model"),
  created: unixTime,
  owned_by: z.string(),
});
export const modelListSchema = z.strictObject({ object: z.literal("list"), data: z.array(modelSchema) });

/** Without a key, where there are keys, no more than the status. */
export const healthSchema = z.looseObject({ status: z.string() });

export const errorSchema = z.strictObject({
  error: z.strictObject({
    message: z.string(),
    type: z.string(),
    param: z.string().nullable(),
    code: z.string().nullable(),
  }),
});

const arm = z.strictObject({ name: z.string(), policy: z.string(), weight: z.number() });

export const experimentListSchema = z.strictObject({
  object: z.literal("list"),
  data: z.array(
    z.strictObject({
      name: z.string(),
      route: z.string(),
      unit: z.string(),
      arms: z.array(arm),
      control: z.string(),
      metrics: z.array(z.string()).describe("what the verdict is about"),
      ranges: z
        .array(z.strictObject({ name: z.string(), min: z.number(), max: z.number() }))
        .describe("what feedback may say"),
      ramp: z.number(),
    }),
  ),
});

const bounds = { low: z.number().nullable(), high: z.number().nullable() };

const difference = z.strictObject({
  arm: z.string(),
  difference: z.number().describe("the arm's mean less the control's"),
  ...bounds,
  verdict: z.enum(["higher", "lower", "undecided"]),
  over_time: z
    .array(z.strictObject({ at: z.number(), units: z.int(), difference: z.number(), ...bounds }))
    .describe(
      "the same of the first so many units, in the order in which they came, each with what is known of it now",
    ),
});

export const recordsSchema = z.strictObject({
  status: z.enum(["ok", "failing", "off"]),
  error: z.string().nullable(),
  written: z.int(),
  waiting: z.int(),
  lost: z.int(),
});

export const experimentSchema = z.strictObject({
  object: z.literal("experiment"),
  name: z.string(),
  route: z.string(),
  unit: z.string(),
  control: z.string(),
  arms: z.array(
    z.strictObject({
      name: z.string(),
      policies: z.array(z.string()),
      weight: z.number(),
      units: z.int(),
      answers: z.int(),
    }),
  ),
  metrics: z.array(
    z.strictObject({
      name: z.string(),
      in_verdict: z.boolean(),
      alpha: z.number(),
      left_out: z.int().describe("values of feedback out of the declared range: they do not count"),
      means: z.array(z.strictObject({ arm: z.string(), units: z.int(), mean: z.number(), ...bounds })),
      differences: z.array(difference),
    }),
  ),
  sample_ratio: z.strictObject({
    expected: z.record(z.string(), z.number()),
    observed: z.record(z.string(), z.number()),
    evidence: z.number().describe("an e-value; the alarm is raised at 100"),
    alarm: z.boolean(),
  }),
  single_unit: z.boolean().describe("by user, and all of many answers are one unit's: nobody is compared"),
  since: z
    .number()
    .nullable()
    .describe("the comparison began then, in ms since 1970: a change of weights begins it anew"),
  earlier_answers: z.int(),
  undeclared: z
    .array(z.string())
    .describe("metrics of which feedback was taken, and that are not declared now: they are not shown"),
  verdict: z.string(),
  records: recordsSchema,
});
