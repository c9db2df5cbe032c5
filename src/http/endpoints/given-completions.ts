/** @module POST /v1/score: log-probability sums of given completions, S and Ŝ. */
import type { Context } from "hono";
import { z } from "zod";
import { scoringDemand } from "../../gateway/demand.ts";
import type { AppDependencies } from "../../gateway/dependencies.ts";
import { routeHeaders, setHeaders } from "../../gateway/headers.ts";
import { singlePolicyRoute } from "../../gateway/route.ts";
import { tenantOf } from "../../gateway/tenant.ts";
import { askerOf, withRequest } from "../../gateway/work.ts";
import { type Measured, type Measurement, measure } from "../../icdpo/measure.ts";
import { demonstrationMessagesSchema, nearNegativesSchema } from "../../policy/demonstration-schema.ts";
import { promptFormats } from "../../policy/schema.ts";
import type { Demonstration } from "../../types/conversation.ts";
import { readBody } from "../json-body.ts";
import { messagesSchema, modelName, toConversation, userName } from "../wire.ts";

const givenDemonstration = z.object({
  id: z.string().optional(),
  messages: demonstrationMessagesSchema,
  chosen: z.string().min(1),
  rejected: z.string().min(1).nullish(),
  near: nearNegativesSchema.nullish(),
});

/** What is to be scored; also a line of `icdpo score`. */
export const scoreInputSchema = z.object({
  messages: messagesSchema,
  completions: z.array(z.string()).min(1, "must hold at least one completion").max(256),
  reasoning_content: z.string().nullish().describe("what was thought before each of them, by a model that thinks"),
  demonstrations: z.array(givenDemonstration).max(32).nullish(),
  prompt: z.enum(promptFormats).nullish(),
  seed: z.int().nullish(),
});
export type ScoreInput = z.output<typeof scoreInputSchema>;

export const scoreRequestSchema = scoreInputSchema.extend({ model: modelName, user: userName });

export function score(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const body = await readBody(c, scoreRequestSchema);
    const resolved = singlePolicyRoute(c, dependencies.policies(), body.model);
    const seed = (body.seed ?? dependencies.randomSeed()) >>> 0;
    const request = { ...measureInput(body), seed, tenant: tenantOf(c, dependencies, { user: body.user }) };
    const demand = scoringDemand(resolved.policy, request);
    const measurement = await withRequest(askerOf(c), dependencies, demand, ({ signal, attempt, enter: onStage }) =>
      attempt((usage) => measure(resolved.policy, { ...request, signal, usage, onStage })),
    );
    setHeaders(c, routeHeaders(resolved, body.completions.length));
    return c.json({ object: "list", model: body.model, ...renderMeasurement(measurement) });
  };
}

export function measureInput(input: ScoreInput) {
  return {
    conversation: toConversation(input.messages),
    completions: input.completions,
    thought: input.reasoning_content ?? undefined,
    demonstrations: input.demonstrations?.map(
      (given, index): Demonstration => ({
        ...given,
        id: given.id ?? `demonstrations.${index}`,
        rejected: given.rejected ?? undefined,
        near: given.near ?? undefined,
      }),
    ),
    format: input.prompt ?? undefined,
  };
}

export function renderMeasurement({ chosen, measured, fallback }: Measurement) {
  return { chosen, data: measured.map(renderMeasured), ...(fallback === null ? {} : { fallback }) };
}

function renderMeasured({ index, tokens, positive, negative, base, reference, s, sHat, reward }: Measured) {
  const others = { ...(reference !== undefined && { reference }), ...(reward !== undefined && { reward }) };
  return { index, tokens, positive, negative, base, s, s_hat: sHat, ...others };
}
