/** @module What each token of a pool's answers adds to their scores: of the policy's own score, after its two contexts. */
import {
  buildContexts,
  GatewayError,
  negativeOf,
  negativesRandom,
  responseTokens,
  type ScoringContext,
  type Token,
  withShownNegative,
} from "icdpo-gateway/laboratory";
import { z } from "zod";
import type { Prompted } from "./answers.ts";
import type { Arm } from "./arms.ts";
import type { Kind, ResultCache } from "./cache.ts";
import type { Samples } from "./pools.ts";
import { versions } from "./versions.ts";

const valuesSchema = z.array(
  z.object({
    /** `[tokens + 1]`: log π of each token after C⁺, in nats; EOS last. */
    positive: z.array(z.number()),
    /** The same after the context that the score is measured against; null: it is a likelihood. */
    negative: z.array(z.number()).nullable(),
  }),
);
/** Of one answer. */
export type TokenValues = Readonly<z.output<typeof valuesSchema>[number]>;

const valuesKind: Kind<TokenValues[]> = {
  name: "token values",
  version: versions.answers.version,
  schema: valuesSchema,
};

/**
 * `[answers]`: under the demonstrations that the pool was sampled with. The answers are tokenised anew, as they are
 * scored. Throws "engine_failure" where a log-probability is not a finite number.
 */
export function tokenValuesOf(
  { policy }: Arm,
  cache: ResultCache,
  { messages, seed }: Prompted,
  { answers, demonstrations: shown }: Pick<Samples, "answers" | "demonstrations">,
  signal: AbortSignal,
): Promise<TokenValues[]> {
  const { id, sampler, settings, demonstrations: known } = policy;
  const texts = answers.map(({ text }) => text);
  return cache.recall(valuesKind, [id, sampler.format, messages, seed, shown, texts], async () => {
    const random = negativesRandom(seed);
    const demonstrations = shown
      .flatMap((one) => known.filter((demonstration) => demonstration.id === one))
      .map((demonstration) => withShownNegative(demonstration, settings.score, random));
    const instructions = settings.instructions ?? null;
    const parts = { conversation: messages, demonstrations, instructions, thinks: { thinks: false } };
    const longest = Math.max(...answers.map(({ tokens }) => tokens + 1));
    const needs = { negative: negativeOf(settings.score), reserve: longest, signal };
    const contexts = await buildContexts(policy, parts, needs);
    const { engine, format, prompt } = contexts.positive;
    const ids = await responseTokens(engine, format, texts, prompt.end, signal);
    const positive = await valuesAfter(contexts.positive, ids, signal);
    const negative = contexts.negative && (await valuesAfter(contexts.negative, ids, signal));
    return positive.map((values, i) => ({ positive: values, negative: negative?.[i] ?? null }));
  });
}

async function valuesAfter(
  { engine, prompt }: ScoringContext,
  completions: readonly (readonly Token[])[],
  signal: AbortSignal,
): Promise<number[][]> {
  const values: number[][] = [];
  for await (const event of engine.score(prompt, completions, signal))
    if (event.type === "scored") values[event.index] = [...event.logprobs];
  for (const [i, ids] of completions.entries())
    if (values[i]?.length !== ids.length || values[i].some((value) => !Number.isFinite(value)))
      throw new GatewayError("engine_failure", "The engine returned no log-probability for a token of an answer.");
  return values;
}
