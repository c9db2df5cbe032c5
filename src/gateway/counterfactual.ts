/**
 * @module For a share of scored requests: what plain sampling would have answered, and its score by the same contexts.
 * Done after the answer.
 */
import type { Context } from "hono";
import { rewardsOf } from "../icdpo/candidate-reward.ts";
import { type MeasureRequest, measure } from "../icdpo/measure.ts";
import { type IcdpoOutcome, type IcdpoRequest, icdpo } from "../icdpo/pipeline.ts";
import { plainly } from "../policy/bypass.ts";
import type { Policy } from "../policy/policy.ts";
import { comparisonDemand } from "./demand.ts";
import type { AppDependencies } from "./dependencies.ts";
import { failureOf } from "./errors.ts";
import type { ResolvedRoute } from "./route.ts";
import { withRequest } from "./work.ts";

export interface ScoredAnswer {
  readonly id: string;
  readonly policy: Policy;
  readonly request: IcdpoRequest;
  readonly outcome: IcdpoOutcome;
}

/** What its log line and its metrics call it, beside the paths of requests. */
const path = "counterfactual";

/**
 * Only while the gateway has little to do: nobody waits for it. It is watched and charged as a request of its own.
 * Never throws.
 */
export async function recordCounterfactual(
  c: Context,
  dependencies: AppDependencies,
  { route, counterfactual: share }: ResolvedRoute,
  answer: ScoredAnswer,
): Promise<void> {
  const { admission, records, report, telemetry, newId } = dependencies;
  const { request, outcome } = answer;
  const isScored = typeof outcome.ranked[0]?.score === "number";
  // Tools, grammars and a template's variables belong to C⁺ as it was built; what was measured without them would be another thing.
  const { tools = [], grammar, variables } = request;
  const isPlainText = tools.length === 0 && grammar === undefined && variables === undefined;
  if (share <= 0 || !isScored || !isPlainText || dependencies.randomSeed() / 2 ** 32 >= share || !admission.isQuiet)
    return;
  const caller = c.get("caller");
  const observer = telemetry.observe({ id: newId("req_"), method: "POST", traceparent: c.req.header("traceparent") });
  observer.note({ route, policy: answer.policy.id, ...(caller !== null && { key: caller.name }) });
  try {
    const asker = { caller, observer, left: [], isBackground: true };
    const demand = comparisonDemand(answer.policy, request);
    const { score, chosenScore, text } = await withRequest(asker, dependencies, demand, ({ signal, attempt, enter }) =>
      attempt((usage) => compare(answer, { signal, usage, onStage: enter })),
    );
    observer.end({ path, status: 200 });
    if (score === null || chosenScore === null) return;
    const at = dependencies.unixTime() * 1000;
    records.counterfactual({ answer: answer.id, at, score, chosenScore, text: records.keepsText ? text : null });
  } catch (error) {
    observer.end({ path, ...failureOf(error) });
    if (!dependencies.shutdown.aborted) report(error);
  }
}

type Given = Pick<MeasureRequest, "signal" | "usage" | "onStage">;

/** Plain sampling's answer, and the scores of both. */
async function compare({ policy, request, outcome }: ScoredAnswer, { signal, usage, onStage }: Given) {
  const { conversation, sampling, seed, tenant, now } = request;
  const plain = await icdpo(plainly(policy), {
    conversation,
    sampling,
    answers: 1,
    seed,
    tenant,
    now,
    signal,
    usage,
    onStage,
  });
  const text = plain.ranked[0]?.text ?? "";
  const chosen = outcome.ranked[0]?.text ?? "";
  if (policy.settings.score.type === "reward") {
    const [score = null, chosenScore = null] = await rewardsOf([text, chosen], policy, conversation, signal);
    return { text, score, chosenScore };
  }
  const demonstrations = outcome.demonstrations.map(({ demonstration }) => demonstration);
  const completions = [text, chosen];
  const { measured } = await measure(policy, {
    conversation,
    completions,
    demonstrations,
    seed,
    tenant,
    signal,
    usage,
    onStage,
  });
  return { text, score: measured[0]?.score ?? null, chosenScore: measured[1]?.score ?? null };
}
