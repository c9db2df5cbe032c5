/** @module Settings that one request changes for itself, where its route allows that. */
import type { Capabilities } from "../engine/engine.ts";
import { GatewayError } from "../types/error.ts";
import { contradiction, policyId } from "./build.ts";
import type { Policy } from "./policy.ts";
import type { Overrides, PolicySettings } from "./schema.ts";

/** The policy with those settings, under an id of its own. Throws "invalid_request" where they do not go together. */
export async function overridden(
  policy: Policy,
  overrides: Overrides,
  capabilities: Pick<Capabilities, "chat" | "score">,
): Promise<Policy> {
  const given = Object.fromEntries(Object.entries(overrides).filter(([, value]) => value !== undefined));
  const settings: PolicySettings = { ...policy.settings, ...given };
  const isSame = settings.score.type === "contrast" && settings.demonstrations === undefined && settings.instructions === undefined;
  const problem = isSame
    ? { path: ["score"], reason: "a contrast needs demonstrations or instructions: without either, both contexts are the same" }
    : contradiction(settings, policy.format, policy.demonstrations, capabilities);
  if (problem !== null) {
    const param = `icdpo.overrides.${problem.path.join(".")}`;
    throw new GatewayError("invalid_request", `Invalid '${param}': ${problem.reason}`, { param });
  }
  return { ...policy, id: await policyId(policy.name, settings, policy.source), settings };
}
