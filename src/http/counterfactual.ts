/** @module For a share of scored requests: what plain sampling would have answered, and its score by the same contexts. Done after the answer. */

import { measure } from "../icdpo/measure.ts";
import { type IcdpoOutcome, type IcdpoRequest, icdpo } from "../icdpo/pipeline.ts";
import { plainly } from "../policy/bypass.ts";
import type { Policy } from "../policy/policy.ts";
import { LinkedSignal } from "../types/linked-signal.ts";
import type { AppDependencies } from "./dependencies.ts";

export interface ScoredAnswer {
  readonly id: string;
  readonly policy: Policy;
  readonly request: IcdpoRequest;
  readonly outcome: IcdpoOutcome;
}

/** Only while the gateway has little to do: nobody waits for it. Never throws. */
export async function recordCounterfactual(dependencies: AppDependencies, share: number, answer: ScoredAnswer): Promise<void> {
  const { admission, records, report } = dependencies;
  const { request, outcome } = answer;
  const chosen = outcome.ranked[0];
  const isScored = typeof chosen?.score === "number";
  // Tools and grammars belong to C⁺ as it was built; what was measured without them would be another thing.
  const isPlainText = (request.tools?.length ?? 0) === 0 && request.grammar === undefined;
  if (share <= 0 || !isScored || !isPlainText || dependencies.randomSeed() / 2 ** 32 >= share || !admission.isQuiet) return;
  try {
    const { score, chosenScore, text } = await admission.run(() => compare(dependencies, answer));
    if (score === null || chosenScore === null) return;
    const at = dependencies.unixTime() * 1000;
    records.counterfactual({ answer: answer.id, at, score, chosenScore, text: records.keepsText ? text : null });
  } catch (error) {
    if (!dependencies.shutdown.aborted) report(error);
  }
}

async function compare(dependencies: AppDependencies, { policy, request, outcome }: ScoredAnswer) {
  const link = new LinkedSignal([dependencies.deadline(), dependencies.shutdown]);
  return compareUntil(link.signal, { policy, request, outcome }).finally(() => link.release());
}

async function compareUntil(signal: AbortSignal, { policy, request, outcome }: Omit<ScoredAnswer, "id">) {
  const { conversation, sampling, seed, now } = request;
  const plain = await icdpo(plainly(policy), { conversation, sampling, answers: 1, seed, now, signal });
  const text = plain.ranked[0]?.text ?? "";
  const chosen = outcome.ranked[0]?.text ?? "";
  const demonstrations = outcome.demonstrations.map(({ demonstration }) => demonstration);
  const { measured } = await measure(policy, { conversation, completions: [text, chosen], demonstrations, seed, signal });
  return { text, score: measured[0]?.score ?? null, chosenScore: measured[1]?.score ?? null };
}
