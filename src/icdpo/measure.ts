/** @module All three sums of given completions, log π(y ∣ C⁺), log π(y ∣ C⁻) and log π(y ∣ C⁰), with S and Ŝ: the method without sampling. */
import type { Engine } from "../engine/engine.ts";
import type { Policy } from "../policy/policy.ts";
import { defaultInstructions, type PromptFormat, type Score } from "../policy/schema.ts";
import type { Conversation, Demonstration } from "../types/conversation.ts";
import { rank } from "./choose.ts";
import { buildContexts } from "./contexts.ts";
import { baseContext, encodeContext } from "./prompt.ts";
import { closeResponse, forcedSums, scoreOf } from "./score.ts";
import { randomFrom } from "./seed.ts";

export interface MeasureRequest {
  readonly conversation: Conversation;
  readonly completions: readonly string[];
  /** Most similar first; absent: the policy's retriever chooses. */
  readonly demonstrations?: readonly Demonstration[] | undefined;
  readonly format?: PromptFormat | undefined;
  /** Demonstrations that may not be retrieved. */
  readonly except?: ReadonlySet<string> | undefined;
  readonly seed: number;
  readonly signal?: AbortSignal | undefined;
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

export async function measure(engine: Engine, policy: Policy, request: MeasureRequest): Promise<Measurement> {
  const { conversation, completions, signal } = request;
  const format = request.format ?? policy.format;
  const demonstrations = request.demonstrations ?? (await retrieved(policy, request));
  const instructions = policy.settings.instructions ?? (demonstrations.length > 0 ? defaultInstructions : null);
  const guided = demonstrations.length > 0 || instructions !== null;
  const paired = demonstrations.every(({ rejected }) => rejected !== undefined);

  const plain = completions.map((text, index) => ({ index, text, finish: "stop", sample: null, details: [] }) as const);
  const { end } = await encodeContext(engine, baseContext(format, conversation), signal);
  const responses = await Promise.all(plain.map((candidate) => closeResponse(engine, format, candidate, end, signal)));
  const parts = { conversation, demonstrations, instructions };
  const reserve = Math.max(...responses.map(({ closed }) => closed.length));
  const contexts = await buildContexts(engine, format, parts, { negative: paired ? "rejected" : "base", reserve, signal });

  const options = { work: { prompt: 0, sampled: 0, scored: 0, cached: 0 }, signal };
  const base = await forcedSums(engine, contexts.base, responses, options);
  const positive = guided ? await forcedSums(engine, contexts.positive, responses, options) : null;
  const negative = guided && paired && contexts.negative !== null ? await forcedSums(engine, contexts.negative, responses, options) : null;

  const measured = responses.map(({ index, text, closed }) => {
    const sums = { positive: positive?.[index] ?? null, negative: negative?.[index] ?? null, base: base[index] as number };
    const s = sums.positive === null ? null : sums.positive - sums.base;
    const sHat = sums.positive === null || sums.negative === null ? null : sums.positive - sums.negative;
    const score = policyScore(policy.settings.score, { ...sums, tokens: closed.length });
    return { index, text, tokens: closed.length, ...sums, s, sHat, score };
  });
  const scored = responses.map((response, i) => ({
    ...response,
    positive: null,
    negative: null,
    score: (measured[i] as Measured).score,
  }));
  const best = rank(scored)[0];
  return {
    chosen: best === undefined || scored.every(({ score }) => score === null) ? null : best.index,
    measured,
    fallback: contexts.fallback,
  };
}

async function retrieved(policy: Policy, { conversation, except, seed, signal }: MeasureRequest): Promise<Demonstration[]> {
  const options = { shots: policy.settings.shots, random: randomFrom(seed), ...(except && { except }), signal };
  return ((await policy.retriever?.retrieve(conversation, options)) ?? []).map(({ demonstration }) => demonstration);
}

/** The policy's own score; without C⁻, S stands in for Ŝ. A policy without a score is asked what Ŝ says. */
function policyScore(
  score: Score,
  { positive, negative, base, tokens }: Pick<Measured, "positive" | "negative" | "base" | "tokens">,
): number | null {
  const asked: Score = score.type === "none" ? { type: "contrast", negative: "rejected", normalize: "sum" } : score;
  const against = asked.type === "contrast" && asked.negative === "rejected" ? (negative ?? base) : base;
  return scoreOf(asked, { positive, negative: against }, tokens);
}
