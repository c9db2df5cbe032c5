/** @module The body of POST /v1/completions, OpenAI's older protocol: raw text goes on. */
import { z } from "zod";
import type { SamplingParameters } from "../../engine/engine.ts";
import type { Policy } from "../../policy/policy.ts";
import { samplingWith } from "../../policy/policy-sampling.ts";
import { refuseOthers, serverPromptFields, serverSamplingFields, toServerSampling } from "../server-parameters.ts";
import { biasMap, modelName, refuse, samplingFields, stopStrings, streamOptions, toStops, userName } from "../wire.ts";

const defaultMaxTokens = 16;
const mostPrompts = 256;
/** As OpenAI's. What the gateway allows (`ICDPO_MAX_N`) may be less. */
const mostAnswers = 128;
/** Prompts times n. */
const mostChoices = 256;

const tokens = z.array(z.int().min(0)).min(1);

export const completionsBodySchema = z
  .looseObject({
    model: modelName,
    prompt: z.union(
      [z.string(), tokens, z.array(z.string()).min(1).max(mostPrompts), z.array(tokens).min(1).max(mostPrompts)],
      `must be a text, token ids, or up to ${mostPrompts} of either`,
    ),
    max_tokens: z.int().min(0).nullish().describe("0 with echo: log-probabilities of the prompt alone"),
    ...samplingFields,
    ...serverSamplingFields,
    cache_prompt: serverPromptFields.cache_prompt,
    n: z.int().min(1).max(mostAnswers).nullish(),
    best_of: z.int().min(1).max(mostAnswers).nullish(),
    stop: stopStrings,
    echo: z.boolean().nullish(),
    logprobs: z.int().min(0).max(20).nullish(),
    stream: z.boolean().nullish(),
    stream_options: streamOptions,
    user: userName,
  })
  .superRefine((body, context) => {
    const choices = promptsOf(body).length * (body.n ?? 1);
    if (choices > mostChoices)
      context.addIssue({
        code: "custom",
        path: ["n"],
        message: `${choices} answers are too many: prompts times n may be ${mostChoices}`,
      });
    refuse(body, { suffix: { reason: "the model goes on from the prompt only", harmless: [""] } }, context);
    refuseOthers(body, context, "text");
    if (body.best_of && body.best_of !== (body.n ?? 1))
      context.addIssue({
        code: "custom",
        path: ["best_of"],
        message: "must be the same as n: a scored route chooses among candidates",
      });
  });
export interface CompletionsRequest extends z.output<typeof completionsBodySchema> {}

/** Each prompt as text or as token ids. */
export function promptsOf({ prompt }: Pick<CompletionsRequest, "prompt">): (string | readonly number[])[] {
  if (typeof prompt === "string") return [prompt];
  return typeof prompt[0] === "number" ? [prompt as number[]] : (prompt as (string | number[])[]);
}

export function samplingOf(body: CompletionsRequest, { settings }: Policy): SamplingParameters {
  return samplingWith(givenSampling(body), settings);
}

/** What the request says itself. */
export function givenSampling(body: CompletionsRequest) {
  return {
    temperature: body.temperature ?? undefined,
    topP: body.top_p ?? undefined,
    maxTokens: body.max_tokens ?? defaultMaxTokens,
    stop: toStops(body.stop),
    presencePenalty: body.presence_penalty ?? undefined,
    frequencyPenalty: body.frequency_penalty ?? undefined,
    logitBias: biasMap(body.logit_bias),
    ...toServerSampling(body),
  };
}
