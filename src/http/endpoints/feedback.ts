/** @module POST /v1/feedback: what somebody thinks of an earlier answer. */
import type { Context } from "hono";
import { z } from "zod";
import type { AppDependencies } from "../../gateway/dependencies.ts";
import {
  type DeclaredMetrics,
  largestValue,
  measuredMetrics,
  rating as thumbs,
} from "../../policy/feedback-metrics.ts";
import type { PolicySet } from "../../policy/policy.ts";
import type { FeedbackRow } from "../../records/record.ts";
import { GatewayError } from "../../types/error.ts";
import { readBody } from "../json-body.ts";
import { experimentRoutes } from "./experiments.ts";

export const feedbackBodySchema = z
  .object({
    id: z.string().min(1).max(128).describe("the answer's: chatcmpl-… or resp_…"),
    rating: z.enum(["up", "down"]).nullish(),
    value: z.number().min(-largestValue).max(largestValue).nullish().describe("within the metric's range"),
    metric: z
      .string()
      .regex(/^[\w.-]{1,64}$/u, "may hold up to 64 letters, digits, '.', '_' and '-'")
      .refine((metric) => !measuredMetrics.includes(metric), "is measured by the gateway itself")
      .nullish()
      .describe("one that the answer's experiment declares; rating, unless given"),
    comment: z.string().max(10_000).nullish(),
  })
  .superRefine(({ rating, value }, context) => {
    if ((rating === undefined || rating === null) === (value === undefined || value === null))
      context.addIssue({ code: "custom", path: ["rating"], message: "either a rating or a value is needed" });
  });

export const feedbackAnswerSchema = z.strictObject({
  object: z.literal("feedback"),
  id: z.string(),
  metric: z.string(),
  value: z.number(),
});

export function feedback(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const { id, rating, value, metric, comment } = await readBody(c, feedbackBodySchema);
    const row = {
      answer: id,
      metric: metric ?? thumbs.name,
      value: rating ? Number(rating === "up") : (value as number),
      comment: comment ?? null,
      at: dependencies.unixTime() * 1000,
    };
    await keepFeedback(dependencies, row, c.get("caller")?.name ?? null);
    return c.json({ object: "feedback", id, metric: row.metric, value: row.value });
  };
}

/** Throws "answer_not_found", and "invalid_request" where the answer's experiment has not declared what is said. */
export async function keepFeedback(
  { records, policies }: AppDependencies,
  row: FeedbackRow,
  key: string | null,
): Promise<void> {
  const outcome = await records.feedback(row, key, declaredMetrics(policies()));
  const { answer: id } = row;
  if (outcome === "unknown")
    throw new GatewayError("answer_not_found", `There is no answer "${id}" that feedback could be about.`, {
      param: "id",
    });
  if (outcome === "expired")
    throw new GatewayError("answer_not_found", `The answer "${id}" is too old for feedback.`, { param: "id" });
  if (outcome !== "kept") throw new GatewayError("invalid_request", outcome.message, { param: outcome.param });
}

const known = new WeakMap<PolicySet, DeclaredMetrics>();

/** Made once for a set. */
function declaredMetrics(set: PolicySet): DeclaredMetrics {
  const made =
    known.get(set) ?? new Map(experimentRoutes(set).map(({ experiment }) => [experiment.name, experiment.feedback]));
  known.set(set, made);
  return made;
}
