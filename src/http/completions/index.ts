/**
 * @module POST /v1/completions. On plain routes raw text goes on, with the log-probabilities of the prompt itself where
 * `echo` asks for them; on others the prompt is a conversation in one of the paper's text formats.
 */
import type { Context } from "hono";
import { mayUse } from "../../access/access.ts";
import { completionsDemand, type Demand } from "../../gateway/demand.ts";
import type { AppDependencies } from "../../gateway/dependencies.ts";
import { routeHeaders, setHeaders } from "../../gateway/headers.ts";
import { singlePolicyRoute } from "../../gateway/route.ts";
import { tenantOf } from "../../gateway/tenant.ts";
import { askerOf, sizeOf, streamWork, withRequest } from "../../gateway/work.ts";
import type { Policy, PolicySet } from "../../policy/policy.ts";
import { GatewayError } from "../../types/error.ts";
import { readBody } from "../json-body.ts";
import { toSeed } from "../sampling-fields.ts";
import { type ServerSentEvent, streamAnswer } from "../sse.ts";
import { toGatewayFields } from "../wire.ts";
import { completeByMethod } from "./chosen-completion.ts";
import { type Choice, type CompletionCall, type CompletionUsage, common, renderChoice } from "./completion-answer.ts";
import { completionsBodySchema, promptsOf, samplingOf, tellsPrompt } from "./completion-request.ts";
import { complete } from "./raw-completion.ts";

export function completions(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const body = await readBody(c, completionsBodySchema);
    const resolved = singlePolicyRoute(c, dependencies.policies(), body.model);
    const { policy } = resolved;
    if ((body.n ?? 1) > dependencies.maxAnswers)
      throw new GatewayError(
        "invalid_request",
        `Invalid 'n': at most ${dependencies.maxAnswers} answers are allowed.`,
        { param: "n" },
      );
    const { newId, unixTime, randomSeed } = dependencies;
    const { user, overrides } = toGatewayFields(body);
    if (overrides !== undefined) throw unsupported("icdpo.overrides", "/v1/completions takes a route as it is");
    const seed = (toSeed(body.seed) ?? randomSeed()) >>> 0;
    const tenant = body.cache_prompt === false ? newId("once_") : tenantOf(c, dependencies, { user });
    const call: CompletionCall = { id: newId("cmpl-"), created: unixTime(), body, resolved, seed, tenant };
    if (!isPlain(policy)) {
      const { format } = policy.sampler;
      if (format === "chat") throw chatOnly(c, dependencies.policies());
      return completeByMethod(c, dependencies, call, format);
    }
    if (body.icdpo?.explain) throw unsupported("icdpo.explain", "a plain route has nothing to explain here");
    setHeaders(c, routeHeaders(resolved, body.n ?? 1));
    const demand = demandOf(call);
    if (body.stream) return stream(c, dependencies, call, demand);
    const { choices, usage } = await withRequest(askerOf(c), dependencies, demand, (work) =>
      work.attempt((tokens) => complete(c, call, { ...work, tokens }, () => {})),
    );
    return c.json({ ...common(call), choices: choices.map((choice) => renderChoice(choice, body)), usage });
  };
}

function unsupported(param: string, reason: string): GatewayError {
  return new GatewayError("unsupported_parameter", `Invalid '${param}': ${reason}.`, { param });
}

function demandOf({ body, resolved: { policy } }: CompletionCall): Demand {
  const { temperature, maxTokens } = samplingOf(body, policy);
  const scoresPrompts = tellsPrompt(body);
  // A greedy answer stands for all of a prompt's.
  const answers = temperature === 0 ? 1 : (body.n ?? 1);
  const prompts = promptsOf(body).map((prompt) => (typeof prompt === "string" ? prompt + (body.suffix ?? "") : prompt));
  return completionsDemand(policy.sampler.engine, prompts, { answers, maxTokens, scoresPrompts });
}

function chatOnly(c: Context, set: PolicySet): GatewayError {
  const takesText = ({ name, policy, experiment }: { name: string; policy: Policy; experiment: unknown }): boolean =>
    experiment === null && (isPlain(policy) || policy.sampler.format !== "chat") && mayUse(c.get("caller"), name);
  const names = [...set.routes.values()].filter(takesText).map(({ name }) => name);
  const message = `/v1/completions is for plain routes, and for those whose prompts are text (prompt: hh-rlhf or synthetic-gpt)${names.length > 0 ? `: ${names.join(", ")}` : "; there is none"}. This route has a chat template: use /v1/chat/completions.`;
  return new GatewayError("invalid_request", message, { param: "model" });
}

function isPlain({ settings, retriever }: Policy): boolean {
  return settings.score.type === "none" && retriever === null && settings.instructions === undefined;
}

type Piece =
  | { readonly type: "choice"; readonly choice: Choice }
  | { readonly type: "end"; readonly usage: CompletionUsage };

function stream(c: Context, dependencies: AppDependencies, call: CompletionCall, demand: Demand): Promise<Response> {
  const { body } = call;
  c.get("observer").note({ stream: true });
  return streamAnswer<Piece>(c, dependencies, {
    events: (reader) =>
      streamWork<Piece>(askerOf(c), reader, dependencies, demand, async (work, { push }) => {
        const onPiece = (choice: Choice): void => push({ type: "choice", choice }, sizeOf(choice.text, choice.details));
        const { usage } = await work.attempt((tokens) => complete(c, call, { ...work, tokens }, onPiece));
        return { rest: [{ type: "end", usage }] };
      }),
    async *write(pieces): AsyncGenerator<ServerSentEvent> {
      const isUsageWanted = body.stream_options?.include_usage === true;
      for await (const piece of pieces)
        if (piece.type === "choice")
          yield {
            data: {
              ...common(call),
              choices: [renderChoice(piece.choice, body)],
              ...(isUsageWanted && { usage: null }),
            },
          };
        else if (isUsageWanted) yield { data: { ...common(call), choices: [], usage: piece.usage } };
      yield { data: "[DONE]" };
    },
    fail: (error) => [{ data: error }],
  });
}
