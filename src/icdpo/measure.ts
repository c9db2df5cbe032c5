/**
 * @module All three sums of given completions, log π(y ∣ C⁺), log π(y ∣ C⁻) and log π(y ∣ C⁰), with S and Ŝ: the method
 * without sampling.
 */
import { checkCharacters } from "../engine/characters.ts";
import type { Engine, Token } from "../engine/engine.ts";
import { lacksDemonstrations, plainly } from "../policy/bypass.ts";
import type { Models, Policy, PromptedModel } from "../policy/policy.ts";
import { defaultInstructions, type PromptFormat } from "../policy/schema.ts";
import { type Score, wantsConsensus } from "../policy/score-schema.ts";
import type { Conversation, Demonstration } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";
import { rewardsOf } from "./candidate-reward.ts";
import { rank } from "./choose.ts";
import { consensusOf } from "./consensus.ts";
import { buildContexts, type Contexts, checkLength, type ScoringContext, type Tenancy } from "./contexts.ts";
import { type Copied, sourcesOf } from "./copied.ts";
import { finalScore, natsPerTokenOf, totalsOf } from "./final-scores.ts";
import { allForcedSums, type ForcedCompletions, type ScoringOptions } from "./forced-sums.ts";
import type { Stage } from "./pipeline.ts";
import { responseText } from "./prompt.ts";
import { scoreOf } from "./score.ts";
import { randomFrom } from "./seed.ts";
import { negativesRandom, withShownNegative } from "./shown-negative.ts";
import { allAfter } from "./thought.ts";
import { noUsage, type TokenUsage } from "./token-usage.ts";

export interface MeasureRequest extends Tenancy {
  readonly conversation: Conversation;
  readonly completions: readonly string[];
  /**
   * What was thought before each of them, by a model that thinks: it stands in all contexts. Absent: they are answers
   * without a thought.
   */
  readonly thought?: string | undefined;
  /** Most similar first; absent: the policy's retriever chooses. */
  readonly demonstrations?: readonly Demonstration[] | undefined;
  readonly format?: PromptFormat | undefined;
  readonly seed: number;
  readonly signal?: AbortSignal | undefined;
  /** Grows by what has been fed, as soon as that is known: right also where the request fails or is cancelled. */
  readonly usage?: TokenUsage | undefined;
  /** What is being done now, as in `IcdpoRequest`; once a context is at hand, it is "score" until the end. */
  readonly onStage?: ((stage: Stage) => void) | undefined;
}

/** Sums over a completion's tokens and EOS, in nats. Null: that context does not exist. */
export interface Measured {
  readonly index: number;
  readonly text: string;
  /** EOS counts. */
  readonly tokens: number;
  readonly positive: number | null;
  readonly negative: number | null;
  readonly base: number;
  /** log π_ref(y ∣ C⁺), where the policy has a reference model. */
  readonly reference?: number;
  /** Eq. 8: log π(y ∣ C⁺) − log π(y ∣ C⁰). */
  readonly s: number | null;
  /** Eq. 11: log π(y ∣ C⁺) − log π(y ∣ C⁻). */
  readonly sHat: number | null;
  /** A reward model's, where the policy asks one, in its own units; null: the text is empty. */
  readonly reward?: number | null;
  /** How much of it is the shown demonstrations' text; absent: none are shown. */
  readonly copied?: Copied | undefined;
  /** The policy's own; S where it asks for Ŝ and a demonstration has no such negative. */
  readonly score: number | null;
}

export interface Measurement {
  /** Index of the completion that the policy's score prefers; null where it measures nothing. */
  readonly chosen: number | null;
  /** `[completions]`. */
  readonly measured: readonly Measured[];
  readonly fallback: string | null;
}

/**
 * log π(y ∣ C) of each completion y after C⁺, C⁻ and C⁰, in nats, by the model that scores (and after C⁺ by the
 * reference model, where there is one). Each context is rendered once, the completions are tokenised in one call for
 * each model, and all sums are asked for at once. Throws a `GatewayError`: "context_length_exceeded" where a text is
 * too long, "engine_failure" where a sum is not a number, and what an engine throws.
 *
 * @example
 * const { measured, chosen } = await measure(policy, { conversation, completions: ["Yes.", "No."], seed: 1 });
 * measured[0].sHat; // positive − negative of "Yes.", in nats
 */
export async function measure(policy: Policy, request: MeasureRequest): Promise<Measurement> {
  const { completions, signal, usage = noUsage(), onStage } = request;
  const models = modelsOf(policy, request.format);
  onStage?.("retrieve");
  await checkLengths(models.scorer, request);
  const given = request.demonstrations ?? (await retrieved(policy, request));
  const random = negativesRandom(request.seed);
  const demonstrations = given.map((demonstration) => withShownNegative(demonstration, policy.settings.score, random));
  // None that were given are what an answer without any is measured by.
  const isPlain = lacksDemonstrations(policy, demonstrations);
  const ids = await tokenizeAll(models, completions, signal);
  const guided = isPlain ? plainly(policy) : policy;
  const contexts = await encodeContexts(guided, models, request, demonstrations, mostTokens(ids));
  onStage?.("queue");
  const sums = await sumsOf(contexts, ids, { usage, signal, ...stagesOf(onStage) });
  const rewards = await rewardsOf(completions, guided, request.conversation, signal);
  const sources = sourcesOf(demonstrations.slice(0, contexts.shots));
  const measured = completions.map((text, index) => ({
    ...measuredOf(guided.settings.score, { ...sums, rewards }, index, text),
    copied: sources?.copiedIn(text),
  }));
  const competing = await withFinalScores(guided, measured, request);
  return {
    chosen: chosenOf(competing, guided.settings.score),
    measured: competing,
    fallback: isPlain ? "no-demonstration" : contexts.fallback,
  };
}

/** In the format that the request names. The model that scores is the only one of the policy's own. */
function modelsOf({ scorer, reference }: Policy, format: PromptFormat | undefined): Models {
  const formatted = (model: PromptedModel): PromptedModel => ({ ...model, format: format ?? model.format });
  const scoring = formatted(scorer);
  return { sampler: scoring, scorer: scoring, reference: reference && formatted(reference) };
}

async function checkLengths(
  scorer: PromptedModel,
  { conversation, completions, signal }: MeasureRequest,
): Promise<void> {
  await checkLength([scorer], { conversation }, signal);
  const info = await scorer.engine.info(signal);
  for (const [i, { length }] of completions.entries()) checkCharacters(info, length, `completions.${i}`);
}

async function retrieved(
  policy: Policy,
  { conversation, seed, tenant, signal }: MeasureRequest,
): Promise<Demonstration[]> {
  const options = { shots: policy.settings.shots, random: randomFrom(seed), tenant, signal };
  return ((await policy.retriever?.retrieve(conversation, options)) ?? []).map(({ demonstration }) => demonstration);
}

/** `[completions][tokens]` by model, EOS not among them: each context has its own. */
type CompletionIds = ReadonlyMap<Engine, readonly (readonly Token[])[]>;

async function tokenizeAll(
  { scorer, reference }: Models,
  completions: readonly string[],
  signal?: AbortSignal,
): Promise<CompletionIds> {
  const ids = new Map<Engine, Token[][]>();
  for (const { engine, format } of reference === null ? [scorer] : [scorer, reference]) {
    if (ids.has(engine)) continue;
    const texts = completions.map((completion) => responseText(format, completion));
    ids.set(engine, await engine.tokenize(texts, signal));
  }
  return ids;
}

/** Of a completion with EOS, by any model. */
function mostTokens(ids: CompletionIds): number {
  return [...ids.values()].flat().reduce((most, { length }) => Math.max(most, length + 1), 0);
}

/** The contexts that exist: nothing guides the model where there are neither demonstrations nor instructions. */
interface MeasuringContexts extends Pick<Contexts, "base" | "reference" | "shots" | "fallback"> {
  readonly positive: ScoringContext | null;
  readonly negative: ScoringContext | null;
}

async function encodeContexts(
  policy: Policy,
  models: Models,
  { conversation, tenant, bringsOpening, demonstrations: given, thought, signal }: MeasureRequest,
  demonstrations: readonly Demonstration[],
  reserve: number,
): Promise<MeasuringContexts> {
  const instructions = policy.settings.instructions ?? (demonstrations.length > 0 ? defaultInstructions : null);
  const isPaired = demonstrations.every(({ rejected }) => rejected !== undefined);
  const needs = {
    negative: isPaired ? ("rejected" as const) : null,
    withReference: models.reference !== null,
    reserve,
    tenant,
    bringsOpening: bringsOpening || given !== undefined,
    signal,
  };
  const parts = { conversation, demonstrations, instructions, thinks: { thinks: thought !== undefined } };
  const built = await buildContexts(models, parts, needs);
  if (thought !== undefined) await checkThinks(built.positive, signal);
  const { base, positive, negative, reference } = built;
  const measuring = { base, positive, negative, reference };
  const contexts = { ...built, ...(thought === undefined ? measuring : await allAfter(measuring, thought, signal)) };
  const isGuided = demonstrations.length > 0 || instructions !== null;
  return { ...contexts, positive: isGuided ? contexts.positive : null, negative: isGuided ? contexts.negative : null };
}

/** Throws "unsupported_parameter" where the model that scores does not think. */
async function checkThinks({ engine, format }: ScoringContext, signal?: AbortSignal): Promise<void> {
  if ((await engine.info(signal)).capabilities.thinking === undefined || format !== "chat")
    throw new GatewayError("unsupported_parameter", "This route's model does not think before it answers.", {
      param: "reasoning_content",
    });
}

/** `[completions]` each, in nats. Null: that context does not exist. */
interface ContextSums {
  readonly tokens: readonly number[];
  readonly base: readonly number[];
  readonly positive: readonly number[] | null;
  readonly negative: readonly number[] | null;
  readonly reference: readonly number[] | null;
}

async function sumsOf(contexts: MeasuringContexts, ids: CompletionIds, options: ScoringOptions): Promise<ContextSums> {
  const forced = (context: ScoringContext): ForcedCompletions => ({
    context,
    completions: (ids.get(context.engine) ?? []).map((completion) => [...completion, context.prompt.end]),
  });
  const { base, positive, negative, reference } = contexts;
  const existing = [...new Set([base, positive, negative, reference])].filter((context) => context !== null);
  const all = await allForcedSums(existing.map(forced), options);
  const sums = new Map(existing.map((context, i) => [context, all[i] as number[]]));
  const sumsAfter = (context: ScoringContext | null): number[] | null => (context && sums.get(context)) ?? null;
  return {
    tokens: forced(base).completions.map(({ length }) => length),
    base: sums.get(base) as number[],
    positive: sumsAfter(positive),
    negative: sumsAfter(negative),
    reference: sumsAfter(reference),
  };
}

/** Of several contexts at once: the first that is at hand begins the scoring. */
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

function measuredOf(
  score: Score,
  sums: ContextSums & { readonly rewards: readonly (number | null)[] },
  index: number,
  text: string,
): Measured {
  const [tokens, base] = [sums.tokens[index] as number, sums.base[index] as number];
  const [positive, negative] = [sums.positive?.[index] ?? null, sums.negative?.[index] ?? null];
  const reference = sums.reference?.[index];
  const reward = sums.rewards[index];
  const s = positive === null ? null : positive - base;
  const sHat = positive === null || negative === null ? null : positive - negative;
  const own = policyScore(score, {
    positive,
    negative,
    base,
    reference: reference ?? null,
    tokens,
    reward: reward ?? null,
  });
  return {
    index,
    text,
    tokens,
    positive,
    negative,
    base,
    ...(reference !== undefined && { reference }),
    ...(reward !== undefined && { reward }),
    s,
    sHat,
    score: own,
  };
}

/** Given completions are nobody's samples: the policy's running mean takes nothing from them. */
async function withFinalScores(
  { settings: { score }, rate, embedder }: Policy,
  measured: readonly Measured[],
  { completions, signal, tenant }: MeasureRequest,
): Promise<Measured[]> {
  const natsPerToken = natsPerTokenOf(score, rate?.totals, totalsOf(measured));
  const cosines = wantsConsensus(score) ? await consensusOf(completions, embedder, signal, tenant) : [];
  return measured.map((one, i) => ({
    ...one,
    score: finalScore(score, { ...one, consensus: cosines[i] ?? null }, natsPerToken),
  }));
}

function chosenOf(measured: readonly Measured[], score: Score): number | null {
  if (measured.every(({ score }) => score === null)) return null;
  return (
    rank(
      measured.map((one) => ({ ...one, sample: null })),
      score,
    )[0]?.index ?? null
  );
}

/**
 * The policy's own score; without C⁻, S stands in for Ŝ. A policy without a score is asked what Ŝ says. What needs one
 * context only takes C⁰ for C⁺ where nothing guides the model: they are the same then.
 */
function policyScore(
  score: Score,
  sums: Pick<Measured, "positive" | "negative" | "base" | "tokens"> & {
    readonly reference: number | null;
    readonly reward: number | null;
  },
): number | null {
  const { positive, negative, base, reference, tokens, reward } = sums;
  const asked: Score = score.type === "none" ? { type: "contrast", negative: "rejected", normalize: "sum" } : score;
  if (asked.type === "likelihood")
    return scoreOf(asked, { positive: positive ?? base, negative: null, reward }, tokens);
  if (asked.type === "contrast" && asked.negative === "reference")
    return scoreOf(asked, { positive: positive ?? base, negative: reference, reward }, tokens);
  const against = asked.type === "contrast" && asked.negative !== "base" ? (negative ?? base) : base;
  return scoreOf(asked, { positive, negative: against, reward }, tokens);
}
