/** @module POST /v1/chat/completions. */
import type { Context } from "hono";
import { candidateCount, choosesAmong, type IcdpoRequest, icdpo } from "../icdpo/pipeline.ts";
import type { ResolvedRoute } from "../policy/resolve.ts";
import { GatewayError } from "../types/error.ts";
import { answersOf, chatCompletion, explained, usageOf } from "./chat-answer.ts";
import { type ChatCall, type ChatRequest, chatBodySchema, samplingOf } from "./chat-request.ts";
import { streamChatCompletion } from "./chat-stream.ts";
import type { AppDependencies } from "./dependencies.ts";
import { outcomeHeaders, requestedRoute, routeHeaders, setHeaders } from "./headers.ts";
import { readBody, toConversation } from "./wire.ts";

export function chatCompletions(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const body = await readBody(c, chatBodySchema);
    const resolved = requestedRoute(c, dependencies.policies(), body.model);
    const call = prepare(dependencies, c.req.raw.signal, body, resolved);
    setHeaders(c, routeHeaders(resolved, candidateCount(resolved.policy, call.request)));
    if (body.stream) return streamChatCompletion(c, dependencies, call);

    const outcome = await dependencies.admission.run(() => icdpo(dependencies.engine, resolved.policy, call.request));
    setHeaders(c, outcomeHeaders(outcome));
    const answers = answersOf(outcome, call.request.answers);
    return c.json(chatCompletion(call, answers, usageOf(outcome, answers), explained(call, outcome)));
  };
}

function prepare(dependencies: AppDependencies, client: AbortSignal, body: ChatRequest, resolved: ResolvedRoute): ChatCall {
  const { settings } = resolved.policy;
  const answers = body.n ?? 1;
  if (answers > dependencies.maxAnswers)
    throw new GatewayError("invalid_request", `Invalid 'n': ${answers} answers are more than the ${dependencies.maxAnswers} allowed.`, {
      param: "n",
    });
  const request: IcdpoRequest = {
    conversation: toConversation(body.messages),
    sampling: samplingOf(body, settings.sampling),
    answers,
    seed: (body.seed ?? dependencies.randomSeed()) >>> 0,
    signal: AbortSignal.any([client, dependencies.deadline()]),
    budget: settings.budget_ms === undefined ? undefined : AbortSignal.timeout(settings.budget_ms),
    now: dependencies.now,
  };
  return {
    id: dependencies.newId("chatcmpl-"),
    created: dependencies.unixTime(),
    body,
    resolved,
    request,
    chooses: choosesAmong(resolved.policy, request),
  };
}
