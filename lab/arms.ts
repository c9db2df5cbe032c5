/** @module Arms of an evaluation, which are policies, and the two places where it calls the method. */
import {
  boundedSampling,
  type Conversation,
  contradiction,
  type Demonstration,
  GatewayError,
  type IcdpoOutcome,
  icdpo,
  type Measurement,
  type MeasureRequest,
  measure,
  mostCandidates,
  type Policy,
  type PolicySettings,
  type PromptedModel,
  policyId,
  withoutSystemTurn,
} from "icdpo-gateway/laboratory";
import type { ResultCache } from "./cache.ts";
import { cachedEngine } from "./cached-engine.ts";

export interface Arm {
  /** As tables call it. */
  readonly name: string;
  readonly policy: Policy;
}

export interface ArmChanges {
  readonly name?: string | undefined;
  readonly prompt?: PolicySettings["prompt"] | undefined;
  /** 0 shows no demonstrations: the instructions alone. */
  readonly shots?: number | undefined;
  readonly candidates?: number | undefined;
  readonly maxTokens?: number | undefined;
  /** 0 is greedy. */
  readonly temperature?: number | undefined;
  /** Candidates are answers as they are sampled: no score, no blocks, no contrast. */
  readonly unscored?: boolean | undefined;
  /** Neither demonstrations nor instructions: C⁰. */
  readonly plain?: boolean | undefined;
}

/** The arm with other settings, under an id of its own. Throws "invalid_request" where they do not go together. */
export async function changedArm(arm: Arm, changes: ArmChanges): Promise<Arm> {
  const { policy } = arm;
  const { prompt } = changes;
  const settings = changedSettings(policy.settings, changes);
  const use = async (model: PromptedModel) => {
    const { capabilities } = await model.engine.info();
    const format = prompt === "auto" ? (capabilities.chat ? "chat" : "hh-rlhf") : (prompt ?? model.format);
    return { engine: model.engine, format, capabilities };
  };
  const { sampler, scorer, reference } = policy;
  const models = {
    sampler: await use(sampler),
    scorer: await use(scorer),
    reference: reference && (await use(reference)),
  };
  const problem = contradiction(settings, models, policy.demonstrations);
  if (problem !== null)
    throw new GatewayError(
      "invalid_request",
      `The policy ${policy.name} cannot be changed so: ${problem.path.join(".")}: ${problem.reason}.`,
    );
  const retriever = settings.shots === 0 ? null : policy.retriever;
  const id = await policyId({ ...policy, ...models, settings });
  return { name: changes.name ?? arm.name, policy: { ...policy, ...models, id, settings, retriever } };
}

/** Nothing is chosen while it is sampled. */
const asSampled = { block: undefined, stream: undefined, prune: undefined, decode: undefined };

function changedSettings(settings: PolicySettings, changes: ArmChanges): PolicySettings {
  const { maxTokens, temperature, plain = false, unscored = plain } = changes;
  const { prompt = settings.prompt, shots = settings.shots } = changes;
  // Where nothing is scored, nothing can lead by a margin.
  const own = unscored ? mostCandidates(settings.candidates) : settings.candidates;
  const { candidates = own } = changes;
  return {
    ...settings,
    prompt,
    shots: plain ? 0 : shots,
    candidates,
    sampling: {
      ...settings.sampling,
      ...(maxTokens !== undefined && { max_tokens: maxTokens }),
      ...(temperature !== undefined && { temperature }),
    },
    ...(unscored && { score: { type: "none", pick: "first" } as const, ...asSampled }),
    ...(plain && { instructions: undefined }),
  };
}

/** The three sums of given completions; what is known of them is not computed again. */
export function measured(arm: Arm, cache: ResultCache, request: MeasureRequest): Promise<Measurement> {
  const policy = heldOut(arm.policy, request.conversation);
  const cached = ({ engine, format }: PromptedModel): PromptedModel => ({
    engine: cachedEngine(engine, cache),
    format,
  });
  return measure(
    { ...policy, scorer: cached(policy.scorer), reference: policy.reference && cached(policy.reference) },
    request,
  );
}

/** A request as the gateway would answer it, were the prompt not among its demonstrations. */
export function answered(
  { policy }: Arm,
  request: {
    readonly conversation: Conversation;
    readonly answers: number;
    readonly seed: number;
    readonly now: () => number;
    readonly signal: AbortSignal;
  },
): Promise<IcdpoOutcome> {
  const sampling = boundedSampling(policy.settings);
  return icdpo(heldOut(policy, request.conversation), { ...request, sampling });
}

/**
 * The policy without its demonstrations of the very prompt that it is tested on, and without what it remembers of other
 * requests: results depend on the prompt and the seed alone.
 */
function heldOut(policy: Policy, prompt: Conversation): Policy {
  const { retriever, demonstrations } = policy;
  if (retriever === null) return { ...policy, rate: undefined };
  // Demonstrations have no system turn: its text was kept before the question, or dropped.
  const own = [withoutSystemTurn(prompt), withoutSystemTurn(prompt, true)];
  const isOwn = ({ messages }: Demonstration): boolean => own.some((turns) => samePrompt(messages, turns));
  const except = new Set(demonstrations.filter(isOwn).map(({ id }) => id));
  return {
    ...policy,
    rate: undefined,
    retriever: { retrieve: (conversation, options) => retriever.retrieve(conversation, { ...options, except }) },
  };
}

function samePrompt(a: Conversation, b: Conversation): boolean {
  return a.length === b.length && a.every(({ role, content }, i) => role === b[i]?.role && content === b[i]?.content);
}
