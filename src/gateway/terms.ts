/**
 * @module What a policy and a request come to together: whose sampling parameters count, and whether the method does.
 */
import type { SamplingParameters } from "../engine/engine.ts";
import { candidateCount } from "../icdpo/strategy.ts";
import { bypasses, plainly } from "../policy/bypass.ts";
import { forStreams } from "../policy/decoding.ts";
import type { Policy } from "../policy/policy.ts";
import { competingTokens, samplingWith } from "../policy/policy-sampling.ts";
import { GatewayError } from "../types/error.ts";
import type { Generation } from "./generation.ts";

export interface Terms {
  /** The route's or arm's policy, or what a bypass leaves of it. */
  readonly policy: Policy;
  readonly bypassed: boolean;
  readonly sampling: SamplingParameters;
  /** The request or the policy says how long an answer may be. */
  readonly isBounded: boolean;
}

type Agreed = Pick<Generation, "conversation" | "sampling" | "tools" | "format" | "variables"> &
  Partial<Pick<Generation, "answers">>;

/**
 * Of a request that is read as it comes (`isStreamed`), or whole. Throws "unsupported_parameter" where the policy's
 * prompts have no place for what the request says.
 */
export function termsOf(route: Policy, generation: Agreed, isStreamed = false): Terms {
  const { conversation, sampling: given, tools, format, variables, answers = 1 } = generation;
  const arm = isStreamed && answers === 1 ? forStreams(route) : route;
  const sampling = samplingWith(given, arm.settings);
  const facts = {
    conversation,
    maxTokens: sampling.maxTokens,
    usesTools: tools.length > 0,
    wantsJson: format.type !== "text",
  };
  const bypassed = bypasses(arm, facts);
  const policy = bypassed ? plainly(arm) : arm;
  const { format: prompt } = policy.sampler;
  if (tools.length > 0 && prompt !== "chat")
    throw noPlace(`This route's prompt format, ${prompt}, has no tools.`, "tools");
  if (variables !== undefined && prompt !== "chat")
    throw noPlace(`This route's prompt format, ${prompt}, is no chat template.`, "chat_template_kwargs");
  const isBounded = Number.isFinite(sampling.maxTokens);
  const maxTokens = competes(policy, { sampling, answers }) ? competingTokens : sampling.maxTokens;
  return { policy, bypassed, sampling: isBounded ? sampling : { ...sampling, maxTokens }, isBounded };
}

/** Whether nobody sees an answer before it, or its next block, has been chosen. */
function competes(policy: Policy, asked: Parameters<typeof candidateCount>[1]): boolean {
  const count = candidateCount(policy, asked);
  return count > 1 && (policy.settings.score.type !== "none" || count > asked.answers);
}

function noPlace(message: string, param: string): GatewayError {
  return new GatewayError("unsupported_parameter", message, { param });
}
