/** @module All three sums of given completions, log π(y ∣ C⁺), log π(y ∣ C⁻) and log π(y ∣ C⁰), with S and Ŝ: the method without sampling. */
import { checkCharacters } from "../engine/characters.ts";
import type { Models, Policy } from "../policy/policy.ts";
import { defaultInstructions, type PromptFormat, type Score } from "../policy/schema.ts";
import type { Conversation, Demonstration } from "../types/conversation.ts";
import { rank } from "./choose.ts";
import { buildContexts, checkLength, type Tenancy } from "./contexts.ts";
import { forcedSums, type ScoringOptions } from "./forced-sums.ts";
import type { Stage } from "./pipeline.ts";
import { baseContext, type ContextParts, encodeContext } from "./prompt.ts";
import { type ScoredResponse, tokenizeResponse } from "./response.ts";
import type { Candidate } from "./sample.ts";
import { scoreOf } from "./score.ts";
import { randomFrom } from "./seed.ts";
import { noUsage, type TokenUsage } from "./token-usage.ts";

export interface MeasureRequest extends Tenancy {
  readonly conversation: Conversation;
  readonly completions: readonly string[];
  /** Most similar first; absent: the policy's retriever chooses. */
  readonly demonstrations?: readonly Demonstration[] | undefined;
  readonly format?: PromptFormat | undefined;
  readonly seed: number;
  readonly signal?: AbortSignal | undefined;
  /** Grows by what has been worked through, as soon as that is known: right also where the request fails or is cancelled. */
  readonly usage?: TokenUsage | undefined;
  /** What is being done now, as in `IcdpoRequest`; once a context is at hand, it is "score" until the end. */
  readonly onStage?: ((stage: Stage) => void) | undefined;
}

/** Sums over a completion's tokens and its closing token, in nats. Null: that context does not exist. */
export interface Measured {
  readonly index: number;
  readonly text: string;
  /** The closing token counts. */
  readonly tokens: number;
  readonly positive: number | null;
  readonly negative: number | null;
  readonly base: number;
  /** log π_ref(y ∣ C⁺), where the policy has a reference model. */
  readonly reference?: number;
  readonly s: number | null;
  readonly sHat: number | null;
  /** The policy's own; S where it asks for Ŝ and a demonstration has no rejected response. */
  readonly score: number | null;
}

export interface Measurement {
  /** Index of the completion that the policy's score prefers; null where it measures nothing. */
  readonly chosen: number | null;
  readonly measured: readonly Measured[];
  readonly fallback: string | null;
}

export async function measure(policy: Policy, request: MeasureRequest): Promise<Measurement> {
  const { conversation, completions, tenant, signal, usage = noUsage(), onStage } = request;
  onStage?.("retrieve");
  const scorer = { ...policy.scorer, format: request.format ?? policy.scorer.format };
  await checkLength([scorer], { conversation }, signal);
  const info = await scorer.engine.info(signal);
  for (const [i, { length }] of completions.entries()) checkCharacters(info, length, `completions.${i}`);
  const demonstrations = request.demonstrations ?? (await retrieved(policy, request));
  const instructions = policy.settings.instructions ?? (demonstrations.length > 0 ? defaultInstructions : null);
  const guided = demonstrations.length > 0 || instructions !== null;
  const paired = demonstrations.every(({ rejected }) => rejected !== undefined);

  const plain = completions.map((text, index) => ({ index, text, finish: "stop", sample: null, details: [] }) as const);
  const parts = { conversation, demonstrations, instructions };
  const prompt = await encodeContext(scorer.engine, baseContext(scorer.format, conversation), signal);
  const scoring = [{ ...scorer, prompt }] as const;
  const responses = await Promise.all(plain.map((candidate) => tokenizeResponse(candidate, scoring, signal)));
  const fed = responses.map(({ idsWithEos }) => idsWithEos);
  const bringsOpening = request.bringsOpening || request.demonstrations !== undefined;
  const needs = { reserve: Math.max(...fed.map(({ length }) => length)), tenant, bringsOpening, signal };
  const reference = policy.reference && { ...policy.reference, format: request.format ?? policy.reference.format };
  const models = { sampler: scorer, scorer, reference };
  const contexts = await buildContexts(models, parts, { ...needs, negative: paired ? "rejected" : "base" });

  onStage?.("queue");
  const options = { usage, signal, ...stagesOf(onStage) };
  const base = await forcedSums(contexts.base, fed, options);
  const positive = guided ? await forcedSums(contexts.positive, fed, options) : null;
  const negative = guided && paired && contexts.negative !== null ? await forcedSums(contexts.negative, fed, options) : null;
  const kept = { ...parts, demonstrations: demonstrations.slice(0, contexts.shots) };
  const referred = reference === null ? null : await referenceSums(models, kept, plain, { ...needs, ...options });

  const measured = responses.map(({ index, text, idsWithEos: { length: tokens } }) => {
    const sums = { positive: positive?.[index] ?? null, negative: negative?.[index] ?? null, base: base[index] as number };
    const s = sums.positive === null ? null : sums.positive - sums.base;
    const sHat = sums.positive === null || sums.negative === null ? null : sums.positive - sums.negative;
    const score = policyScore(policy.settings.score, { ...sums, reference: referred?.[index] ?? null, tokens });
    return { index, text, tokens, ...sums, ...(referred && { reference: referred[index] as number }), s, sHat, score };
  });
  const scored = responses.map(
    (response, i): ScoredResponse => ({
      ...response,
      positive: null,
      negative: null,
      score: (measured[i] as Measured).score,
    }),
  );
  const best = rank(scored)[0];
  return {
    chosen: best === undefined || scored.every(({ score }) => score === null) ? null : best.index,
    measured,
    fallback: contexts.fallback,
  };
}

/** Of several contexts in a row: the first that is at hand begins the scoring. */
function stagesOf(onStage: MeasureRequest["onStage"]): Pick<ScoringOptions, "onPrefill" | "onBegin"> {
  let hasBegun = false;
  return {
    onPrefill: () => {
      if (!hasBegun) onStage?.("prefill");
    },
    onBegin: () => {
      if (!hasBegun) onStage?.("score");
      hasBegun = true;
    },
  };
}

/** `[completions]`: log π_ref(y ∣ C⁺), in nats. */
async function referenceSums(
  models: Models,
  parts: ContextParts,
  candidates: readonly Candidate[],
  needs: ScoringOptions & Tenancy & { readonly reserve: number; readonly signal: AbortSignal | undefined },
): Promise<number[]> {
  const { negative } = await buildContexts(models, parts, { ...needs, negative: "reference" });
  if (negative === null) throw new Error("A reference is a context of its own");
  const idsWithEos = await Promise.all(candidates.map((candidate) => tokenizeResponse(candidate, [negative], needs.signal)));
  return forcedSums(
    negative,
    idsWithEos.map((response) => response.idsWithEos),
    needs,
  );
}

async function retrieved(policy: Policy, { conversation, seed, tenant, signal }: MeasureRequest): Promise<Demonstration[]> {
  const options = { shots: policy.settings.shots, random: randomFrom(seed), tenant, signal };
  return ((await policy.retriever?.retrieve(conversation, options)) ?? []).map(({ demonstration }) => demonstration);
}

/**
 * The policy's own score; without C⁻, S stands in for Ŝ. A policy without a score is asked what Ŝ says. What needs one context only takes C⁰
 * for C⁺ where nothing guides the model: they are the same then.
 */
function policyScore(
  score: Score,
  {
    positive,
    negative,
    base,
    reference,
    tokens,
  }: Pick<Measured, "positive" | "negative" | "base" | "tokens"> & { reference: number | null },
): number | null {
  const asked: Score = score.type === "none" ? { type: "contrast", negative: "rejected", normalize: "sum" } : score;
  if (asked.type === "likelihood") return scoreOf(asked, { positive: positive ?? base, negative: null }, tokens);
  if (asked.type === "contrast" && asked.negative === "reference")
    return scoreOf(asked, { positive: positive ?? base, negative: reference }, tokens);
  const against = asked.type === "contrast" && asked.negative === "rejected" ? (negative ?? base) : base;
  return scoreOf(asked, { positive, negative: against }, tokens);
}
