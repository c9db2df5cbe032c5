/**
 * @module What a request may take, told before it begins: how many answers are made side by side (`admission.ts` has
 * the rule), and how many tokens the machine may work through. Tokens of texts are estimated: what was really worked
 * through replaces them in the end.
 */
import type { Engine } from "../engine/engine.ts";
import type { IcdpoRequest } from "../icdpo/pipeline.ts";
import { candidateCount } from "../icdpo/strategy.ts";
import { hasOwnThoughts, reasoningFor, thoughtLimit } from "../icdpo/thought.ts";
import { wavesOf } from "../icdpo/waves.ts";
import { contrastOf } from "../policy/decoding.ts";
import type { Policy } from "../policy/policy.ts";
import { expectedTokens } from "../policy/policy-sampling.ts";
import { defaultInstructions } from "../policy/schema.ts";
import { isBySums } from "../policy/score-schema.ts";
import type { Conversation, Demonstration } from "../types/conversation.ts";

export interface Demand {
  /** Answers to generate, or completions to score. */
  readonly answers: number;
  /** At most, as far as that can be told. */
  readonly tokens: (signal: AbortSignal) => Promise<number>;
  /**
   * Nobody has said how long the answers may be: `tokens` is what they usually take, and so many more at a time are
   * counted while they are made.
   */
  readonly step?: number;
}

/** Of a turn's markers. */
const turnTokens = 8;
const lettersAToken = 3;
const tokensAForeignUnit = 2;
/** Of longer texts the beginning speaks for the rest. */
const mostLookedAt = 2 ** 16;

/** Letters stand together in tokens; digits and signs may be a token each, letters of other scripts several. */
export function estimateTokens(text: string): number {
  const looked = Math.min(text.length, mostLookedAt);
  if (looked === 0) return 0;
  let letters = 0;
  let others = 0;
  for (let i = 0; i < looked; i++) {
    const code = text.charCodeAt(i);
    if (isLetter(code) || code === 0x20) letters += 1;
    else others += code < 0x80 ? 1 : tokensAForeignUnit;
  }
  return Math.ceil(((letters / lettersAToken + others) * text.length) / looked);
}

function isLetter(code: number): boolean {
  const lower = code | 0x20;
  return code < 0x80 && lower >= 0x61 && lower <= 0x7a;
}

type Asked = Pick<IcdpoRequest, "conversation" | "sampling" | "answers" | "tools" | "reasoning" | "within"> & {
  /** Somebody has said how long answers may be; absent: yes. */
  readonly isBounded?: boolean | undefined;
};

/** Of answers as `icdpo` makes them. */
export function generationDemand(policy: Policy, asked: Asked): Demand {
  const count = candidateCount(policy, asked);
  const isContrast = contrastOf(policy.settings) !== undefined;
  const sequences = isContrast ? 2 * count : count;
  return {
    answers: sequences,
    ...(asked.isBounded === false && { step: sequences * expectedTokens }),
    tokens: async (signal) => {
      const size = await contextSize(policy.sampler.engine, signal);
      const { score } = policy.settings;
      const answers = count * answerTokens(asked, size) + (await thoughtTokens(policy, asked, count, signal));
      const contexts = contextsOf(policy, asked, size);
      // Each wave of candidates has calls of its own: a cache of prefixes may have lost what it held.
      const waves = wavesOf(policy.settings.candidates, asked.answers, count).length;
      const sampled = waves * contexts.positive + answers;
      if (!isBySums(score) || (count === 1 && !isContrast)) return sampled;
      // What another model samples is fed to the one that scores as well.
      const again = policy.scorer.engine === policy.sampler.engine ? 0 : sampled;
      return sampled + again + (score.type === "contrast" ? waves * contexts[score.negative] + answers : 0);
    },
  };
}

function answerTokens({ sampling, isBounded = true }: Asked, size: number): number {
  return Math.min(isBounded ? sampling.maxTokens : expectedTokens, size);
}

/** Of a model that thinks. A thought that all share is fed before each answer, but found in a cache. */
async function thoughtTokens(policy: Policy, asked: Asked, count: number, signal: AbortSignal): Promise<number> {
  const reasoning = await reasoningFor(policy, asked, signal);
  if (!reasoning?.thinks) return 0;
  const limit = thoughtLimit(reasoning, await contextSize(policy.sampler.engine, signal));
  return limit * (hasOwnThoughts(reasoning, count) ? count : 1);
}

interface Given extends Pick<Asked, "conversation"> {
  readonly completions: readonly string[];
  readonly demonstrations?: readonly Demonstration[] | undefined;
}

/** Of sums as `measure` takes them. */
export function scoringDemand(policy: Policy, given: Given): Demand {
  return {
    answers: given.completions.length,
    tokens: async (signal) => {
      const size = await contextSize(policy.scorer.engine, signal);
      const completions = given.completions.reduce((sum, text) => sum + Math.min(size, estimateTokens(text) + 1), 0);
      return measuredTokens(policy, given, size, completions);
    },
  };
}

/** Of a plain answer, and of the sums of it and the chosen one; a reward alone takes none. */
export function comparisonDemand(policy: Policy, asked: Asked): Demand {
  return {
    answers: 2,
    tokens: async (signal) => {
      const size = await contextSize(policy.sampler.engine, signal);
      const answer = answerTokens(asked, size);
      const plain = contextsOf(policy, asked, size).base + answer;
      if (policy.settings.score.type === "reward") return plain;
      return plain + measuredTokens(policy, asked, size, 2 * answer);
    },
  };
}

function measuredTokens(policy: Policy, given: Omit<Given, "completions">, size: number, completions: number): number {
  const contexts = contextsOf(policy, given, size);
  const positives = policy.reference === null ? 1 : 2;
  const { score } = policy.settings;
  const negative = score.type === "contrast" && score.negative === "near" ? contexts.near : contexts.rejected;
  return contexts.base + negative + positives * contexts.positive + (2 + positives) * completions;
}

/** Of prompts that go on as they are: token ids, or text. */
export function completionsDemand(
  engine: Engine,
  prompts: readonly (string | readonly number[])[],
  {
    answers,
    maxTokens,
    scoresPrompts,
  }: { readonly answers: number; readonly maxTokens: number; readonly scoresPrompts: boolean },
): Demand {
  return {
    answers: prompts.length * answers,
    tokens: async (signal) => {
      const size = await contextSize(engine, signal);
      const lengths = prompts.map((prompt) =>
        Math.min(size, typeof prompt === "string" ? estimateTokens(prompt) + 1 : prompt.length),
      );
      const fed = lengths.reduce((sum, length) => sum + length, 0);
      return fed * (scoresPrompts ? 2 : 1) + prompts.length * answers * Math.min(maxTokens, size);
    },
  };
}

/** Of texts that are embedded one after another. */
export function embeddingsDemand(texts: readonly string[]): Demand {
  return { answers: 1, tokens: async () => texts.reduce((sum, text) => sum + estimateTokens(text), 0) };
}

async function contextSize(engine: Engine, signal: AbortSignal): Promise<number> {
  return (await engine.info(signal)).contextSize;
}

type ContextTokens = { readonly [Name in "base" | "positive" | "rejected" | "near" | "reference"]: number };

/** Each of at most `size` tokens. */
function contextsOf(
  policy: Policy,
  { conversation, tools = [], demonstrations }: Pick<Asked, "conversation" | "tools"> & Pick<Given, "demonstrations">,
  size: number,
): ContextTokens {
  const turns = conversationTokens(conversation) + (tools.length === 0 ? 0 : estimateTokens(JSON.stringify(tools)));
  const shown = demonstrations === undefined ? typicalDemonstrations(policy) : demonstrationTokens(demonstrations);
  const instructions = policy.settings.instructions ?? (shown.chosen > 0 ? defaultInstructions : null);
  const negative = turns + estimateTokens(instructions?.negative ?? "");
  const positive = Math.min(size, turns + shown.chosen + estimateTokens(instructions?.positive ?? ""));
  const rejected = Math.min(size, negative + shown.rejected);
  const near = Math.min(size, negative + shown.near);
  return { base: Math.min(size, turns), positive, rejected, near, reference: positive };
}

function conversationTokens(conversation: Conversation): number {
  return conversation.reduce((sum, { content, toolCalls = [] }) => {
    const calls = toolCalls.reduce(
      (all, call) => all + estimateTokens(call.name) + estimateTokens(call.arguments) + turnTokens,
      0,
    );
    return sum + estimateTokens(content) + calls + turnTokens;
  }, turnTokens);
}

/** Of demonstrations, with these responses of theirs; of several near negatives, with the longest. */
interface ShownTokens {
  readonly chosen: number;
  readonly rejected: number;
  readonly near: number;
}

const nothingShown: ShownTokens = { chosen: 0, rejected: 0, near: 0 };

function demonstrationTokens(demonstrations: readonly Demonstration[]): ShownTokens {
  let [chosen, rejected, nearest] = [0, 0, 0];
  for (const { near = [], ...one } of demonstrations) {
    const messages = conversationTokens(one.messages);
    chosen += messages + estimateTokens(one.chosen);
    rejected += messages + estimateTokens(one.rejected ?? "");
    nearest += messages + Math.max(0, ...near.map(estimateTokens));
  }
  return { chosen, rejected, near: nearest };
}

const mostAveraged = 100;
const typical = new WeakMap<readonly Demonstration[], ShownTokens>();

/**
 * As many as a prompt shows, of average length. Which ones they will be is known only when they have been retrieved.
 */
function typicalDemonstrations({ demonstrations, retriever, settings }: Policy): ShownTokens {
  if (retriever === null || demonstrations.length === 0) return nothingShown;
  const one = typical.get(demonstrations) ?? averageOf(demonstrations);
  typical.set(demonstrations, one);
  return changed(one, (tokens) => Math.ceil(tokens * settings.shots));
}

/** Of a hundred of them, from all over the set. */
function averageOf(demonstrations: readonly Demonstration[]): ShownTokens {
  const step = Math.ceil(demonstrations.length / mostAveraged);
  const some = demonstrations.filter((_, i) => i % step === 0);
  return changed(demonstrationTokens(some), (tokens) => tokens / some.length);
}

function changed({ chosen, rejected, near }: ShownTokens, change: (tokens: number) => number): ShownTokens {
  return { chosen: change(chosen), rejected: change(rejected), near: change(near) };
}
