/** @module The body of POST /v1/completions, OpenAI's older protocol: raw text goes on. */
import { z } from "zod";
import type { SamplingParameters } from "../../engine/engine.ts";
import type { Generation } from "../../gateway/generation.ts";
import type { Policy } from "../../policy/policy.ts";
import { samplingWith } from "../../policy/policy-sampling.ts";
import { samplingFields, stopStrings, toSampling } from "../sampling-fields.ts";
import { refuseOthers, serverPromptFields } from "../server-parameters.ts";
import { gatewayFields, modelName, streamOptions } from "../wire.ts";

export const defaultMaxTokens = 16;
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
    suffix: z.string().nullish().describe("what follows the gap that is filled in; the prompt stands before it"),
    max_tokens: z.int().min(0).nullish().describe("0 with echo: log-probabilities of the prompt alone"),
    ...samplingFields,
    cache_prompt: serverPromptFields.cache_prompt,
    n: z.int().min(1).max(mostAnswers).nullish(),
    best_of: z.int().min(1).max(mostAnswers).nullish(),
    stop: stopStrings,
    echo: z.boolean().nullish(),
    logprobs: z.int().min(0).max(20).nullish(),
    parse_special: z
      .boolean()
      .nullish()
      .describe("control tokens spelled in the prompt are such; default: without suffix"),
    add_special_tokens: z
      .boolean()
      .nullish()
      .describe("the prompt is begun as the tokenizer begins a text; default: true"),
    stream: z.boolean().nullish(),
    stream_options: streamOptions,
    ...gatewayFields,
  })
  .superRefine((body, context) => {
    const complain = (field: string, message: string) => context.addIssue({ code: "custom", path: [field], message });
    const choices = promptsOf(body).length * (body.n ?? 1);
    if (choices > mostChoices) complain("n", `${choices} answers are too many: prompts times n may be ${mostChoices}`);
    refuseOthers(body, context, "text");
    if (body.best_of && body.best_of !== (body.n ?? 1))
      complain("best_of", "must be the same as n: a scored route chooses among candidates");
    if (!body.suffix) return;
    if (body.echo) complain("echo", "cannot stand beside suffix: what is filled in has text on both sides");
    if (typeof promptsOf(body)[0] === "number" || Array.isArray(promptsOf(body)[0]))
      complain("prompt", "must be text where there is a suffix, not token ids");
  });
export interface CompletionsRequest extends z.output<typeof completionsBodySchema> {}

/** Each prompt as text or as token ids. */
export function promptsOf({ prompt }: Pick<CompletionsRequest, "prompt">): (string | readonly number[])[] {
  if (typeof prompt === "string") return [prompt];
  return typeof prompt[0] === "number" ? [prompt as number[]] : (prompt as (string | number[])[]);
}

/** Text around a gap is a file's, which may spell what it likes; other text is as other servers read it. */
export function parsesSpecial({ parse_special, suffix }: CompletionsRequest): boolean {
  return parse_special ?? !suffix;
}

/** Whether the prompt's own log-probabilities are asked for. */
export function tellsPrompt({ echo, logprobs }: Pick<CompletionsRequest, "echo" | "logprobs">): boolean {
  return echo === true && logprobs !== undefined && logprobs !== null;
}

export function samplingOf(body: CompletionsRequest, { settings }: Policy): SamplingParameters {
  return samplingWith(givenSampling(body), settings);
}

/** What the request says itself. */
export function givenSampling(body: CompletionsRequest): Generation["sampling"] {
  return toSampling(body, { maxTokens: body.max_tokens ?? defaultMaxTokens, stop: body.stop });
}
