/**
 * @module The tokenised contexts of one request, for each model that takes part, with as many demonstrations as fit
 * them all.
 */
import { charactersOf, checkCharacters, mostCharacters, tooLong } from "../engine/characters.ts";
import type { EngineInfo, Prompt, Token } from "../engine/engine.ts";
import type { Models, PromptedModel } from "../policy/policy.ts";
import type { Score } from "../policy/score-schema.ts";
import type { Conversation } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";
import { baseContext, type ContextParts, encodeContext, type Sign, signedContext } from "./prompt.ts";

/**
 * What the scores are measured against: C⁻ of rejected responses or near negatives (Ŝ), C⁰ (S), C⁺ under another model
 * (π_ref), or nothing.
 */
export type Negative = Extract<Score, { type: "contrast" }>["negative"] | null;

/** A model, and the context after which responses are sampled from it or fed to it. */
export interface ScoringContext extends PromptedModel {
  readonly prompt: Prompt;
}

export interface Contexts {
  /** C⁺ of the model that samples; without demonstrations and instructions this is C⁰. */
  readonly sampled: ScoringContext;
  /** C⁺ of the model that scores: the same object where that is the one that samples. */
  readonly positive: ScoringContext;
  readonly negative: ScoringContext | null;
  /** C⁺ of the reference model, where it is asked for beside the negative context. */
  readonly reference: ScoringContext | null;
  /** C⁰ of the model that samples. */
  readonly base: ScoringContext;
  /** Demonstrations that fitted, of those retrieved. */
  readonly shots: number;
  /** Tokens that the longest context leaves for the response. */
  readonly room: number;
  /** "context:1-of-2-demonstrations" where some did not. */
  readonly fallback: string | null;
}

/** Whose words a request's are, where its engine serves several tenants. */
export interface Tenancy {
  /** By an opaque name; absent: there is one tenant only. */
  readonly tenant?: string | undefined;
  /** Instructions or demonstrations came with the request: they are the tenant's words as well. */
  readonly bringsOpening?: boolean | undefined;
}

export interface ContextNeeds extends Tenancy {
  readonly negative: Negative;
  /** C⁺ of the reference model as well. */
  readonly withReference?: boolean | undefined;
  /** Each candidate thinks for itself: it is scored as if it had not. */
  readonly ownThoughts?: boolean | undefined;
  /** Tokens that must remain for the response. */
  readonly reserve: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * C⁺ = [d⁺; x], and C⁻ = [d⁻; x] or what else is asked for, with as many demonstrations as fit them all: the least
 * similar is dropped first, until `reserve` tokens are left. Throws "context_length_exceeded" where even without any no
 * token is left for a response, and "invalid_request" where a format cannot hold the conversation.
 *
 * @example
 * const parts = { conversation, demonstrations, instructions: null };
 * const contexts = await buildContexts(policy, parts, { negative: "rejected", reserve: 128 });
 * contexts.positive.prompt.tokens; // ids of C⁺
 */
export async function buildContexts(models: Models, parts: ContextParts, needs: ContextNeeds): Promise<Contexts> {
  const { sampler, scorer } = models;
  const retrieved = parts.demonstrations.length;
  const most = await shotsAtMost([sampler, scorer], parts, needs.signal);
  const base = await encodeBase(sampler, parts, needs);
  for (let shots = most; ; shots--) {
    const kept = { ...parts, demonstrations: parts.demonstrations.slice(0, shots) };
    const sampled = await encodeSigned(sampler, "positive", kept, base, needs);
    const { ownThoughts = false } = needs;
    const scored = ownThoughts ? { ...kept, thinks: { thinks: false } } : kept;
    const plain = ownThoughts && scorer.engine === sampler.engine ? await encodeBase(sampler, scored, needs) : base;
    const positive =
      scorer.engine === sampler.engine && !ownThoughts
        ? sampled
        : await encodeSigned(scorer, "positive", scored, plain, needs);
    const negative = await encodeNegative(models, scored, plain, needs);
    const reference = needs.withReference ? await encodeReference(models, scored, plain, needs) : null;
    const measured = [sampled, positive, negative, reference].filter((context) => context !== null);
    const rooms = await Promise.all(measured.map((context) => roomOf(context, needs.signal)));
    const tightest = rooms.reduce((least, room) => (room.tokens < least.tokens ? room : least));
    if (shots > 0 && tightest.tokens < needs.reserve) continue;
    if (tightest.tokens < 1)
      throw tooLong(tightest.info, tightest.info.contextSize - tightest.tokens, "tokens", "messages");
    const fallback = shots < retrieved ? `context:${shots}-of-${retrieved}-demonstrations` : null;
    return { sampled, positive, negative, reference, base, shots, room: tightest.tokens, fallback };
  }
}

/** Throws "context_length_exceeded" where a conversation has more characters than a model's context can hold. */
export async function checkLength(
  models: readonly PromptedModel[],
  { conversation, tools }: Pick<ContextParts, "conversation" | "tools">,
  signal?: AbortSignal,
): Promise<void> {
  const characters = charactersOf(conversation, tools);
  for (const { engine } of new Set(models)) checkCharacters(await engine.info(signal), characters, "messages");
}

/** As many demonstrations as a context can hold by their characters: more are not worth being tokenised. */
async function shotsAtMost(
  models: readonly PromptedModel[],
  parts: ContextParts,
  signal?: AbortSignal,
): Promise<number> {
  const infos = await Promise.all(models.map(({ engine }) => engine.info(signal)));
  let left = Math.min(...infos.map(mostCharacters)) - charactersOf(parts.conversation, parts.tools);
  const beyond = parts.demonstrations.findIndex(({ messages, chosen, rejected = chosen }) => {
    left -= charactersOf(messages) + Math.min(chosen.length, rejected.length);
    return left < 0;
  });
  return beyond < 0 ? parts.demonstrations.length : beyond;
}

async function encodeNegative(
  models: Models,
  parts: ContextParts,
  base: ScoringContext,
  needs: ContextNeeds,
): Promise<ScoringContext | null> {
  const { scorer } = models;
  switch (needs.negative) {
    case null:
      return null;
    case "rejected":
    case "near":
      return encodeSigned(scorer, "negative", parts, base, needs);
    case "base":
      return scorer.engine === base.engine ? base : encodeBase(scorer, parts, needs);
    case "reference":
      return encodeReference(models, parts, base, needs);
  }
}

async function encodeReference(
  { reference }: Models,
  parts: ContextParts,
  base: ScoringContext,
  needs: ContextNeeds,
): Promise<ScoringContext> {
  if (reference === null)
    throw new GatewayError("configuration", "This policy has no reference model to measure a response against.");
  return encodeSigned(reference, "positive", parts, base, needs);
}

async function encodeBase(
  model: PromptedModel,
  parts: ContextParts,
  { tenant, signal }: ContextNeeds,
): Promise<ScoringContext> {
  const prompt = await encodeContext(model.engine, baseContext(model.format, parts.conversation, parts), signal);
  return { ...model, prompt: { ...prompt, tenant } };
}

/** C⁺ or C⁻; without demonstrations and instructions both are C⁰. */
async function encodeSigned(
  model: PromptedModel,
  sign: Sign,
  parts: ContextParts,
  base: ScoringContext,
  needs: ContextNeeds,
): Promise<ScoringContext> {
  if (parts.demonstrations.length === 0 && parts.instructions === null)
    return model.engine === base.engine ? base : encodeBase(model, parts, needs);
  const [prompt, opening] = await Promise.all([
    encodeContext(model.engine, signedContext(model.format, sign, parts), needs.signal),
    openingOf(model, sign, parts, needs),
  ]);
  return { ...model, prompt: { ...prompt, tenant: needs.tenant, shared: commonLength(prompt.tokens, opening) } };
}

/** What stands for a conversation where there is none. */
const nothingSaid: Conversation = [{ role: "user", content: "?" }];

/**
 * The context as it would be if the client had said nothing: as far as a prompt begins like it, it holds none of the
 * client's words.
 */
async function openingOf(
  { engine, format }: PromptedModel,
  sign: Sign,
  parts: ContextParts,
  { tenant, bringsOpening = false, signal }: ContextNeeds,
): Promise<readonly Token[]> {
  if (tenant === undefined || bringsOpening || !(await engine.info(signal)).sharesPrefixes) return [];
  const context = signedContext(format, sign, {
    ...parts,
    conversation: nothingSaid,
    tools: undefined,
    variables: undefined,
  });
  return (await encodeContext(engine, context, signal)).tokens;
}

function commonLength(a: readonly Token[], b: readonly Token[]): number {
  const differs = a.findIndex((token, i) => token !== b[i]);
  return differs < 0 ? a.length : differs;
}

async function roomOf(
  { engine, prompt }: ScoringContext,
  signal?: AbortSignal,
): Promise<{ tokens: number; info: EngineInfo }> {
  const info = await engine.info(signal);
  return { tokens: info.contextSize - prompt.tokens.length, info };
}
