/**
 * @module What a policy and a request come to together: whose sampling parameters count, and whether the method does.
 */
import type { SamplingParameters } from "../engine/engine.ts";
import { bypasses, plainly } from "../policy/bypass.ts";
import type { Policy } from "../policy/policy.ts";
import { GatewayError } from "../types/error.ts";
import type { Generation } from "./generation.ts";

export interface Terms {
  /** The route's or arm's policy, or what a bypass leaves of it. */
  readonly policy: Policy;
  readonly bypassed: boolean;
  readonly sampling: SamplingParameters;
}

/** Throws "unsupported_parameter" where the policy's prompts have no tools, and the request does. */
export function termsOf(
  arm: Policy,
  { conversation, sampling: given, tools, format }: Pick<Generation, "conversation" | "sampling" | "tools" | "format">,
): Terms {
  const sampling = withDefaults(given, arm);
  const facts = {
    conversation,
    maxTokens: sampling.maxTokens,
    usesTools: tools.length > 0,
    wantsJson: format.type !== "text",
  };
  const bypassed = bypasses(arm, facts);
  const policy = bypassed ? plainly(arm) : arm;
  if (tools.length > 0 && policy.sampler.format !== "chat")
    throw new GatewayError(
      "unsupported_parameter",
      `This route's prompt format, ${policy.sampler.format}, has no tools.`,
      {
        param: "tools",
      },
    );
  return { policy, bypassed, sampling };
}

/** The client's own parameters win over the policy's. */
function withDefaults(given: Generation["sampling"], { settings: { sampling } }: Policy): SamplingParameters {
  return {
    ...given,
    temperature: given.temperature ?? sampling.temperature,
    topP: given.topP ?? sampling.top_p,
    topK: given.topK ?? sampling.top_k,
    maxTokens: given.maxTokens ?? sampling.max_tokens,
    stop: given.stop ?? [],
  };
}
