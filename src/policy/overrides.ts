/** @module Settings that one request changes for itself, where its route allows that. */
import { GatewayError } from "../types/error.ts";
import { policyId } from "./build.ts";
import type { Policy, PromptedModel } from "./policy.ts";
import { contradiction, type UsedModels } from "./policy-models.ts";
import type { Overrides, PolicySettings } from "./schema.ts";
import { hasOneContext, oneContext, rewardAsked, wantsConsensus } from "./score-schema.ts";

/** The policy with those settings, under an id of its own. Throws "invalid_request" where they do not go together. */
export async function overridden(policy: Policy, overrides: Overrides): Promise<Policy> {
  const given = Object.fromEntries(Object.entries(overrides).filter(([, value]) => value !== undefined));
  const settings: PolicySettings = { ...policy.settings, ...given };
  const problem = hasOneContext(settings)
    ? { path: ["score"], reason: oneContext }
    : (withoutEmbedder(policy, settings) ??
      withoutReward(policy, settings) ??
      contradiction(settings, await usedModels(policy), policy.demonstrations));
  if (problem !== null) {
    const param = `icdpo.overrides.${problem.path.join(".")}`;
    throw new GatewayError("invalid_request", `Invalid '${param}': ${problem.reason}`, { param });
  }
  // What another score adds up to says nothing of the policy's own.
  const rate = overrides.score === undefined ? policy.rate : undefined;
  return { ...policy, id: await policyId({ ...policy, settings }), settings, rate };
}

function withoutEmbedder({ embedder }: Policy, { score }: PolicySettings) {
  if (!wantsConsensus(score) || embedder !== undefined) return null;
  const reason = "this policy was loaded without sentence embeddings; only a policy that has it in its file can use it";
  return { path: ["score", "consensus"], reason };
}

function withoutReward({ reward, settings }: Policy, { score }: PolicySettings) {
  const asked = rewardAsked(score);
  if (asked === null || (reward !== undefined && rewardAsked(settings.score)?.model === asked.model)) return null;
  const reason = "this policy was loaded without that reward model; only a policy that has it in its file can use it";
  return { path: asked.path, reason };
}

async function usedModels({ sampler, scorer, reference }: Policy): Promise<UsedModels> {
  const used = async ({ engine, format }: PromptedModel) => ({
    format,
    capabilities: (await engine.info()).capabilities,
  });
  return { sampler: await used(sampler), scorer: await used(scorer), reference: reference && (await used(reference)) };
}
