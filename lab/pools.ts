/** @module Pools: several answers to a prompt, sampled from one context with one seed each, and their three sums. */
import { z } from "zod";
import type { Prompted } from "./answers.ts";
import { type Arm, answered, measured } from "./arms.ts";
import { type Kind, ResultCache } from "./cache.ts";
import { versions } from "./versions.ts";

const samplesSchema = z.object({
  /** `[samples]`, in the order of their seeds. */
  answers: z.array(
    z.object({
      text: z.string(),
      finish: z.enum(["stop", "length"]),
      /** Without the closing token. */
      tokens: z.number(),
    }),
  ),
  /** Ids of those that the context shows, most similar first. */
  demonstrations: z.array(z.string()),
  /** Wall-clock time of all of them together, with other prompts under way. */
  ms: z.number(),
});
export type Samples = Readonly<z.output<typeof samplesSchema>>;

const samplesKind: Kind<Samples> = { name: "samples", version: versions.answers.version, schema: samplesSchema };

/**
 * `count` samples from the arm's context, unscored. Sample i has the seed that a request with `seed` gives its candidate
 * i, whatever the arm: arms differ by their contexts alone, and a request for fewer gets the first ones.
 */
export function samplesOf(
  arm: Arm,
  cache: ResultCache,
  { messages, seed }: Prompted,
  count: number,
  now: () => number,
  signal: AbortSignal,
): Promise<Samples> {
  const { id, sampler } = arm.policy;
  return cache.recall(samplesKind, [id, sampler.format, messages, seed, count], async () => {
    const started = now();
    const outcome = await answered(arm, { conversation: messages, answers: count, seed, now, signal });
    return {
      answers: outcome.ranked
        .toSorted((a, b) => a.index - b.index)
        .map(({ text, finish, idsWithEos }) => ({ text, finish, tokens: Math.max(0, idsWithEos.length - 1) })),
      demonstrations: outcome.demonstrations.map(({ demonstration }) => demonstration.id),
      ms: now() - started,
    };
  });
}

const sumsSchema = z.object({
  /** `[answers]`: log π after C⁺, C⁻ and C⁰, in nats; null where there is no such context. */
  sums: z.array(
    z.object({
      positive: z.number().nullable(),
      negative: z.number().nullable(),
      base: z.number(),
      /** The closing token among them. */
      tokens: z.number(),
    }),
  ),
  ms: z.number(),
});
export type Sums = Readonly<z.output<typeof sumsSchema>>["sums"][number];

const sumsKind: Kind<z.output<typeof sumsSchema>> = {
  name: "sums",
  version: versions.answers.version,
  schema: sumsSchema,
};

/** The sums of a pool's answers under the demonstrations that it was sampled with, by the model that scores. */
export function sumsOf(
  arm: Arm,
  cache: ResultCache,
  { messages, seed }: Prompted,
  { answers, demonstrations: shown }: Pick<Samples, "answers" | "demonstrations">,
  now: () => number,
  signal: AbortSignal,
): Promise<z.output<typeof sumsSchema>> {
  const { id, scorer, demonstrations: known } = arm.policy;
  const completions = answers.map(({ text }) => text);
  return cache.recall(sumsKind, [id, scorer.format, messages, seed, shown, completions], async () => {
    const started = now();
    const demonstrations = shown.flatMap((one) => known.filter((demonstration) => demonstration.id === one));
    // Nothing is taken from what is known of single sums: the time is to be that of all.
    const fresh = new ResultCache({ entries: [], add: async () => {} });
    const request = { conversation: messages, completions, demonstrations, seed, signal };
    const { measured: sums } = await measured(arm, fresh, request);
    return {
      sums: sums.map(({ positive, negative, base, tokens }) => ({ positive, negative, base, tokens })),
      ms: now() - started,
    };
  });
}
