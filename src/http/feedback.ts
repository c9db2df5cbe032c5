/** @module POST /v1/feedback: what somebody thinks of an earlier answer. */
import type { Context } from "hono";
import { z } from "zod";
import { largestValue } from "../experiment/totals.ts";
import { GatewayError } from "../types/error.ts";
import type { AppDependencies } from "./dependencies.ts";
import { readBody } from "./wire.ts";

/** Values by which every answer is measured already; feedback cannot pretend to be them. */
const measured = ["latency_ms", "completion_tokens", "work_tokens", "score", "score_over_plain", "error", "left", "judge"];

export const feedbackBodySchema = z
  .object({
    id: z.string().min(1).max(128).describe("the answer's: chatcmpl-… or resp_…"),
    rating: z.enum(["up", "down"]).nullish(),
    value: z.number().min(-largestValue).max(largestValue).nullish(),
    metric: z
      .string()
      .regex(/^[\w.-]{1,64}$/u, "may hold up to 64 letters, digits, '.', '_' and '-'")
      .refine((metric) => !measured.includes(metric), "is measured by the gateway itself")
      .nullish(),
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
      metric: metric ?? (rating ? "rating" : "value"),
      value: rating ? Number(rating === "up") : (value as number),
      comment: comment ?? null,
      at: dependencies.unixTime() * 1000,
    };
    const outcome = await dependencies.records.feedback(row, c.get("caller")?.name ?? null);
    if (outcome === "unknown")
      throw new GatewayError("answer_not_found", `There is no answer "${id}" that feedback could be about.`, { param: "id" });
    if (outcome === "expired") throw new GatewayError("answer_not_found", `The answer "${id}" is too old for feedback.`, { param: "id" });
    return c.json({ object: "feedback", id, metric: row.metric, value: row.value });
  };
}
