/**
 * @module How answers are sampled, as clients of every protocol say it: OpenAI's fields, those of other servers, and
 * what they come to. docs/parameters.md has the table.
 */
import { z } from "zod";
import type { Generation } from "../gateway/generation.ts";

/** As many as OpenAI takes. */
const mostBiases = 300;
const penalty = z.number().gt(0).max(10).nullish();

export const samplingFields = {
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  logit_bias: z
    .record(z.string().regex(/^\d{1,9}$/u, "must name tokens by their numbers"), z.number().min(-100).max(100))
    .refine((biases) => Object.keys(biases).length <= mostBiases, `may hold at most ${mostBiases} tokens`)
    .nullish(),
  seed: z.int().nullish(),
  top_k: z.int32().min(-1).nullish().describe("0 or -1: the whole vocabulary"),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: penalty,
  repeat_penalty: penalty.describe("the same as repetition_penalty"),
  repeat_last_n: z.int32().min(-1).nullish().describe("-1 or absent: the whole text"),
  min_tokens: z.int32().min(0).nullish(),
  ignore_eos: z.boolean().nullish(),
};

/** OpenAI takes four; llama.cpp's and vLLM's users have more. */
const maxStops = 16;
/** Each token is held against every beginning of a stop string. */
const longestStop = 128;
const stopString = z.string().max(longestStop);

export const stopList = z.array(stopString).max(maxStops);

export const stopStrings = z
  .union(
    [stopString, stopList],
    `must be a string or up to ${maxStops} strings, none of them longer than ${longestStop} characters`,
  )
  .nullish();

/** -1 says no more than that the client has no bound of its own, as null does. */
export const tokenBound = z.union([z.literal(-1), z.int().min(1)], "must be at least 1, or -1: no bound of its own");

/** The first that is given; undefined: there is none. */
export function toBound(...bounds: readonly (number | null | undefined)[]): number | undefined {
  const bound = bounds.find((one) => one !== undefined && one !== null);
  return bound === undefined || bound < 0 ? undefined : bound;
}

/** -1 is a random seed, as in llama.cpp and Ollama. */
export function toSeed(seed: number | null | undefined): number | undefined {
  return seed === -1 ? undefined : (seed ?? undefined);
}

type Given = { readonly [Name in keyof typeof samplingFields]?: z.output<(typeof samplingFields)[Name]> };

/** What protocols call in ways of their own. */
interface Ends {
  /** Tokens; undefined: the request says nothing of it. */
  readonly maxTokens: number | undefined;
  readonly stop: z.output<typeof stopStrings>;
}

/** What the request says itself; the policy says the rest. */
export function toSampling(body: Given, { maxTokens, stop }: Ends): Generation["sampling"] {
  const window = body.repeat_last_n ?? -1;
  return {
    temperature: body.temperature ?? undefined,
    topP: body.top_p ?? undefined,
    presencePenalty: body.presence_penalty ?? undefined,
    frequencyPenalty: body.frequency_penalty ?? undefined,
    logitBias: biasMap(body.logit_bias),
    maxTokens,
    stop: toStops(stop),
    topK: body.top_k === undefined || body.top_k === null ? undefined : Math.max(0, body.top_k),
    minP: body.min_p ?? undefined,
    repetitionPenalty: body.repetition_penalty ?? body.repeat_penalty ?? undefined,
    repetitionWindow: window < 0 ? undefined : window,
    minTokens: body.min_tokens || undefined,
    ignoreEos: body.ignore_eos || undefined,
  };
}

/** An empty string stops nothing. */
function toStops(stop: Ends["stop"]): string[] {
  return (typeof stop === "string" ? [stop] : (stop ?? [])).filter((one) => one !== "");
}

function biasMap(bias: Given["logit_bias"]): ReadonlyMap<number, number> {
  return new Map(Object.entries(bias ?? {}).map(([token, value]) => [Number(token), value]));
}
