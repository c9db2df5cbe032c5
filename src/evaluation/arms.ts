/** @module Arms of an evaluation, which are policies, and the two places where it calls the method. */
import type { Engine } from "../engine/engine.ts";
import { type Measurement, type MeasureRequest, measure } from "../icdpo/measure.ts";
import { type IcdpoOutcome, icdpo } from "../icdpo/pipeline.ts";
import { contradiction, policyId } from "../policy/build.ts";
import type { Policy } from "../policy/policy.ts";
import type { PolicySettings } from "../policy/schema.ts";
import type { Conversation } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";
import type { ResultCache } from "./cache.ts";
import { cachedEngine } from "./cached-engine.ts";

export interface Arm {
  /** As tables call it. */
  readonly name: string;
  readonly policy: Policy;
  readonly engine: Engine;
}

export interface ArmChanges {
  readonly name?: string | undefined;
  readonly prompt?: PolicySettings["prompt"] | undefined;
  /** 0 shows no demonstrations: the instructions alone. */
  readonly shots?: number | undefined;
  readonly candidates?: number | undefined;
  readonly maxTokens?: number | undefined;
}

/** The arm with other settings, under an id of its own. Throws "invalid_request" where they do not go together. */
export async function changedArm(arm: Arm, changes: ArmChanges): Promise<Arm> {
  const { policy, engine } = arm;
  const { prompt = policy.settings.prompt, shots = policy.settings.shots, candidates = policy.settings.candidates, maxTokens } = changes;
  const sampling = { ...policy.settings.sampling, ...(maxTokens !== undefined && { max_tokens: maxTokens }) };
  const settings: PolicySettings = { ...policy.settings, prompt, shots, candidates, sampling };
  const { capabilities } = await engine.info();
  const format = prompt === "auto" ? (capabilities.chat ? "chat" : "hh-rlhf") : prompt;
  const problem = contradiction(settings, format, policy.demonstrations, capabilities);
  if (problem !== null)
    throw new GatewayError(
      "invalid_request",
      `The policy ${policy.name} cannot be changed so: ${problem.path.join(".")}: ${problem.reason}.`,
    );
  const retriever = shots === 0 ? null : policy.retriever;
  const id = await policyId(policy.name, settings, policy.source);
  return { ...arm, name: changes.name ?? arm.name, policy: { ...policy, id, settings, format, retriever } };
}

/** The three sums of given completions; what is known of them is not computed again. */
export function measured({ engine, policy }: Arm, cache: ResultCache, request: MeasureRequest): Promise<Measurement> {
  return measure(cachedEngine(engine, cache), policy, request);
}

/** A request as the gateway would answer it. */
export function answered(
  { engine, policy }: Arm,
  request: {
    readonly conversation: Conversation;
    readonly answers: number;
    readonly seed: number;
    readonly now: () => number;
    readonly signal: AbortSignal;
  },
): Promise<IcdpoOutcome> {
  const { temperature, top_p: topP, top_k: topK, max_tokens: maxTokens } = policy.settings.sampling;
  return icdpo(engine, policy, { ...request, sampling: { temperature, topP, topK, maxTokens, stop: [] } });
}
